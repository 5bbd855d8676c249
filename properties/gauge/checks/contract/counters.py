"""Counters of steps in the state of an optimizer, under whatever names it keeps them, and late steps."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import worst_of
from stepgauge.properties.gauge.checks.contract.bench import HALF, STEPS, Bench, contract
from stepgauge.properties.gauge.checks.results import Failed, NotApplicable
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, describe
from stepgauge.properties.gauge.problems.problem import flatten
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.reference import Array, driver

Path = tuple[Hashable, ...]
WATCHED = 3  # steps, in each of which a counter goes up by 1
LATE = 2**24  # steps, beyond which float32 has no odd numbers


def counters_of(bench: Bench) -> dict[Path, int]:
    """Where in its state dictionary the target counts steps, and how far a count is ahead of them."""
    run = bench.run()
    seen = []
    for t in range(WATCHED):
        bench.train(run, [t])
        seen.append(dict(_numbers(run.optimizer.state_dict())))
    first, second, third = seen
    rising = (p for p in third if p in first and p in second)
    counting = (p for p in rising if second[p] - first[p] == 1 == third[p] - second[p])
    return {path: int(third[path]) - WATCHED for path in counting}


def _numbers(state: Any, at: Path = ()) -> Iterator[tuple[Path, float]]:
    """The numbers in a state dictionary, also those that a tensor holds in every entry, and where they are."""
    import torch

    if isinstance(state, Mapping | list | tuple):
        for key, value in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from _numbers(value, (*at, key))
    elif isinstance(state, torch.Tensor):
        if state.numel() and not state.is_complex() and bool((state == state.ravel()[0]).all()):
            yield at, float(state.ravel()[0])
    elif isinstance(state, int | float) and not isinstance(state, bool):
        yield at, float(state)


def counts_after(optimizer: Any, paths: Mapping[Path, int]) -> Iterator[float]:
    """How many steps each of the counters has counted."""
    found = dict(_numbers(optimizer.state_dict()))
    return (found[path] - ahead for path, ahead in paths.items() if path in found)


def _last_of(counter: Any) -> int:
    """The number up to which a counter counts exactly, but none that nobody reaches."""
    import torch

    if not isinstance(counter, torch.Tensor):
        return LATE
    kind = counter.dtype
    return min(LATE, int(2 / torch.finfo(kind).eps) if kind.is_floating_point else torch.iinfo(kind).max)


@contract("contract/late-steps")
def late_steps(bench: Bench) -> None:
    """From step 2**24 on, or from the last that its counter can hold, it goes on as the rule does there."""
    if bench.target.rule == NO_RULE or "step" not in bench.target.record.State._fields or bench.problem.layers:
        raise NotApplicable("there is no rule that counts steps of parameters by themselves")
    paths = counters_of(bench)
    if not paths:
        raise NotApplicable("shows no counter of steps in its state_dict")
    run = bench.run()
    bench.train(run, range(HALF))
    late = min(_last_of(_at(run.optimizer.state_dict(), path)) - ahead for path, ahead in paths.items())
    _put(run.optimizer, {path: late + ahead for path, ahead in paths.items()})
    try:
        bench.train(run, range(HALF, STEPS))
    except FOREIGN_ERRORS as error:  # at a step that training reaches
        raise Failed(f"from step {late} on, it raises {describe(error)}", float("inf"), 0.0) from error
    got = np.concatenate([p.detach().cpu().double().numpy().ravel() for p in run.params])
    worst = min(
        worst_of(got, _late_reference(bench, dialect, late), 2 * bench.context.allowance(bench.problem)[-1])
        for dialect in bench.context.dialects
    )
    if worst.share > 1:
        raise Failed(f"from step {late} on, it is off by {worst.error:.2g}", worst.error, worst.allowed)


def _put(optimizer: Any, counts: Mapping[Path, int]) -> None:
    """Set counters where they are: loading would give those that are not called step the parameter's dtype.

    Raises:
        NotApplicable: its state dictionary shows copies of them.
    """
    for path, count in counts.items():
        inner = _at({**optimizer.state_dict(), "param_groups": optimizer.param_groups}, path[:-1])
        inner[path[-1]] = inner[path[-1]] * 0 + count
    found = dict(_numbers(optimizer.state_dict()))
    if any(found.get(path) != count for path, count in counts.items()):
        raise NotApplicable("its state_dict shows copies of its counters")


def _at(state: Any, path: Path) -> Any:
    for key in path:
        state = state[key]
    return state


def _late_reference(bench: Bench, dialect: str, late: int) -> Array:
    """The parameters of the rule after a run whose counters are moved half-way."""
    problem = bench.problem
    groups = problem.rule_groups(bench.target.record, dialect)
    params, states = list(problem.initial), driver.init(groups, problem.initial)
    for t, grads in enumerate(problem.gradients):
        if t == HALF:
            states = [state._replace(step=late) for state in states]
        params, states = driver.step(groups, params, list(grads), states, maximize=problem.maximize)
    return flatten(params)
