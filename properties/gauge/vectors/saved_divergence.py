"""A divergence saved: the smallest problem that shows it as a vector file, and as a script that stands alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepgauge.properties.gauge.files import write_whole
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import covering_envelope
from stepgauge.properties.gauge.vectors.format import Case, VectorError, most_allowed, write
from stepgauge.properties.gauge.vectors.replay import replay_case
from stepgauge.properties.gauge.vectors.reproduction import NoScript, script
from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.reference import Array

LONGEST = 80  # letters of a target's name in a file's: file systems have limits


def file_names(reports: Sequence[Report]) -> list[str]:
    """A name for the files of each report, no two alike even where a file system ignores case."""
    names: list[str] = []
    for report in reports:
        plain = f"{re.sub(r'[^A-Za-z0-9_]+', '-', report.target).strip('-')[:LONGEST]}-{report.rule}"
        numbered = (f"{plain}-{k}" if k > 1 else plain for k in count(1))
        taken = {name.lower() for name in names}
        names.append(next(name for name in numbered if name.lower() not in taken))
    return names


class Reproduction(NamedTuple):
    """The smallest problem that shows a divergence, and where the target leaves it."""

    case: Case
    target: Target
    divergence: str
    versions: Mapping[str, str]

    @property
    def script(self) -> str:
        """A script that stands alone.

        Raises:
            NoScript: see there.
        """
        return script(self.case, self.target, self.divergence, self.versions)


def reproduction(report: Report, target: Target) -> Reproduction:
    """The divergence of a report, shown once more.

    Raises:
        VectorError: no trajectory diverges, it cannot be recorded, or it does not show again.
    """
    case = _smallest_case(report)
    target = target.varied(report.smallest.variant) if report.smallest else target
    divergence = replay_case(case, target).divergence
    if not divergence:
        raise VectorError("fed the same problem again, with all hyperparameters given, it does not diverge")
    versions = {n: v for n, v in environment()["versions"].items() if n in ("stepgauge", "numpy", "torch")}
    return Reproduction(case, target, divergence, versions)


def save(report: Report, target: Target, folder: Path, name: str) -> str:
    """Save a divergence as `name`.json and `name`.py; where they are, or why they are not."""
    try:
        case, _, divergence, versions = found = reproduction(report, target)
        source = {"target": report.target, "divergence": divergence, "recipe": str(case.problem.recipe), **versions}
        write(case, source, folder / f"{name}.json")
    except VectorError as error:
        return f"not saved: {error}"
    try:
        text = found.script
    except NoScript as reason:
        return f"saved to {folder / name}.json; no script: {reason}"
    write_whole(folder / f"{name}.py", text)
    return f"saved to {folder / name}.json and {folder / name}.py"


def _smallest_case(report: Report) -> Case:
    """The smallest problem that shows the divergence, until it does.

    Raises:
        VectorError: there is none, or it cannot be recorded.
    """
    if report.smallest is None or report.nearest is None:
        raise VectorError("no trajectory diverges")
    step = report.smallest.divergences[report.nearest].step
    return record_case(truncate(report.smallest.problem, step), report.nearest, report.smallest.dtype, report.target)


def truncate(problem: Problem, steps: int) -> Problem:
    """The first steps of a problem."""
    return replace(problem, gradients=problem.gradients[:steps], seen=problem.seen[:steps])


def record_case(problem: Problem, dialect: str, dtype: str, name: str) -> Case:
    """A problem with what the reference makes of it in a dialect, and what is allowed in a precision.

    Raises:
        VectorError: the reference overflows on it, so that there is nothing to compare with.
    """
    centre, allowed = covering_envelope(problem, dialect, dtype)
    if not (np.isfinite(centre).all() and np.isfinite(allowed).all()):
        raise VectorError("the reference overflows on the smallest problem")
    steps = [problem.cut(row) for row in centre]
    if np.max(allowed, initial=0.0) > most_allowed([problem.initial, *steps]):
        raise VectorError("rounding may do anything on the smallest problem")
    bounds = [problem.cut(row) for row in _rounded_up(allowed)]
    return Case(f"{problem.rule}/{name}", dialect, dtype, problem, steps, bounds)


def _rounded_up(allowed: Array) -> Array:
    """To three digits, which a reader has room for: half a unit of the third is at most 0.5%."""
    return np.array([[float(f"{1.006 * x:.2e}") for x in row] for row in allowed])
