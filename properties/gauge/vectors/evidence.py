"""The evidence of a divergence: the error step by step, and a script that reproduces it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.comparison import binding_steps, shares_of
from stepgauge.properties.gauge.errors import StepError, TargetError, UsageError
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, distance
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import covering_envelope
from stepgauge.properties.gauge.vectors.format import VectorError
from stepgauge.properties.gauge.vectors.reproduction import NoScript
from stepgauge.properties.gauge.vectors.saved_divergence import reproduction
from stepgauge.properties.gauge.verdicts.record import CurvePoint, Evidence
from stepgauge.properties.gauge.verdicts.report import Report

STEPS = 40  # of the curve: enough to see whether an error grows, stays or fades


def evidence_of(report: Report, target: Target) -> Evidence | None:
    """The evidence of a report's divergence; None where no trajectory diverges."""
    if report.smallest is None or report.nearest is None:
        return None
    driven = target.varied(report.smallest.variant)
    try:
        curve = list(_curve(_continued(report.smallest.problem), driven, report.nearest, report.smallest.dtype))
    except (TargetError, StepError):  # it may raise in a later step, or not be built alike every time
        curve = []
    try:
        return Evidence(curve, script=reproduction(report, target).script)
    except (NoScript, UsageError, VectorError) as reason:
        return Evidence(curve, no_script=str(reason))


def _continued(problem: Problem) -> Problem:
    """The problem with more steps of its kind; its first ones stay what they are."""
    recipe = problem.recipe
    if recipe is None or recipe.steps >= STEPS:
        return problem
    return expand(replace(recipe, steps=STEPS))


def _curve(problem: Problem, target: Target, dialect: str, dtype: str) -> Iterator[CurvePoint]:
    centre, allowed = covering_envelope(problem, dialect, dtype)
    error = distance(target.run(problem, dtype), centre)
    for t in range(binding_steps(centre)):
        worst = int(np.argmax(shares_of(error[t], allowed[t])))
        yield CurvePoint(t + 1, float(error[t, worst]), float(allowed[t, worst]))
