"""The smallest errors that checks see: how the reference is distorted, and that the table says what came of it."""

from pathlib import Path

import numpy as np
import pytest

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.reports.strength import power
from stepgauge.properties.gauge.strength.resolution import (
    COORDINATE,
    Distorted,
    Resolution,
    Series,
    distorted,
    numbers_of,
    resolution_of,
)
from stepgauge.reference import RULES, Array

TOLERANCE = Path(__file__).parents[1] / "gauge" / "tolerance" / "README.md"
DIALECTS = [(name, dialect) for name, rule in RULES.items() for dialect in rule.dialects]
ERROR = 2.0**-20


def row(found: Resolution) -> str:
    """As its table has it: the smallest errors of lr and of one coordinate."""
    trajectories = [
        f"{power(found.checks[f'trajectory/{name}']['lr'])}, {power(found.checks[f'trajectory/{name}'][COORDINATE])}"
        for name in ("float64", "float32", "long")
    ]
    laws = [smallest for id_, smallest in found.checks.items() if id_.startswith("law/")]
    seen = [sum(smallest[wrong] is not None for smallest in laws) for wrong in ("lr", COORDINATE)]
    worst = max(found.hyperparameters, key=lambda name: found.hyperparameters[name] or 1.0)
    others = f"{power(found.hyperparameters[worst])} ({worst})"
    cells = (found.rule, found.dialect, *trajectories, f"{seen[0]}, {seen[1]} of {len(laws)}", others)
    return f"| {' | '.join(cells)} |"


def test_the_smallest_errors_are_those_in_the_table() -> None:
    assert row(resolution_of("sgd", "torch")) in TOLERANCE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "dialect"), DIALECTS)
def test_the_smallest_errors_of_every_rule_are_those_in_the_table(rule: str, dialect: str) -> None:
    assert row(resolution_of(rule, dialect)) in TOLERANCE.read_text()


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
