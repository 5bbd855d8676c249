"""Figures as SVG: the same bytes for the same figure."""

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (6.4, 2.8)  # of one panel


def as_svg(*panels: Callable[["Axes"], None], inches: tuple[float, float] = INCHES) -> str:
    """Panels below each other, each drawn by one of the functions."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "stepgauge"}):
        figure = Figure(figsize=(inches[0], inches[1] * len(panels)), layout="constrained")
        for k, draw in enumerate(panels, start=1):
            axes = figure.add_subplot(len(panels), 1, k)
            draw(axes)
            axes.spines[["top", "right"]].set_visible(False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
