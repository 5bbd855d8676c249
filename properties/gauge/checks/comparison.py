"""One target on one problem: whether its trajectory lies within the reference's envelope, and where it leaves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.problems.problem import Problem, distance
from stepgauge.properties.gauge.problems.regimes import GROUPED, LINEAR, SAME
from stepgauge.properties.gauge.targets.base import PLAIN, Target, Variant
from stepgauge.properties.gauge.tolerance.envelope import envelopes
from stepgauge.reference import Array

ALTERNATIVES = 3  # of regimes in which a target diverges; more would tell nobody anything

# Where a target may raise: not to have these computes no wrong number, and checks of conventions ask for each.
OPTIONAL = ("absent gradients", LINEAR, GROUPED, SAME)


class Divergence(NamedTuple):
    """The first step in which a target is out of the envelope, and the worst coordinate there.

    `step` counts from 1. `error` is the distance from the reference, `allowed` the largest legal one.
    """

    step: int
    parameter: int
    index: tuple[int, ...]  # type: ignore[assignment]  # the report's word, which shadows tuple.index
    got: float
    expected: float
    error: float
    allowed: float

    def __str__(self) -> str:
        at = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        apart = f" ({self.error:.2g} apart, {self.allowed:.2g} allowed)" if np.isfinite(self.error) else ""
        return (
            f"in step {self.step}, parameter {self.parameter}{at}: got {self.got!r}, expected {self.expected!r}{apart}"
        )


class Worst(NamedTuple):
    """An error, what is allowed there, and the one as a share of the other."""

    share: float
    error: float
    allowed: float


@dataclass(frozen=True)
class Outcome:
    """What came of one problem in one precision, per dialect.

    Attributes:
        worst: the error that is the largest share of what is allowed, for each dialect that was compared.
        divergences: where it diverges, for the dialects that it does not follow.
        ambiguous: rounding sways a decision here, or may do anything; whatever it may lead to was accepted.
        narrow_scalars: it is within bounds only if scalars are in a lower precision than float64.
        failure: what the target raised in a step, if it did.
        refusal: what it raised when it was given the hyperparameters.
        regimes: what is special about the problem, the decisions taken in it included.
        variant: how the target was driven.
    """

    problem: Problem
    dtype: str
    worst: Mapping[str, "Worst"]
    divergences: Mapping[str, Divergence]
    ambiguous: bool = False
    narrow_scalars: bool = False
    failure: str | None = None
    refusal: str | None = None
    regimes: frozenset[str] = frozenset()
    variant: Variant = PLAIN

    @property
    def counts(self) -> bool:
        """Whether the problem says anything of the rule.

        Not if the target refused its hyperparameters, nor if it raised where the problem has something optional.
        """
        optional = not self.regimes.isdisjoint(OPTIONAL)
        return self.refusal is None and not (self.failure is not None and optional)

    def follows(self, dialect: str) -> bool:
        return dialect in self.worst and dialect not in self.divergences


def compare(target: Target, problem: Problem, dtype: str, dialects: Sequence[str]) -> Outcome:
    """Drive the target through the problem and compare it with each of these dialects.

    Scalars may be as coarse as `dtype`; those of a target that keeps them in float32 tensors are in that.
    """
    candidates = {dialect: envelopes(problem, dialect, dtype) for dialect in dialects}
    nominal = candidates[dialects[0]][0]
    ambiguous = any(len(found) > 1 or not found[0].bounded(dtype) for found in candidates.values())
    held = {decision.place for decision in nominal.decisions if decision.holds}
    regimes = problem.regimes | held | {dtype}
    try:
        got = target.run(problem, dtype)
    except StepError as error:
        return Outcome(problem, dtype, {}, {}, ambiguous, failure=str(error), regimes=regimes, variant=target.variant)
    except TargetError as error:
        return Outcome(problem, dtype, {}, {}, ambiguous, refusal=str(error), regimes=regimes, variant=target.variant)
    worst, divergences, narrow = {}, {}, False
    for dialect, found in candidates.items():
        end = binding_steps(found[0].centre)
        envelope = min(found, key=lambda e: worst_of(got[:end], e.centre[:end], e.allowed(dtype)[:end]).share)
        centre, allowed = envelope.centre[:end], envelope.allowed(dtype)[:end]
        worst[dialect] = worst_of(got[:end], centre, allowed)
        if worst[dialect].share <= 1:
            continue
        allowed = envelope.allowed(dtype, scalars="float32" if target.single_scalars else dtype)[:end]
        if divergence := first_divergence(problem, got[:end], centre, allowed):
            divergences[dialect] = divergence
        else:
            narrow, worst[dialect] = True, worst_of(got[:end], centre, allowed)
    return Outcome(problem, dtype, worst, divergences, ambiguous, narrow, regimes=regimes, variant=target.variant)


def binding_steps(centre: Array) -> int:
    """The steps up to the first that leaves the numbers, which is the last that binds anybody.

    There a target has to be not finite where the rule is not; what a rule computes from NaN later is nobody's meaning.
    """
    finite = np.isfinite(centre).all(axis=1)
    return len(centre) if finite.all() else int(np.argmin(finite)) + 1


def shares_of(error: Array, allowed: Array) -> Array:
    """Errors as shares of what is allowed: 0 where there is no error or no bound, inf where NaN or none is allowed."""
    with np.errstate(all="ignore"):
        shares = np.where((error == 0) | ~np.isfinite(allowed), 0.0, error / allowed)
    return np.nan_to_num(shares, nan=np.inf, posinf=np.inf)


def worst_of(got: Array, expected: Array, allowed: Array) -> Worst:
    """The coordinate whose error is the largest share of what is allowed."""
    error = distance(got, expected)
    shares = shares_of(error, allowed)
    if shares.size == 0:
        return Worst(0.0, 0.0, 0.0)
    at = np.unravel_index(int(np.argmax(shares)), shares.shape)
    return Worst(float(shares[at]), float(error[at]), float(allowed[at]))


def first_divergence(problem: Problem, got: Array, expected: Array, allowed: Array) -> Divergence | None:
    """Where a trajectory first leaves what is allowed; None if it does not."""
    error = distance(got, expected)
    shares = shares_of(error, allowed)
    if not np.any(shares > 1):
        return None
    t = int(np.argmax(np.any(shares > 1, axis=1)))
    column = int(np.argmax(shares[t]))
    parameter, index = problem.place(column)
    at = (t, column)
    return Divergence(t + 1, parameter, index, *(float(x[at]) for x in (got, expected, error, allowed)))


def alternatives(failing: Sequence[frozenset[str]], passing: Sequence[frozenset[str]]) -> list[list[str]]:
    """Sets of regimes one of which every failing problem has, and no passing one; empty if there are no such few.

    >>> alternatives([frozenset("ab"), frozenset("abd"), frozenset("c")], [frozenset("a"), frozenset("bd")])
    [['a', 'b'], ['c']]
    """
    one = only_when(failing, passing)
    if one and not any(regimes.issuperset(one) for regimes in passing):
        return [one]
    names = sorted(frozenset[str]().union(*failing))
    candidates = [frozenset(c) for size in (1, 2) for c in combinations(names, size)]
    apart = [c for c in candidates if passing and not any(c <= regimes for regimes in passing)]
    chosen: list[list[str]] = []
    left = list(failing)
    while left and len(chosen) < ALTERNATIVES:
        best = max(apart, key=lambda c: (sum(c <= regimes for regimes in left), -len(c)), default=frozenset[str]())
        if not any(best <= regimes for regimes in left):
            break
        chosen.append(sorted(best))
        left = [regimes for regimes in left if not best <= regimes]
    return [] if left else chosen


def only_when(failing: Sequence[frozenset[str]], passing: Sequence[frozenset[str]]) -> list[str]:
    """The smallest set of regimes that all failing problems share and fewest passing ones have; empty for "always".

    >>> only_when([frozenset({"late", "decay"}), frozenset({"late"})], [frozenset({"decay"}), frozenset()])
    ['late']
    """
    if not failing or not passing:
        return []
    chosen: list[str] = []
    shared = sorted(frozenset.intersection(*failing))
    left = list(passing)
    while left:
        # Greedily: the regime that excuses most of the problems that pass.
        best = max(shared, key=lambda regime: sum(regime not in p for p in left), default=None)
        if best is None or all(best in p for p in left):
            break
        chosen.append(best)
        left = [p for p in left if best in p]
    return chosen
