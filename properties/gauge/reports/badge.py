"""A badge: what shields.io's endpoint reads (https://shields.io/badges/endpoint-badge)."""

import json
from collections.abc import Sequence

from stepgauge.properties.gauge.reports.page import title_of
from stepgauge.properties.gauge.verdicts.record import Record, Verdict

COLOURS = {  # the gravest verdict decides
    Verdict.DIVERGES: "red",
    Verdict.ERROR: "lightgrey",
    Verdict.NOT_ESTABLISHED: "yellow",
    Verdict.CONFORMS: "brightgreen",
}


def as_badge(reports: Sequence[Record]) -> str:
    """The verdict on one target with its rule and dialect, or how many of several came to which."""
    verdicts = {report.verdict for report in reports}
    colour = next((colour for verdict, colour in COLOURS.items() if verdict in verdicts), "lightgrey")
    message = title_of(reports)
    if len(reports) == 1:
        (only,) = reports
        message = f"{only.verdict} ({only.rule} {only.dialect})" if only.dialect else f"{only.verdict} ({only.rule})"
    badge = {"schemaVersion": 1, "label": "stepgauge", "message": message or "no verdict", "color": colour}
    return json.dumps(badge) + "\n"
