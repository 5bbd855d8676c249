"""Failing runs: what a target computes where it diverges, and whether a text, a rule or a precision explains it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.checks.comparison import binding_steps, compare, worst_of
from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource
from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.problems.problem import Problem, distance, trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import FACTOR, ROUNDOFF, envelopes
from stepgauge.reference import RULES, Array, Rule


class Precision(NamedTuple):
    """What somebody may have kept or computed in, coarser than the parameters."""

    roundoff: float
    smallest: float  # normal number; what is beneath it loses its digits


COARSER = {
    "single precision": Precision(2.0**-24, 2.0**-126),
    "half precision": Precision(2.0**-11, 2.0**-14),
    "bfloat16": Precision(2.0**-8, 2.0**-126),
}


class FailingRun:
    """A problem on which a target diverges in `dtype`, and what it computes there."""

    def __init__(self, target: Target, problem: Problem, dialect: str, dtype: str) -> None:
        self.target, self.problem, self.dialect, self.dtype = target, problem, dialect, dtype
        self.got = target.run(problem, dtype)
        nominal = envelopes(problem, dialect, dtype)[0]
        allowed = nominal.allowed(dtype)
        start = np.concatenate([p.ravel() for p in problem.initial])
        with np.errstate(all="ignore"):
            apart = distance(self.got, nominal.centre)
            near = 64 * allowed + 1e-7 * np.abs(self.got - start)
            near = np.where(apart > allowed, np.fmin(near, apart / 8), near)
        self.near = np.where(np.isfinite(near), near, 0.0)  # NaN is near NaN alone

    def agrees(self, source: EditableSource, groups: Sequence[Any]) -> bool:
        """Whether the text, as it stands, computes about what the target does; coarsely, but quickly."""
        return self._follows(source.trajectory(self.problem, groups))

    def _follows(self, trajectory: Iterator[Array]) -> bool:
        """Whether a trajectory is near the target's; it is computed as far as it is."""
        rows = zip(trajectory, self.got, self.near, strict=False)
        return all(row.shape == got.shape and bool(np.all(distance(row, got) <= near)) for row, got, near in rows)

    def confirms(self, source: EditableSource, edits: Sequence[Edit]) -> bool:
        """Whether the target is within what rounding may do to the edited text."""
        for envelope in source.envelopes(self.problem, self.dialect, edits, self.dtype):
            end = binding_steps(envelope.centre)
            got, centre, allowed = (x[:end] for x in (self.got, envelope.centre, envelope.allowed(self.dtype)))
            finite = np.isfinite(centre)
            if not np.array_equal(np.isfinite(got), finite) or not finite.any():
                continue
            fits = worst_of(got[finite], centre[finite], allowed[finite]).share <= 1
            if fits and self._says_something(got, centre, allowed, finite):
                return True
        return False

    def _says_something(self, got: Array, centre: Array, allowed: Array, finite: Array) -> bool:
        """Whether an allowance tells texts apart: one that is not finite, or as large as the way, fits any of them."""
        start = np.concatenate([p.ravel() for p in self.problem.initial])
        with np.errstate(all="ignore"):
            way = max(float(np.max(np.abs(x - start)[finite], initial=0.0)) for x in (got, centre))
        bounded = np.isfinite(allowed[finite])
        return bool(bounded.all()) and float(np.max(allowed[finite], initial=0.0)) < way

    @cached_property
    def diverges(self) -> bool:
        """Whether the target is out of what rounding may do to the reference."""
        found = envelopes(self.problem, self.dialect, self.dtype)
        return all(worst_of(self.got, e.centre, e.allowed(self.dtype)).share > 1 for e in found)

    @cached_property
    def repeats(self) -> bool:
        """Whether the target computes about the same if it is run again."""
        with np.errstate(all="ignore"):
            apart = distance(self.target.run(self.problem, self.dtype), self.got)
        return bool(np.all((apart == 0) | (apart <= self.near)))

    def is_rule(self, rule: str, dialect: str) -> bool:
        """Whether another rule, with the hyperparameters that it shares, computes about what the target does."""
        names = RULES[rule].hyperparameter_names()
        shared = []
        for hyperparameters, members in self.problem.groups:
            own = {name: value for name, value in hyperparameters.items() if name in names}
            shared.append(ParameterGroup(own, members))
        problem = replace(self.problem, rule=rule, groups=tuple(shared))
        try:
            with np.errstate(all="ignore"):
                return self._follows(trajectory(problem, problem.rule_groups(RULES[rule], dialect)))
        except (TypeError, ValueError):  # it needs others, or refuses these
            return False

    def is_reference_on(self, problem: Problem) -> bool:
        """Whether the target computes here about what the reference computes on another problem."""
        groups = problem.rule_groups(RULES[problem.rule], self.dialect)
        with np.errstate(all="ignore"):
            return self._follows(trajectory(problem, groups))

    def problem_with(self, values: Mapping[str, Any]) -> Problem | None:
        """The problem with other hyperparameters, and the switches off that do not go with them; None if it is that."""
        record = RULES[self.problem.rule]
        groups = []
        for hyperparameters, members in self.problem.groups:
            other = {**hyperparameters, **values}
            for name in (name for name in other if record.is_switch(name) and name not in values):
                if not _is_legal(record, other):
                    other[name] = False
            if not _is_legal(record, other):
                return None
            groups.append(ParameterGroup(other, members))
        changes = tuple(change for change in self.problem.changes if change.name not in values)
        made = replace(self.problem, groups=tuple(groups), changes=changes, recipe=None)
        return None if (made.groups, changes) == (self.problem.groups, self.problem.changes) else made

    def is_moved_by(self, values: Mapping[str, Any]) -> bool | None:
        """Whether the target computes anything else with other hyperparameters; None if these are no others."""
        other = self.problem_with(values)
        if other is None:
            return None
        try:
            return not np.array_equal(self.target.run(other, self.dtype), self.got, equal_nan=True)
        except (TargetError, StepError):
            return True

    def follows_on(self, problem: Problem) -> bool:
        """Whether the target follows the reference on another problem."""
        return self.dialect not in compare(self.target, problem, self.dtype, (self.dialect,)).divergences

    def beneath(self, precision: Precision) -> bool:
        """Whether all gradients are too small for a precision, so that the run says nothing for or against it."""
        return all(np.max(np.abs(g), initial=0.0) < precision.smallest for g in self._gradients())

    def _gradients(self) -> Iterator[Array]:
        return (g for grads in self.problem.gradients for g in grads if g is not None)

    def within(self, roundoff: float) -> bool:
        """Whether the target is within what rounding in a coarser precision may do to the reference."""
        nominal = envelopes(self.problem, self.dialect, self.dtype)[0]
        allowed = FACTOR * roundoff * (nominal.arrays + nominal.scalars)
        return worst_of(self.got, nominal.centre, allowed).share <= 1

    def rounds(self, roundoff: float) -> bool:
        """Whether the target is not smooth on the scale of a coarser precision.

        A rule answers half a small change of the gradients by half; what rounds on its way does not.
        """
        change = 2 * roundoff
        with np.errstate(all="ignore"):
            whole, half = (self._nudged(share) - self.got for share in (change, change / 2))
            legal = 4 * change * np.linalg.norm(whole) + 16 * ROUNDOFF[self.dtype] * np.linalg.norm(self.got)
            return bool(np.linalg.norm(whole - 2 * half) > legal)

    def _nudged(self, change: float) -> Array:
        """What the target computes if every gradient is off by about this, always in the same direction."""
        rng = np.random.default_rng(0)

        def nudged(g: Array | None) -> Array | None:
            return None if g is None else g * (1 + change * rng.standard_normal(g.shape))

        gradients = [list(map(nudged, grads)) for grads in self.problem.gradients]
        return self.target.run(replace(self.problem, gradients=gradients, recipe=None), self.dtype)


def _is_legal(record: type[Rule], hyperparameters: Mapping[str, Any]) -> bool:
    try:
        record(**hyperparameters)
    except ValueError:
        return False
    return True
