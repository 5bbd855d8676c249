"""Conduct: what a target does around the rule's text, which no edit of that text can express.

Each kind of conduct tells what it would change in a failing run, and whether the target then does what the rule says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import NamedTuple

from stepgauge.properties.gauge.diagnosis.failing_run import FailingRun
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.reference import Array

TINY_RATE = 1e-3  # in place of a rate of 0, to see whether it is the 0


class Conduct(NamedTuple):
    """What a target does, in words and as what stands before and after; `shows` tells whether a run is of that kind."""

    name: str
    before: str
    after: str
    shows: Callable[[FailingRun], bool]


def conducts_of(problem: Problem, moved: Sequence[str]) -> Iterator[Conduct]:
    """The kinds of conduct that a problem can show; `moved` are the hyperparameters that move in it or in others."""
    yield from _of_hyperparameters(problem, moved)
    yield from _of_groups(problem)
    yield from _of_gradients(problem)


def _of_hyperparameters(problem: Problem, moved: Sequence[str]) -> Iterator[Conduct]:
    """With those that move: a few are read once, or all, or all but one."""
    for count in sorted({1, 2, len(moved) - 1, len(moved)} & set(range(1, len(moved) + 1))):
        for names in combinations(moved, count):
            yield _reads_once(*names)
    if len(set(problem.schedule)) > 1:
        yield Conduct(
            "it reads lr in its first step, and not in later ones",
            "lr as param_groups have it now",
            "lr as it was in the first step",
            lambda run: run.is_reference_on(_rescheduled(run.problem, lambda _: 0)),
        )
        yield Conduct(
            "it steps with the lr of the step before",
            "lr as param_groups have it now",
            "lr as it was in the step before",
            lambda run: run.is_reference_on(_rescheduled(run.problem, lambda t: max(t - 1, 0))),
        )
    if 0 in problem.schedule:
        yield Conduct(
            f"it is wrong where lr is 0, and right where it is {TINY_RATE:g}",
            "lr = 0 moves nothing",
            "lr = 0 is a case of its own",
            _fails_at_zero_rate,
        )


def _of_groups(problem: Problem) -> Iterator[Conduct]:
    if len(problem.groups) > 1:
        for place, of in (("first", 0), ("last", -1)):
            yield Conduct(
                f"it steps every group with the hyperparameters of the {place}",
                "the group's own hyperparameters",
                f"the hyperparameters of the {place} group",
                partial(_steps_all_groups_as, of=of),
            )


def _of_gradients(problem: Problem) -> Iterator[Conduct]:
    """With those that are missing, and with the caller's tensors."""
    if any(g is None for grads in problem.gradients for g in grads):
        yield Conduct(
            "where there is no gradient, it steps again with the one before",
            "no gradient, no step",
            "the gradient of an earlier step",
            lambda run: run.is_reference_on(_refilled(run.problem)),
        )
    if problem.in_place:
        yield Conduct(
            "it keeps the caller's gradient as its state: it is right where gradients arrive in fresh memory",
            "the state is its own",
            "the state is the tensor that p.grad is",
            _keeps_the_gradient,
        )


def ignoring(runs: Sequence[FailingRun]) -> Iterator[Conduct]:
    """Whether options are accepted and change nothing, on whichever failing run; several are one conduct."""
    ignored = [name for name in sorted(runs[0].target.defaults) if _is_ignored(name, runs)]
    if not ignored:
        return
    defaults = {name: runs[0].target.defaults[name] for name in ignored}
    said = ", ".join(ignored)
    yield Conduct(
        f"{said} is accepted and changes nothing" if len(ignored) == 1 else f"{said} are accepted and change nothing",
        f"{said} as given",
        ", ".join(f"{name}={value}" for name, value in defaults.items()) + ", whatever is given",
        lambda run: run.is_reference_on(run.problem_with(defaults) or run.problem),
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


def _rescheduled(problem: Problem, taken_at: Callable[[int], int]) -> Problem:
    """The problem with the lr that another step has."""
    factors = tuple(problem.lr_factor(taken_at(t)) for t in range(len(problem.gradients)))
    return replace(problem, schedule=factors, recipe=None)


def _steps_all_groups_as(run: FailingRun, of: int) -> bool:
    theirs = run.problem.groups[of].hyperparameters
    groups = tuple(group._replace(hyperparameters=theirs) for group in run.problem.groups)
    return run.is_reference_on(replace(run.problem, groups=groups, recipe=None))


def _refilled(problem: Problem) -> Problem:
    """The problem with the latest gradient wherever one is absent that was there before."""
    gradients: list[list[Array | None]] = []
    for grads in problem.gradients:
        before = gradients[-1] if gradients else [None] * len(grads)
        gradients.append([earlier if g is None else g for g, earlier in zip(grads, before, strict=True)])
    return replace(problem, gradients=gradients, recipe=None)


def _keeps_the_gradient(run: FailingRun) -> bool:
    return run.follows_on(replace(run.problem, in_place=False, recipe=None))


def _fails_at_zero_rate(run: FailingRun) -> bool:
    schedule = tuple(factor or TINY_RATE for factor in run.problem.schedule)
    return run.follows_on(replace(run.problem, schedule=schedule, recipe=None))
