"""A page of verdicts in plain lines: what the terminal, Markdown and HTML show, each in its way."""

from collections.abc import Sequence
from typing import NamedTuple

from stepgauge.properties.gauge.verdicts.record import Record
from stepgauge.properties.gauge.verdicts.wording import COLUMNS, Column, Line, Part, details, notes, row_of


class Section(NamedTuple):
    """What is behind a row of the table; `command` repeats it."""

    title: str
    lines: Sequence[Line]
    report: Record
    command: str = ""


class Page(NamedTuple):
    """A table of verdicts, what explains it, and a section for each row that has more to say."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Part]]
    notes: Sequence[str]
    sections: Sequence[Section]


def page_of(reports: Sequence[Record]) -> Page:
    """The page of `stepgauge check`."""
    sections = [Section(report.target, details(report), report) for report in reports]
    return Page(title_of(reports), COLUMNS, [row_of(r) for r in reports], notes(reports), sections)


def title_of(reports: Sequence[Record]) -> str:
    """How many targets came to which verdict.

    >>> from stepgauge.properties.gauge.verdicts.record import Verdict
    >>> title_of([Record("a:A", "adam", Verdict.CONFORMS), Record("b:B", "adam", Verdict.DIVERGES)])
    '1 conforms, 1 diverges'
    """
    verdicts = [str(report.verdict) for report in reports]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
