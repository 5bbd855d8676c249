"""Reports on targets, each examined in a process of its own: what `check`, `survey` and `bench` share."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stepgauge.properties.gauge.checks.options import Handling, Options
from stepgauge.properties.gauge.command_line.interrupts import is_interrupted, raise_if_interrupted
from stepgauge.properties.gauge.command_line.isolation import Job, Lost, Pool, Tell
from stepgauge.properties.gauge.errors import UsageError, describe, missing_extra

if TYPE_CHECKING:
    from stepgauge.properties.gauge.verdicts.report import Report


class Question(NamedTuple):
    """A target, what it is asked, and how many seconds it may take."""

    target: str
    rule: str | None
    options: Options
    handling: Handling
    seconds: float


def reports_on(
    questions: Sequence[Question], workers: int, told: Callable[[int, str], None]
) -> "Iterator[tuple[int, Report]]":
    """The place of each question and the report, as they finish, whatever is wrong with a target.

    `told` is called with a question's place and what is asked.
    """
    from stepgauge.properties.gauge.verdicts.report import failed

    jobs = [Job(partial(_examined, question), question.seconds) for question in questions]
    for k, result in Pool(workers, told).results(jobs):
        asked = questions[k]
        yield k, failed(asked.target, asked.rule, result.why) if isinstance(result, Lost) else result


def _examined(question: Question, tell: Tell) -> "Report":
    """The report on one target, in the process that examines it."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from stepgauge.properties.gauge.api import report_on
    from stepgauge.properties.gauge.examine import Interrupted
    from stepgauge.properties.gauge.verdicts.report import failed

    def progress(check: str) -> None:
        raise_if_interrupted()
        tell(check)

    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "stepgauge-hypothesis")  # and not in the user's folder
    target, rule, options, handling, _ = question
    try:
        return report_on(target, rule, options, handling, progress)
    except UsageError as error:
        return failed(target, rule, str(error), usage=True)
    except ModuleNotFoundError as error:
        needed = missing_extra(error)
        return failed(target, rule, needed or f"cannot be examined: {describe(error)}", usage=bool(needed))
    except BaseException as error:  # so that whatever goes wrong here is said of this target alone
        if is_interrupted():
            raise
        if isinstance(error, Interrupted):  # by the target itself, while its cause was sought
            return error.report
        return failed(target, rule, f"cannot be examined: {describe(error)}")
