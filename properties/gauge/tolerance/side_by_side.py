"""A rule's text instrumented for stochastic runs side by side (see `runs`)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from stepgauge.properties.gauge.problems.problem import Problem, steps
from stepgauge.properties.gauge.tolerance.reference_copies import FEEDING, Transformation, copy_modules
from stepgauge.properties.gauge.tolerance.runs import MATH_OF_RUNS, Apart, ArithmeticOfRuns, NumpyOfRuns, rows_of
from stepgauge.properties.gauge.tolerance.stochastic import Decision, Run, instrument
from stepgauge.reference import Array, Rule

DRIVER = f"{Rule.__module__.rpartition('.')[0]}.driver"


class SideBySide:
    """A text that computes several runs at once, under a driver that hands their values on."""

    def __init__(self, rule: type[Rule], arithmetic: ArithmeticOfRuns, driver: Any, dialect: str) -> None:
        self.rule, self.arithmetic, self.driver, self.dialect = rule, arithmetic, driver, dialect

    def trajectories(
        self, problem: Problem, runs: Sequence[Run], follow: Sequence[Decision]
    ) -> tuple[Array, bool] | None:
        """Shape (runs, steps, size), and whether noise sways a decision; None if these runs have to go alone."""
        self.arithmetic.begin(Run())  # what the groups decide when they are made is no part of a run
        groups = problem.rule_groups(self.rule, self.dialect)
        self.arithmetic.start(runs, follow)
        # Whatever goes wrong here goes right, or wrong in the same way, for a run alone.
        with np.errstate(all="ignore"), suppress(Apart, ArithmeticError, AttributeError, TypeError, ValueError):
            rows = [rows_of(params, len(runs)) for params in steps(problem, groups, self.driver)]
            if len(self.arithmetic.decisions) == len(follow):
                return np.stack(rows, axis=1), self.arithmetic.swayed
        return None


def side_by_side(
    rule: type[Rule], dialect: str, transform: Transformation, stand_ins: Mapping[str, Any] | None = None
) -> SideBySide:
    """The rule's transformed text and driver, ready for runs side by side; see `stochastic.instrument`."""
    arithmetic = ArithmeticOfRuns()
    copy, _ = instrument(rule, transform, arithmetic, {"math": MATH_OF_RUNS, **(stand_ins or {})})
    fed = {"numpy": NumpyOfRuns(), **(stand_ins or {})}
    driver = copy_modules([DRIVER], transform, stand_ins=fed, kept=set(FEEDING) - {DRIVER})[DRIVER]
    return SideBySide(copy, arithmetic, driver, dialect)


@cache
def rule_side_by_side(rule: type[Rule], dialect: str) -> SideBySide:
    """The same of the rule as published."""
    return side_by_side(rule, dialect, lambda _, tree: tree)
