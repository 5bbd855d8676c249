"""Recorded trajectories replayed: by the reference, or by a target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import first_divergence, worst_of
from stepgauge.properties.gauge.errors import StepError, TargetError, one_line
from stepgauge.properties.gauge.problems.problem import Problem, flatten, move
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.tolerance.envelope import ROUNDOFF, covering_envelope
from stepgauge.properties.gauge.vectors.format import MALFORMED, Case, State, VectorError
from stepgauge.reference import RULES, Array, init, step

UNITS = 8  # of roundoff, at the scale of a parameter and its displacement: how far a release may be from the reference

# Where a release names its state otherwise than torch does.
STATE_NAMES = {"momentum": "momentum_buffer", "buffer_priorities": "keys", "buffer_sum": "sum"}


@dataclass(frozen=True)
class Replay:
    """A case replayed: the worst error as a share of what is allowed, and where that is first exceeded, if anywhere."""

    case: str
    share: float
    divergence: str


def replay_case(case: Case, target: Target | None = None) -> Replay:
    """A case as the reference replays it, with the state where that is recorded, or a target, parameters alone.

    Raises:
        VectorError: what is recorded does not fit the rule, or is of none and there is no target.
    """
    if case.problem.rule == NO_RULE:
        if target is None:
            raise VectorError("is of no rule that stepgauge has: give --target")
        return _by_target(case, target)
    try:
        compared = list(_by_reference(case))
    except MALFORMED as error:
        raise VectorError(f"is corrupt: {case.id}: {one_line(str(error))}") from error
    if target is not None:
        return _by_target(case, target)
    worst = max(share for share, _ in compared)
    return Replay(case.id, worst, next((place for share, place in compared if not share <= 1), ""))


def _by_target(case: Case, target: Target) -> Replay:
    try:
        got = target.run(case.problem, case.dtype)
    except (StepError, TargetError) as error:
        return Replay(case.id, np.inf, str(error))
    expected, allowed = _rows(case.params), _allowed(case)
    if case.allowed is None and case.problem.rule != NO_RULE:
        # A release is recorded, and a target may be as far from the reference as rounding leads.
        allowed = allowed + covering_envelope(case.problem, case.dialect, case.dtype)[1]
    place = first_divergence(case.problem, got, expected, allowed)
    said = f"{place}{_not_offered(target, case.problem)}" if place else ""
    return Replay(case.id, worst_of(got, expected, allowed).share, said)


def _not_offered(target: Target, problem: Problem) -> str:
    """The hyperparameters that a case asks for and a target cannot be given: they may be why it diverges."""
    unset = target.defaults if target.rule == NO_RULE else target.record.neutral()
    kept = {**unset, **target.pinned}
    asked = [item for group in problem.groups for item in group.hyperparameters.items()]
    shortfall = [f"{name}={value}" for name, value in asked if name not in target.offers and kept.get(name) != value]
    return f"; it cannot be given {', '.join(dict.fromkeys(shortfall))}" if shortfall else ""


def _by_reference(case: Case) -> Iterator[tuple[float, str]]:
    """(error as a share of what is allowed, what and where): of the parameters, then of the state."""
    rows, states = _driven(case)
    expected, allowed = _rows(case.params), _allowed(case)
    yield worst_of(rows, expected, allowed).share, str(first_divergence(case.problem, rows, expected, allowed))
    sizes = _sizes(case)
    for t, recorded in case.states.items():
        _require_states(case, t, recorded, states[t])
        for i, (state, fields) in enumerate(zip(states[t], recorded, strict=False)):
            for name, value in fields.items():
                got = _found(state, STATE_NAMES.get(name, name))
                bound = UNITS * ROUNDOFF[case.dtype] * sizes.get(name, 0.0)
                place = f"{name} of parameter {i} after step {t + 1}"
                yield _field_compared(place, got, value, bound, begun=_had_gradient(case, i, t))


def _field_compared(
    place: str, got: Array | None, recorded: Array | None, bound: float, *, begun: bool
) -> tuple[float, str]:
    """The error of a field of the state as a share of what is allowed, and what and where it is.

    Before its first gradient (`begun`), a parameter has no state in some implementations, and zeros in others.

    Raises:
        ValueError: what is recorded has another size.
    """
    if recorded is None:
        return np.inf if begun and got is not None else 0.0, f"{place} exists, and null is recorded"
    if got is None:
        return np.inf, f"{place} does not exist, and numbers are recorded"
    if got.size != recorded.size:
        raise ValueError(f"{place} has {got.size} numbers, and {recorded.size} are recorded")
    worst = worst_of(got, recorded.reshape(got.shape), np.full(got.shape, bound))
    return worst.share, f"{place} is {worst.error:.2g} off"


def _require_states(case: Case, step: int, recorded: Sequence[State], states: Sequence[Any]) -> None:
    """Refuse a state that lacks something: all of it may be left out, or that of what never had a gradient or has none.

    Raises:
        ValueError: see there.
    """
    if recorded and len(recorded) != len(states):
        raise ValueError(f"it has the states of {len(recorded)} parameters, not of {len(states)}")
    for i, fields in enumerate(recorded):
        if not fields and any(x is not None for x in states[i]) and _had_gradient(case, i, step):
            raise ValueError(f"the state of parameter {i} is empty")


def _had_gradient(case: Case, parameter: int, step: int) -> bool:
    """Whether a parameter had a gradient up to a step (from 0)."""
    return any(grads[parameter] is not None for grads in case.problem.gradients[: step + 1])


def _driven(case: Case) -> tuple[Array, list[Any]]:
    """The parameters after each step, shape (steps, size), and the states."""
    problem, rows, after = case.problem, [], []
    groups = problem.rule_groups(RULES[problem.rule], case.dialect)
    params = [p.astype(case.dtype) for p in problem.initial]
    states = init(groups, params, problem.layers)
    with np.errstate(all="ignore"):
        for t, recorded in enumerate(problem.gradients):
            grads = [None if g is None else g.astype(case.dtype) for g in recorded]
            seen = problem.seen_in(t, case.dtype)
            now = move(groups, problem.moved(t))
            params, states = step(now, params, grads, states, problem.layers, seen, maximize=problem.maximize)
            rows.append(flatten(params))
            after.append(states)
    return np.array(rows), after


def _rows(steps: Any) -> Array:
    return np.array([flatten(params) for params in steps])


def _allowed(case: Case) -> Array:
    """How far from what is recorded the reference may be, shape (steps, size)."""
    if case.allowed is not None:
        return _rows(case.allowed)
    units = UNITS * ROUNDOFF[case.dtype]
    starts = case.problem.initial
    return _rows(
        [
            np.full(p.shape, units * (_largest(p - start) + _largest(start)))
            for p, start in zip(now, starts, strict=True)
        ]
        for now in case.params
    )


def _sizes(case: Case) -> dict[str, float]:
    """The largest number in each field of the state, over the case: what its entries were rounded beside."""
    sizes: dict[str, float] = {}
    for states in case.states.values():
        for fields in states:
            for name, value in fields.items():
                if value is not None:
                    sizes[name] = max(sizes.get(name, 0.0), _largest(value))
    return sizes


def _found(state: Any, name: str) -> Array | None:
    """The field of a state, or of a record in it; None if it does not exist yet.

    Raises:
        ValueError: there is none.
    """
    records = [state, *(x for x in state if hasattr(x, "_fields"))]
    found = [getattr(record, name) for record in records if hasattr(record, name)]
    if not found:
        raise ValueError(f"the state has no {name}")
    return None if found[0] is None else np.asarray(found[0], np.float64)


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))
