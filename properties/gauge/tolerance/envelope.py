"""How far a legal implementation may be from the reference: derived from the rule's own text, never guessed.

An envelope is the reference's trajectory and the spread of stochastic runs around it (see `stochastic`). What is
allowed is `FACTOR` times the spread at the roundoff of the precision in question. Where rounding sways a decision of
the rule (a projection's threshold), each continued trajectory has an envelope of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepgauge.properties.gauge.cache.encoding import storable
from stepgauge.properties.gauge.cache.run import cached, stored
from stepgauge.properties.gauge.problems.problem import Problem, distance, reference_trajectory
from stepgauge.properties.gauge.tolerance.side_by_side import SideBySide, rule_side_by_side
from stepgauge.properties.gauge.tolerance.stochastic import Arithmetic, Decision, Run, instrument_rule
from stepgauge.reference import RULES, Array, Group, driver

ROUNDOFF: Mapping[str, float] = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8}
FACTOR = 16  # spreads that are allowed: README.md beside this file tells why
AMPLITUDE = FACTOR * ROUNDOFF["float32"]  # of the noise: a decision counts as swayed by what is allowed, no more

# Conjugate gradients amplify an early error up to 10^6 times, more than linearly and until it saturates: there the
# noise is about as large as the roundoff it stands for. (For float64 it would be lost in the arithmetic underneath.)
OF_ITERATIONS = {"float64": 2.0**-36, "float32": ROUNDOFF["float32"], "bfloat16": ROUNDOFF["float32"]}
ARRAY_RUNS = 6
SCALAR_RUNS = 4
SILENT = Run()
LARGEST = {dtype: float(np.finfo("float64" if dtype == "float64" else "float32").max) for dtype in ROUNDOFF}


@storable
@dataclass(frozen=True)
class Envelope:
    """A trajectory of the reference, shape (steps, size), and its sensitivity to rounding, likewise.

    `arrays` and `scalars` are displacements per unit of relative error in every array operation and in every operation
    on Python floats: the latter are in double precision whatever the dtype of the parameters.
    """

    decisions: tuple[Decision, ...]
    centre: Array
    arrays: Array
    scalars: Array

    def bounded(self, dtype: str) -> bool:
        """Whether the tolerance means anything: nothing reaches NaN or, squared as in a norm, the end of `dtype`."""
        finite = bool(np.isfinite(self.arrays).all() and np.isfinite(self.scalars).all())
        return finite and not np.any(np.abs(self.centre) > 1e-3 * LARGEST[dtype] ** 0.5)

    def allowed(self, dtype: str, *, scalars: str = "float64") -> Array:
        """The largest legal distance from the centre of arrays in `dtype`, and scalars in a precision of their own."""
        return FACTOR * (ROUNDOFF[dtype] * self.arrays + ROUNDOFF[scalars] * self.scalars)


class Reference:
    """An instrumented text on one problem: `groups` compute through `arithmetic`, or several runs side by side."""

    def __init__(
        self,
        problem: Problem,
        groups: Sequence[Group],
        arithmetic: Arithmetic,
        amplitude: float,
        driver: Any = driver,
        side_by_side: SideBySide | None = None,
    ) -> None:
        self.problem, self.groups, self.driver = problem, groups, driver
        self.arithmetic, self.amplitude = arithmetic, amplitude
        self.side_by_side = side_by_side

    def run(self, run: Run = SILENT, follow: Sequence[Decision] | None = None) -> Array:
        self.arithmetic.begin(run, follow)
        return reference_trajectory(self.problem, self.groups, self.driver)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those of the latest run."""
        return tuple(self.arithmetic.decisions)

    def runs(self, runs: Sequence[Run], follow: Sequence[Decision]) -> tuple[Array, bool]:
        """Runs that follow the same decisions, shape (runs, steps, size), and whether noise would sway one."""
        if self.side_by_side is not None and (found := self.side_by_side.trajectories(self.problem, runs, follow)):
            return found
        made, swayed = [], False
        for run in runs:
            made.append(self.run(run, follow))
            swayed |= self.arithmetic.swayed
        return np.array(made), swayed

    def envelope(self, follow: Sequence[Decision] | None = None) -> tuple[Envelope, bool]:
        """The envelope of the run that follows these decisions, and whether noise would sway one of them."""
        centre = self.run(follow=follow)
        decisions = self.decisions
        runs = [Run(seed, arrays=self.amplitude) for seed in range(1, ARRAY_RUNS + 1)]
        runs += [Run(seed, scalars=self.amplitude) for seed in range(1, SCALAR_RUNS + 1)]
        if self.amplitude < AMPLITUDE:
            # Noise smaller than what is allowed might sway none of the decisions that a legal error sways.
            runs += [Run(seed, AMPLITUDE, AMPLITUDE) for seed in (1, 2, 3)]
        made, swayed = self.runs(runs, decisions)
        # An error once made stays in the parameter, so the spread of a step holds from there on.
        arrays, scalars = (
            np.maximum.accumulate(np.max(distance(part, centre), axis=0), axis=0) / self.amplitude
            for part in (made[:ARRAY_RUNS], made[ARRAY_RUNS:][:SCALAR_RUNS])
        )
        return Envelope(decisions, centre, arrays, scalars), swayed

    def continuations(self, dtype: str, nominal: tuple[Decision, ...]) -> list[tuple[Decision, ...]]:
        """The sequences of decisions that rounding in this dtype can lead to, the nominal one first.

        Side by side, runs follow that; those that would decide otherwise are run again by themselves.
        """
        amplitude = FACTOR * ROUNDOFF[dtype]
        runs = [Run(seed, amplitude, amplitude) for seed in range(1, ARRAY_RUNS + 1)]
        together = self.side_by_side and self.side_by_side.trajectories(self.problem, runs, nominal)
        if self.side_by_side and together:
            runs = [run for run, parts in zip(runs, self.side_by_side.arithmetic.parting, strict=True) if parts]
        return list(dict.fromkeys([nominal, *map(self._decided, runs)]))

    def _decided(self, run: Run) -> tuple[Decision, ...]:
        self.run(run)
        return self.decisions


def amplitude_of(rule: str, dtype: str) -> float:
    """The amplitude of the noise that finds out what rounding in `dtype` may do to a rule."""
    return OF_ITERATIONS[dtype] if RULES[rule].sees_layers else AMPLITUDE


@cached
@stored
def envelopes(problem: Problem, dialect: str, dtype: str) -> list[Envelope]:
    """One envelope, or one for each continuation that rounding in `dtype` can lead to; the nominal one first."""
    return every_continuation(*_nominal(problem, dialect, amplitude_of(problem.rule, dtype)), dtype)


@cached
@stored
def rounding_sways(problem: Problem, dialect: str, dtype: str) -> bool:
    """Whether what rounding in `dtype` may do sways a decision of the rule."""
    return _nominal(problem, dialect, amplitude_of(problem.rule, dtype))[2]


def every_continuation(reference: Reference, nominal: Envelope, swayed: bool, dtype: str) -> list[Envelope]:
    """The nominal envelope, and those of the other continuations if rounding can sway a decision."""
    found = [nominal]
    if swayed:
        for decisions in reference.continuations(dtype, nominal.decisions):
            if decisions != nominal.decisions:
                other, _ = reference.envelope(follow=decisions)
                if not _negligible(other, nominal, dtype):
                    found.append(other)
    return found


def allowance(problem: Problem, dtype: str = "float64", scalars: str = "float64") -> Array:
    """How far rounding in `dtype`, and of scalars, may move a legal trajectory of this problem, shape (steps, size).

    Taken from the first dialect: dialects round alike.
    """
    return envelopes(problem, RULES[problem.rule].dialects[0], dtype)[0].allowed(dtype, scalars=scalars)


def covering_envelope(problem: Problem, dialect: str, dtype: str) -> tuple[Array, Array]:
    """The reference's trajectory, and the largest legal distance from it in any continuation, both (steps, size)."""
    found = envelopes(problem, dialect, dtype)
    centre = found[0].centre
    allowed = [distance(e.centre, centre) + e.allowed(dtype, scalars=dtype) for e in found]
    return centre, np.max(allowed, axis=0)


def _negligible(other: Envelope, nominal: Envelope, dtype: str) -> bool:
    """Whether a continuation is one in name only, such as an iteration more where nothing is left to solve."""
    return bool(np.all(distance(other.centre, nominal.centre) <= 0.1 * nominal.allowed(dtype)))


@cached
def _nominal(problem: Problem, dialect: str, amplitude: float) -> tuple[Reference, Envelope, bool]:
    rule, arithmetic = instrument_rule(RULES[problem.rule])
    side_by_side = rule_side_by_side(RULES[problem.rule], dialect)
    groups = problem.rule_groups(rule, dialect)
    reference = Reference(problem, groups, arithmetic, amplitude, side_by_side=side_by_side)
    return reference, *reference.envelope()
