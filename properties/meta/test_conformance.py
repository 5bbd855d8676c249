"""One pytest test for each check: what they say, whichever of them run and wherever, and expected failures."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

import pytest

from stepgauge import ExpectedFailure, check_optimizer, conformance_checks
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.registry import CHECKS, Check, load_checks
from stepgauge.properties.gauge.checks.results import Result
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.required_checks import required_of
from stepgauge.reference import RULES, SGD, SGDP, Adam, Rule
from stepgauge.reference.rule import by_name

TESTS = """
from stepgauge import conformance_checks
from stepgauge.reference import Adam

class ForgetsDecay(Adam):
    def step(self, p, g, s, pooled=None):
        return self.but(weight_decay=0.0).step(p, g, s, pooled) if self.weight_decay else super().step(p, g, s, pooled)

expected = {"trajectory/float32": "as in float64"}

@conformance_checks(ForgetsDecay, rule="adam", level="quick", expected_failures=expected)
def test_port(check):
    check()
"""
XFAILED, FAILED, PASSED = "XFAIL", "FAILED", "PASSED"


class Twice(SGD):
    """Wrong from the first step on."""

    def step(self, p: Any, g: Any, s: Any, pooled: Any = None) -> Any:
        return super().step(*super().step(p, g, s, pooled)[:1], g, s, pooled)


class Mixed(SGDP):
    """Published in float64, released in float32: in one dialect, at least one of the two is wrong."""

    def step(self, p: Any, g: Any, s: Any, pooled: Any = None) -> Any:
        dialect = "published" if p.dtype == "float64" else "released"
        return SGDP.step(SGDP(**{**self.hyperparameters(), "dialect": dialect}), p, g, s, pooled)


def _tests(optimizer: Any, rule: str, **options: Any) -> dict[str, Callable[[], None]]:
    """What each test does, by its id."""

    @conformance_checks(optimizer, rule, level="quick", **options)
    def decorated(check: Callable[[], None]) -> None:
        check()

    (mark,) = decorated.pytestmark  # type: ignore[attr-defined]
    return {str(case.id): case.values[0] for case in mark.args[1]}


def _said(test: Callable[[], None]) -> str:
    """What a test fails or skips with; empty if it passes."""
    try:
        test()
    except (AssertionError, pytest.skip.Exception, pytest.fail.Exception) as outcome:
        return str(outcome)
    return ""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """The outcome of each test of `TESTS` in a pytest of its own, by its id."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_port.py").write_text(TESTS)

    @cache
    def run(*arguments: str) -> dict[str, str]:
        command = [sys.executable, "-m", "pytest", "-qrA", "--tb=no", "-p", "no:cacheprovider", *arguments]
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
        lines = [line for line in printed.splitlines() if "::test_port[" in line]
        return {line.partition("[")[2].partition("]")[0]: line.partition(" ")[0] for line in lines}

    return run


def test_every_check_is_a_test_and_fails_for_itself(outcomes: Callable[..., dict[str, str]]) -> None:
    found = outcomes()
    assert found["trajectory/float64"] == FAILED
    assert found["trajectory/float32"] == XFAILED
    assert found["interface/defaults"] == found["established"] == PASSED
    # It offers no forms, and steps what is finer than bfloat16; pytest lists a skipped test without its id.
    skipped = {"trajectory/forms", "trajectory/bfloat16"}
    assert found.keys() | skipped == _tests(Adam, "adam").keys()


@pytest.mark.parametrize(
    "arguments", [("-n2", "-k", "trajectory or established"), ("-k", "float32 or established"), ("-k", "defaults")]
)
def test_no_outcome_depends_on_the_tests_that_run(
    arguments: tuple[str, ...], outcomes: Callable[..., dict[str, str]]
) -> None:
    whole, part = outcomes(), outcomes(*arguments)
    assert part
    assert part.items() <= whole.items()


@pytest.mark.parametrize(
    ("optimizer", "rule", "only"), [(SGD, "sgd", "*"), (Twice, "sgd", "*"), (Mixed, "sgdp", "trajectory/float*")]
)
def test_tests_and_report_agree(optimizer: Any, rule: str, only: str) -> None:
    """Check by check, and as a whole."""
    report = check_optimizer(optimizer, rule, level="quick", only=only)
    said = {id_: _said(test) for id_, test in _tests(optimizer, rule, only=only).items()}
    for result in report.results:
        assert (said[result.id] == "") is (result.status == "pass"), result
        assert result.message in said[result.id] or not said[result.id]
    failed = [text for text in said.values() if text and not text.startswith("not-applicable: ")]
    assert (not failed) is bool(report)


def test_a_failure_says_when_and_where() -> None:
    report = check_optimizer(Mixed, "sgdp", level="quick", only="trajectory/float*", diagnosis=False)
    said = [_said(test) for id_, test in _tests(Mixed, "sgdp").items() if id_.startswith("trajectory/float")]
    (failure,) = filter(None, said)  # whichever dialect is the nearest
    assert "only with" in failure
    assert str(report.divergence) in failure


def test_established_asks_for_all_that_the_rule_requires() -> None:
    assert (
        _said(_tests(SGD, "sgd", skip="law/growth/squared-norms-add-up")["established"])
        == "did not run: law/growth/squared-norms-add-up (sgd requires 12 checks)"
    )
    assert _said(_tests(SGD, "sgd")["established"]) == ""
    # What fails has run, and its own test says so.
    assert _said(_tests(Twice, "sgd")["established"]) == ""
    assert "did not run: law/growth/squared-norms-add-up" in _said(
        _tests(Twice, "sgd", skip="law/growth/squared-norms-add-up")["established"]
    )


def test_a_law_that_did_not_run_leaves_the_verdict_open() -> None:
    report = check_optimizer(SGD, "sgd", level="quick", skip="law/growth/squared-norms-add-up")
    assert (report.verdict, report.message) == (
        "not-established",
        "did not run: law/growth/squared-norms-add-up (sgd requires 12 checks)",
    )


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_requires_is_there(rule: str) -> None:
    target = make_target(rule, RULES[rule], rule)
    deciding = [c for c in load_checks() if c.category in ("trajectory", "law") and c.applies(target)]
    assert len(deciding) == required_of(target)


def test_a_rule_that_does_not_say_what_it_requires_is_refused() -> None:
    unstated: Any = type("Unstated", (Rule,), {})
    with pytest.raises(TypeError, match="Unstated has no required_laws: state how many laws a verdict on it rests"):
        by_name([SGD, unstated])


def test_a_lost_law_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CHECKS, "law/growth/squared-norms-add-up")
    report = examine(make_target("sgd", SGD, "sgd"), Options(level="quick"))
    assert (report.verdict, report.message) == ("not-established", "knows 11 of the 12 checks that sgd requires")


def test_collection_examines_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def examined(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Runner, "run", examined)
    monkeypatch.setattr(Context, "problems", examined)
    assert "trajectory/float64" in _tests(SGD, "sgd")


def test_results_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run = Runner.run

    def noted(runner: Runner, check: Check) -> Result:
        ran.append(check.id)
        return run(runner, check)

    monkeypatch.setattr(Runner, "run", noted)
    for test in _tests(SGD, "sgd", only="trajectory/*,law/*").values():
        _said(test)
    assert sorted(ran) == sorted(set(ran))
    assert len(ran) == required_of(make_target("sgd", SGD, "sgd"))


@pytest.mark.parametrize(
    ("failures", "sentence"),
    [
        ({"law/growth/squared-norms-add-up": " "}, "an expected failure needs a reason"),
        ({"law/growth/squared-norms-add-up": None}, "squared-norms-add-up' needs a reason, a text, and has None"),
        ({"law/growth/squared": "why"}, r"is no check that is run here \(did you mean law/growth/squared-norms"),
        ({"law/P5": "why"}, r"'law/P5' is no check that is run here \(it is 'law/growth/squared-norms-add-up' now\)"),
        ({"law/growth/squared-norms-add-up": ExpectedFailure("why", expires="2.0")}, "comes from no installed package"),
    ],
)
def test_a_wrong_expectation_is_refused_at_once(failures: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conformance_checks(Twice, "sgd", level="quick", expected_failures=failures)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"only": ["law/*"]}, "must be a text, with commas between several globs"),
        ({"seed": None}, "seed None must be a whole number, at least 0"),
        ({"seed": -1}, "seed -1 must be"),
        ({"expected_failures": ["law/growth/squared-norms-add-up"]}, "must give a reason for each id, as a dict does"),
    ],
)
def test_options_of_another_type_are_refused(options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conformance_checks(Twice, "sgd", **options)


def test_an_expiry_is_a_version() -> None:
    with pytest.raises(ValueError, match="'soon' is not"):
        ExpectedFailure("why", expires="soon")


def test_an_expectation_expires_with_the_package_of_the_optimizer() -> None:
    def said(expires: str) -> str:
        failures = {"interface/defaults": ExpectedFailure("why", expires=expires)}
        return _said(_tests(SGD, "sgd", expected_failures=failures)["interface/defaults"])

    version = metadata.version("stepgauge")
    assert f"this expired with stepgauge {version}, and {version} is installed" in said(version)
    assert said("999") == ""


def test_an_expected_failure_that_cannot_be_asked_is_no_failure() -> None:
    tests = _tests(
        "stepgauge.core:SGD(momentum=0.5)",
        "sgd",
        expected_failures={"law/growth/momentum-multiplies-growth": ExpectedFailure("why", "https://x/1")},
    )
    assert _said(tests["law/growth/momentum-multiplies-growth"]).startswith(
        "law/growth/momentum-multiplies-growth is expected to fail: why (https://x/1); it cannot be asked"
    )


def test_an_optimizer_that_cannot_be_loaded_is_one_failing_test() -> None:
    tests = _tests("no.such:SGD", "sgd")
    assert [_said(test) for test in tests.values()] == [
        "no.such:SGD cannot be imported: ModuleNotFoundError: No module named 'no'"
    ]
    with pytest.raises(ValueError, match="unknown rule 'adamq'"):
        conformance_checks(SGD, "adamq")
