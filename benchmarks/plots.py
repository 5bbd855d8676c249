"""What `pytest benchmarks` measured, drawn: how near the limit, how the cost grows, what a verdict costs.

    plots.py BENCHMARKS.json FOLDER

writes an SVG file for each kind of figure that the JSON has.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepgauge.properties.gauge.bench.models import MODELS
from stepgauge.properties.gauge.reports.figures import as_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]  # what a benchmark stated of itself
Draw = Callable[["Axes"], None]


def limit(rows: Sequence[Row], axes: "Axes") -> None:
    """The core's share of the machine's bandwidth: a dot for each rule and model."""
    steps = [row for row in rows if "share" in row]
    names = list(dict.fromkeys(row["rule"] for row in steps))[::-1]
    for model, marker in zip(MODELS, "osD", strict=True):
        shares = {row["rule"]: row["share"] for row in steps if row["model"] == model}
        axes.plot(list(shares.values()), [names.index(name) for name in shares], marker, label=model)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(left=0)
    axes.set_xlabel("least traffic of the rule over the core's time, as a share of the bandwidth")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False)


def growth(rows: Sequence[Row], varied: str, axes: "Axes") -> None:
    """Milliseconds of a step against what was varied, both logarithmic; the slope of the larger half in the legend."""
    for row in rows:
        if row.get("varied") == varied:
            values, ms = [int(n) for n in row["scaling"]], list(row["scaling"].values())
            axes.loglog(values, ms, "o-", label=f"{row['subject']} ({row['slope_of_larger_half']:.2f})", markersize=3)
    axes.set_xlabel(varied)
    axes.set_ylabel("CPU ms of a step")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")


def verdicts(rows: Sequence[Row], axes: "Axes") -> None:
    """Seconds of a verdict by level, with an empty cache and with a filled one."""
    checks = [row for row in rows if "cold_s" in row]
    places = np.arange(len(checks))
    axes.barh(places - 0.2, [row["cold_s"] for row in checks], 0.4, label="empty cache")
    axes.barh(places + 0.2, [row["warm_s"] for row in checks], 0.4, label="filled cache")
    axes.set_yticks(places, [f"{row['target']}\n{row['level']}" for row in checks])
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds of the process, imports included")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False)


def figures(rows: Sequence[Row]) -> dict[str, tuple[list[Draw], float]]:
    """The panels of each figure that there are measures for, and the height of one in inches."""
    found: dict[str, tuple[list[Draw], float]] = {}
    if any("share" in row for row in rows):
        found["limit"] = [partial(limit, rows)], 4.8
    if varied := list(dict.fromkeys(row["varied"] for row in rows if "varied" in row)):
        found["growth"] = [partial(growth, rows, what) for what in varied], 3.2
    if any("cold_s" in row for row in rows):
        found["verdicts"] = [partial(verdicts, rows)], 3.2
    return found


def main(measured: Path, folder: Path) -> None:
    rows = [benchmark["extra_info"] for benchmark in json.loads(measured.read_text())["benchmarks"]]
    for name, (panels, height) in figures(rows).items():
        (folder / f"bench-{name}.svg").write_text(as_svg(*panels, inches=(6.4, height)) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
