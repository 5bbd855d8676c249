"""The rows of a survey: what is said of each implementation, and how it is examined."""

from collections.abc import Callable
from typing import NamedTuple

from stepgauge.properties.gauge.api import Handling, report_on
from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.errors import UsageError, describe
from stepgauge.properties.gauge.survey.implementations import Implementation
from stepgauge.properties.gauge.verdicts.report import Report, failed


class Row(NamedTuple):
    """What is said of an implementation, the version of its package, and the command that says it again."""

    implementation: Implementation
    version: str
    report: Report
    command: str


class Depth(NamedTuple):
    """How much is asked of every implementation."""

    level: Level
    seed: int
    diagnosis: bool

    @property
    def options(self) -> list[str]:
        """What asks for as much on the command line."""
        level = [] if self.level == "standard" else ["--level", self.level]
        return level + (["--seed", str(self.seed)] if self.seed else [])


def examined(row: Implementation, depth: Depth, progress: Callable[[str], None]) -> Report:
    """The report on an implementation, whatever is wrong with it."""
    options = Options(
        depth.level,
        depth.seed,
        row.dialect,
        dict(row.set),
        skip=",".join(row.skip),
        diagnosis=depth.diagnosis,
        dtype=row.dtype,
    )
    try:
        handling = Handling(dict(row.rename), adapter=row.adapter, after_build=row.after_build)
        return report_on(row.target, row.rule, options, handling, progress)
    except UsageError as error:
        return failed(row.target, row.rule, str(error), usage=True)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return failed(row.target, row.rule, f"cannot be examined: {describe(error)}")
