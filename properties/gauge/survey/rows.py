"""The rows of a survey: what is said of each implementation."""

from typing import NamedTuple

from stepgauge.properties.gauge.survey.implementations import Implementation
from stepgauge.properties.gauge.verdicts.report import Report


class Row(NamedTuple):
    """What is said of an implementation, the version of its package, and the command that says it again."""

    implementation: Implementation
    version: str
    report: Report
    command: str
