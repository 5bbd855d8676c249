"""How many problems may decide nothing before nothing is established."""

import pytest

from stepgauge.properties.gauge.checks.comparison import Outcome
from stepgauge.properties.gauge.checks.results import Category, Result, Status
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts import required_checks
from stepgauge.reference import SGD


@pytest.mark.parametrize(
    ("undecided", "asked", "established"),
    [(0, 1, True), (1, 1, False), (1, 2, True), (1, 4, True), (2, 4, False), (2, 20, True), (3, 20, False)],
)
def test_a_tenth_may_decide_nothing_or_one_of_several(
    undecided: int, asked: int, established: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(required_checks, "required_of", lambda _: 1)
    problem = Problem("sgd", (), [], [])
    outcomes = [Outcome(problem, "float64", {}, {}, ambiguous=k < undecided) for k in range(asked)]
    result = Result("trajectory/long", Category.TRAJECTORY, Status.PASS, outcomes=outcomes)
    said = required_checks.shortfall(make_target("the reference", SGD, "sgd"), [result])
    assert (said == "") == established
