"""A survey as a page, and as the document that `schema survey` describes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from stepgauge.properties.gauge.reports.page import Page, Section, title_of
from stepgauge.properties.gauge.survey.rows import Row
from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.properties.gauge.verdicts.wording import (
    OF_VERDICT,
    Column,
    Part,
    Style,
    details,
    narrowed,
    score,
    strays,
)

COLUMNS = (
    Column("implementation", is_name=True),
    *map(Column, ("version", "rule", "verdict", "dialect")),
    *(Column(heading, is_number=True) for heading in ("off at defaults", "contract", "seconds")),
)
NOTE = (
    "off at defaults: the largest error in 100 steps at the package's own defaults in float32, as a share of the way; "
    "contract: promises of torch's that are kept"
)


def page_of(rows: Sequence[Row], left_out: Sequence[str]) -> Page:
    """The page of `stepgauge survey`; `left_out` are packages and versions that are not installed."""
    notes = [NOTE]
    if left_out:
        notes.append(f"not installed: {', '.join(dict.fromkeys(left_out))}")
    reports = [row.report for row in rows]
    return Page(title_of(reports), COLUMNS, [_cells(row) for row in rows], notes, [_section(row) for row in rows])


def _cells(row: Row) -> list[Part]:
    report = row.report
    return [
        Part(row.implementation.target),
        Part(row.version or "-"),
        Part(row.implementation.rule),
        Part(f"{report.verdict}{narrowed(report)}", OF_VERDICT[report.verdict]),
        Part(report.dialect or ""),
        Part(strays(report.at_defaults).removesuffix(" of the way") if report.at_defaults else "-"),
        Part(score(report, "contract")),
        Part(f"{report.seconds:.0f}"),
    ]


def _section(row: Row) -> Section:
    lines = details(row.report)
    if row.implementation.note:
        lines.insert(0, (Part(row.implementation.note, Style.REMARK),))
    return Section(row.report.target, lines, row.report, row.command)


def document_of(rows: Sequence[Row], left_out: Sequence[str]) -> dict[str, Any]:
    """What `survey --json` writes."""
    return {
        "schema": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "rows": [_entry(row) for row in rows],
        "left_out": list(dict.fromkeys(left_out)),
        "environment": environment(),
    }


def _entry(row: Row) -> dict[str, Any]:
    wanted = row.implementation.requirement
    return {
        "package": wanted.name if wanted else None,
        "version": row.version or None,
        "note": row.implementation.note,
        "command": row.command,
        "result": row.report.to_dict(),
    }
