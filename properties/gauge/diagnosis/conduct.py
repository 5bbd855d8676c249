"""Conduct: what a target does around the rule's text, which no edit of that text can express.

Each kind of conduct tells what it would change in a failing run, and whether the target then does what the rule says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

from stepgauge.properties.gauge.diagnosis.failing_run import FailingRun
from stepgauge.properties.gauge.problems.problem import Problem

TINY_RATE = 1e-3  # in place of a rate of 0, to see whether it is the 0


class Conduct(NamedTuple):
    """What a target does, in words and as what stands before and after; `shows` tells whether a run is of that kind."""

    name: str
    before: str
    after: str
    shows: Callable[[FailingRun], bool]


def conducts_of(problem: Problem, moved: Sequence[str]) -> Iterator[Conduct]:
    """The kinds of conduct that a problem can show; `moved` are the hyperparameters that move in it or in others."""
    for count in range(1, len(moved) + 1):
        for names in combinations(moved, count):
            yield _reads_once(*names)
    if problem.in_place:
        yield Conduct(
            "it keeps the caller's gradient as its state: it is right where gradients arrive in fresh memory",
            "the state is its own",
            "the state is the tensor that p.grad is",
            _keeps_the_gradient,
        )
    if 0 in problem.schedule:
        yield Conduct(
            f"it is wrong where lr is 0, and right where it is {TINY_RATE:g}",
            "lr = 0 moves nothing",
            "lr = 0 is a case of its own",
            _fails_at_zero_rate,
        )


def ignoring(runs: Sequence[FailingRun]) -> Iterator[Conduct]:
    """Whether options are accepted and change nothing, on whichever failing run; several are one conduct."""
    ignored = [name for name in sorted(runs[0].target.defaults) if _is_ignored(name, runs)]
    if not ignored:
        return
    defaults = {name: runs[0].target.defaults[name] for name in ignored}
    said = ", ".join(ignored)
    yield Conduct(
        f"{said} {'is' if len(ignored) == 1 else 'are'} accepted and change{'s' if len(ignored) == 1 else ''} nothing",
        f"{said} as given",
        ", ".join(f"{name}={value}" for name, value in defaults.items()) + ", whatever is given",
        lambda run: (other := run.problem_with(defaults)) is not None and run.is_reference_on(other),
    )


def _is_ignored(name: str, runs: Sequence[FailingRun]) -> bool:
    """Whether the target steps alike, to the bit, with an option as given and at its own default."""
    told = [run.is_moved_by({name: run.target.defaults[name]}) for run in runs]
    return False in told and True not in told


def _reads_once(*names: str) -> Conduct:
    """Hyperparameters are kept as they were at construction."""
    said = ", ".join(names)

    def shows(run: FailingRun) -> bool:
        unmoved = replace(
            run.problem,
            schedule=(1.0,) if "lr" in names else run.problem.schedule,
            changes=tuple(change for change in run.problem.changes if change.name not in names),
            recipe=None,
        )
        return run.is_reference_on(unmoved)

    name = f"it reads {said} when it is made, and not in each step"
    return Conduct(name, f"{said} as param_groups have it now", f"{said} as it was at first", shows)


def _keeps_the_gradient(run: FailingRun) -> bool:
    return run.follows_on(replace(run.problem, in_place=False, recipe=None))


def _fails_at_zero_rate(run: FailingRun) -> bool:
    schedule = tuple(factor or TINY_RATE for factor in run.problem.schedule)
    return run.follows_on(replace(run.problem, schedule=schedule, recipe=None))
