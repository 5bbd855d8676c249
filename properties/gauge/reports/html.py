"""A page as one HTML file that needs no network: the table, and each divergence drawn, explained and reproduced."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment
from markupsafe import Markup

from stepgauge.properties.gauge.reports.figures import as_svg
from stepgauge.properties.gauge.reports.page import Page
from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.properties.gauge.verdicts.record import CurvePoint, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def as_html(page: Page) -> str:
    """The whole file."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    figures = {id(section): drawn(section.report) for section in page.sections}
    return template.render(page=page, figures=figures, id=id, written=written, environment=environment())


def drawn(report: Record) -> Markup | None:
    """The curve of a divergence as SVG; None if there is none."""
    if report.evidence is None or not report.evidence.curve:
        return None
    return Markup(error_by_step(report.evidence.curve))


def error_by_step(curve: Sequence[CurvePoint]) -> str:
    """The error in each step against what is allowed, both on a logarithmic scale, as SVG.

    Where the target is exact, or not a number, the line of its error is broken.
    """
    return as_svg(partial(_draw_errors, curve))


def _draw_errors(curve: Sequence[CurvePoint], axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    steps = [point.step for point in curve]
    axes.plot(steps, [_positive(p.allowed) for p in curve], color="#2a7d4f", ls="--", label="allowed")
    axes.plot(steps, [_positive(p.error) for p in curve], color="#b3261e", marker=".", label="error")
    axes.fill_between(steps, [_positive(p.allowed) for p in curve], color="#2a7d4f", alpha=0.1, lw=0)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("worst coordinate")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", frameon=False)


def _positive(x: float) -> float:
    """What a logarithmic scale has a place for."""
    return x if x > 0 and math.isfinite(x) else math.nan
