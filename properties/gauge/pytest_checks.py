"""Checks as pytest tests: one for each, with expected failures, and a last one that asks whether enough was asked.

    @conformance_checks(MyAdamP, rule="adamp", expected_failures={"contract/deepcopy": "state is shared"})
    def test_my_adamp(check): check()

What a test says depends on the optimizer and the options alone, never on which other tests run: one that needs the
result of another check, as every trajectory needs them all to settle on a dialect, has it from this process or runs it.
So any selection (`-k`) and any distribution (pytest-xdist) gives the same results; with `--dist loadfile` the tests of
one decorator share a process, and no check runs twice.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import pytest

from stepgauge.properties.gauge.api import Asked
from stepgauge.properties.gauge.cache.run import Cache, run_cache
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Handling, Level, Options
from stepgauge.properties.gauge.checks.registry import CHECKS, Check, has_rule, present_id
from stepgauge.properties.gauge.checks.results import DECIDING, FAILING, Category, Result, Status
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.examine import context_of
from stepgauge.properties.gauge.expected_failures import ExpectedFailure
from stepgauge.properties.gauge.metamorphic.context import MetamorphicContext
from stepgauge.properties.gauge.metamorphic.verdict import conclude_without_rule
from stepgauge.properties.gauge.verdicts.conclusion import conclude, smallest_failure
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.gauge.verdicts.required_checks import shortfall

Test = TypeVar("Test", bound=Callable[..., Any])
Ask = Callable[[], None]
ESTABLISHED = "established"  # the id of the last test


class DoesNotConform(AssertionError):
    """The optimizer fails a check; the message says what it does."""


def conformance_checks(
    optimizer: str | Callable[..., Any],
    rule: str | None = None,
    *,
    dialect: str = "auto",
    set: Mapping[str, Any] | None = None,  # noqa: A002  # as in `check_optimizer`
    rename: Mapping[str, str] | None = None,
    level: Level = "standard",
    device: str = "cpu",
    adapter: str | None = None,
    after_build: str = "",
    only: str = "*",
    skip: str = "",
    seed: int = 0,
    expected_failures: Mapping[str, str | ExpectedFailure] | None = None,
) -> Callable[[Test], Test]:
    """Make a pytest test with the argument `check` one test for each check of an optimizer, which calls `check()`.

    The last one, `established`, fails if the checks establish nothing, though none of them fails: fewer ran than the
    rule demands, or too many of their problems decide nothing. If all tests pass, `check_optimizer` says "conforms".

    Args:
        optimizer: as in `check_optimizer`, and so are the arguments that are not listed here.
        rule: likewise.
        dialect: likewise.
        set: likewise.
        rename: likewise.
        level: likewise.
        device: likewise.
        adapter: likewise.
        after_build: likewise.
        only: likewise.
        skip: likewise.
        seed: likewise.
        expected_failures: the reason, or an `ExpectedFailure`, by the id of the check. The test is then a strict xfail:
            it fails when the check passes, cannot be asked, or when the expectation has expired.

    Raises:
        ValueError: as `check_optimizer`; or an expected failure has no reason, names no check that is run here, or
            expires with the version of a package that has none.
    """
    options = Options(level, seed, dialect, dict(set or {}), only, skip)
    if not isinstance(expected_failures or {}, Mapping):
        raise ValueError(f"expected_failures: {expected_failures!r:.40} must give a reason for each id, as a dict does")
    failures = {id_: _failure(id_, given) for id_, given in (expected_failures or {}).items()}
    try:
        asked = Asked.of(optimizer, rule)
        shared = Shared(context_of(asked.built(Handling(rename or {}, device, adapter, after_build)), options))
        overdue = {id_: failure.overdue(asked.load()) for id_, failure in failures.items()}
    except UsageError as error:
        raise ValueError(str(error)) from error
    except TargetError as error:
        return pytest.mark.parametrize("check", [_case(ESTABLISHED, partial(_refuse, f"{asked.name} {error}"))])
    tests = shared.tests()
    for id_ in failures.keys() - tests.keys():
        now = present_id(id_)
        hint = f" (it is {now!r} now)" if now else _close(id_, tests)
        raise ValueError(f"expected_failures: {id_!r} is no check that is run here{hint}")
    return pytest.mark.parametrize(
        "check", [_case(id_, test, failures.get(id_), overdue.get(id_, "")) for id_, test in tests.items()]
    )


class Shared:
    """What the tests of one decorator share: a context, and the results."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.runner = Runner(context)
        self.checks = list(self.runner.selected())
        self.cache = Cache()
        self.results: dict[Check, Result] = {}

    def tests(self) -> dict[str, Ask]:
        """What each test does, by its id; `established` is the last."""
        return {check.id: partial(self.ask, check) for check in self.checks} | {ESTABLISHED: self.establish}

    def ask(self, check: Check) -> None:
        """Fail if the optimizer fails the check, skip if it cannot be asked."""
        result, place = self.result(check)
        if result.status in FAILING:
            raise DoesNotConform(f"{check.id}: {result.message}{place}")
        if result.status is not Status.PASS:
            pytest.skip(f"{result.status}: {result.message}")

    def result(self, check: Check) -> tuple[Result, str]:
        """A result as `check_optimizer` has it, and where it shows first.

        In which dialect is settled by all trajectories, as in a verdict.
        """
        if check.category is not Category.TRAJECTORY and not check.dialects:
            return self.run(check), ""
        report = self.report(c for c in self.checks if c.category is Category.TRAJECTORY or c is check)
        result = next(r for r in report.results if r.id == check.id)
        return result, _place(result, report)

    def establish(self) -> None:
        """Fail if the trajectories and laws establish nothing, though none of them fails."""
        report = self.report(c for c in self.checks if c.category in DECIDING)
        if report.failures(deciding=True):
            message = shortfall(self.context.target, report.results) if has_rule(self.context.target) else ""
        else:
            message = "" if report else report.message
        if message:
            raise DoesNotConform(message)

    def report(self, checks: Iterable[Check]) -> Report:
        with run_cache(self.cache):
            results = self.runner.complete([self.run(check) for check in checks])
        self.results |= {CHECKS[result.id]: result for result in results}
        if isinstance(self.context, MetamorphicContext):
            return conclude_without_rule(self.context, results)
        return conclude(self.context, results)

    def run(self, check: Check) -> Result:
        """What a check said, of this process's only run of it."""
        if check not in self.results:
            with run_cache(self.cache):
                self.results[check] = self.runner.run(check)
        return self.results[check]


def _failure(id_: str, given: str | ExpectedFailure) -> ExpectedFailure:
    if not isinstance(given, (str, ExpectedFailure)):
        raise ValueError(f"expected_failures: {id_!r} needs a reason, a text, and has {given!r:.40}")
    return ExpectedFailure(given) if isinstance(given, str) else given


def _case(id_: str, ask: Ask, failure: ExpectedFailure | None = None, overdue: str = "") -> Any:
    """The parameter of one test."""
    if failure is None:
        return pytest.param(_quietly(ask), id=id_)
    mark = pytest.mark.xfail(reason=str(failure), raises=DoesNotConform, strict=True)
    said = f"{id_} is expected to fail: {failure}"
    return pytest.param(_quietly(partial(_expecting, ask, said, overdue)), id=id_, marks=mark)


def _quietly(ask: Ask) -> Ask:
    """Without our own frames in what pytest shows."""

    def check() -> None:
        __tracebackhide__ = True
        try:
            ask()
        except DoesNotConform as error:
            raise DoesNotConform(str(error)) from None
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)

    return check


def _expecting(ask: Ask, said: str, overdue: str) -> None:
    """Let through no more than the failure that is expected; a failure of another kind is not covered by the mark."""
    if overdue:
        pytest.fail(f"{said}; this {overdue}", pytrace=False)
    try:
        ask()
    except pytest.skip.Exception as reason:
        pytest.fail(f"{said}; it cannot be asked, {reason}", pytrace=False)


def _place(result: Result, report: Report) -> str:
    """Only when, and where, a trajectory leaves the dialect that the report measures against."""
    if report.nearest is None or (smallest := smallest_failure(result.outcomes, report.nearest)) is None:
        return ""
    when = f", only with {report.when}" if report.when else ""
    return f"{when}; first {smallest.divergences[report.nearest]}"


def _refuse(message: str) -> None:
    raise DoesNotConform(message)


def _close(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""
