"""The smallest errors that checks see: how the reference is distorted, and that what is stored came of it."""

import numpy as np
import pytest

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.strength.resolution import (
    COORDINATE,
    Distorted,
    Series,
    distorted,
    numbers_of,
    resolution_of,
)
from stepgauge.properties.meta.figures import stored_row
from stepgauge.properties.meta.figures.measured import resolution_row
from stepgauge.reference import RULES, Array

DIALECTS = [(name, dialect) for name, rule in RULES.items() for dialect in rule.dialects]
ERROR = 2.0**-20


def demand(rule: str, dialect: str) -> None:
    assert resolution_row(resolution_of(rule, dialect)) == stored_row("resolution", rule=rule, dialect=dialect)


def test_the_smallest_errors_are_those_stored() -> None:
    demand("sgd", "torch")


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "dialect"), DIALECTS)
def test_the_smallest_errors_of_every_rule_are_those_stored(rule: str, dialect: str) -> None:
    demand(rule, dialect)


def test_a_law_sees_what_breaks_it() -> None:
    """Whatever its rate, SGD rotates; not if it treats one coordinate differently."""
    series = Series(distorted("sgd", "torch"), Options())
    (rotation,) = (check for check in Runner(series).selected() if check.id == "law/symmetry/rotations-commute")
    assert series.smallest(rotation, "lr") is None
    assert series.smallest(rotation, COORDINATE)


def _problem(target: Distorted, dialect: str) -> Problem:
    (problem,) = Series(target, Options(dialect=dialect)).problems(1, only={"random"})
    return problem


def _run(target: Distorted, problem: Problem, wrong: str, error: float) -> Array:
    target.wrong, target.error = wrong, error
    return target.run(problem)


@pytest.mark.parametrize(("rule", "dialect"), DIALECTS)
def test_a_reference_without_error_is_the_reference(rule: str, dialect: str) -> None:
    target = distorted(rule, dialect)
    problem = _problem(target, dialect)
    expected = reference_trajectory(problem, problem.rule_groups(RULES[rule], dialect))
    for wrong in (COORDINATE, *numbers_of(RULES[rule])):
        assert np.array_equal(_run(target, problem, wrong, 0.0), expected)


@pytest.mark.parametrize(("rule", "dialect"), DIALECTS)
def test_one_coordinate_of_every_parameter_falls_short(rule: str, dialect: str) -> None:
    """In the first step by the error itself, and no other coordinate."""
    target = distorted(rule, dialect)
    problem = _problem(target, dialect)
    start = np.concatenate([p.ravel() for p in problem.initial])
    first = np.cumsum([0, *(p.size for p in problem.initial)])[:-1]
    plain, wrong = (_run(target, problem, COORDINATE, error)[0] - start for error in (0.0, ERROR))
    factors = np.ones(problem.size)
    factors[first] -= ERROR
    assert np.allclose(wrong, factors * plain, rtol=1e-3 * ERROR, atol=0)
