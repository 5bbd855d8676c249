"""What the documents derive from the code and from stored figures; cog puts it into them (`make docs`)."""

import csv
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from stepgauge import core, torch_bind
from stepgauge.properties.gauge.reports.explain import dialects_in_words
from stepgauge.properties.meta.figures import Row, stored, stored_row
from stepgauge.properties.meta.figures.measured import HORIZONS, LEGAL_PORTS
from stepgauge.properties.meta.misreadings import MISREADINGS
from stepgauge.properties.meta.misreadings.held_out import HELD_OUT
from stepgauge.properties.meta.test_strength import SEEDS
from stepgauge.reference import RULES

LAYERS = (core.RULES, torch_bind.RULES)  # which need not have every rule
WIDTH = 120  # of lines of prose
DOCS = Path(__file__).parents[2] / "docs"  # only in a checkout


def rules_table() -> str:
    """Every rule: its class, its dialects, and which layers have it beside the reference."""
    rows = []
    for name, record in RULES.items():
        layers = ["yes" if name in layer else "" for layer in LAYERS]
        rows.append([name, record.__name__, dialects_in_words(record), *layers])
    return _table(("rule", "class", "dialects", "core", "torch bindings"), rows)


def launches_table() -> str:
    """How many operators the pure function of each rule launches, in the form of it that launches most and least."""
    from stepgauge.properties.layers.torch_cases import CASES, LAUNCHES, OF_EACH

    rows = []
    for rule in OF_EACH:
        counts = [count for name, count in LAUNCHES.items() if CASES[name][0] == rule]
        fewest, most = min(counts), max(counts)
        rows.append([torch_bind.RULES[rule].__name__, str(most) if fewest == most else f"{fewest} to {most}"])
    return _table(("rule", "operators in a step"), rows)


def workflow() -> str:
    """The workflow to copy, as a block of code."""
    return f"```yaml\n{(DOCS / 'workflows' / 'optimizer.yml').read_text()}```\n"


def survey_table() -> str:
    """The matrix of the latest survey that is stored."""
    with (DOCS / "survey.csv").open(newline="", encoding="utf-8") as file:
        headings, *rows = csv.reader(file)
    return _table(headings, rows)


def ports_in_words() -> str:
    """What the gauge is measured on, and how the measurement ends."""
    constants = sum(hasattr(port, "only_with_constants") for port in LEGAL_PORTS)
    return _wrapped(
        f"{len(MISREADINGS) + len(HELD_OUT)} wrong ports of the {len(RULES)} rules, written without sight of the "
        f"checks, all diverge at the standard level; {len(LEGAL_PORTS)} legal ports, each with an order of operations "
        f"of its own, conform, {constants} of them only where no hyperparameter but lr moves in mid-run."
    )


def causes_in_words() -> str:
    """Of how many wrong ports the cause is named."""
    known, held_out = (_share_named(stored_row("causes", ports=ports)) for ports in ("misreadings", "held_out"))
    return _wrapped(
        f"The cause is named for {known} of the wrong ports that were in sight when the known misreadings were "
        f"written, and for {held_out} of those that were not."
    )


def _share_named(row: Row) -> str:
    wrong, named = int(row["wrong"]), int(row["named"])
    return f"{named} of {wrong} ({named / wrong:.0%})"


def strength_table() -> str:
    return _stored_table("mutants")


def resolution_table() -> str:
    """Of each pair the first is the smallest error in lr that shows, the second that in one coordinate."""
    headings = (
        *("rule", "dialect", "float64", "float32", "2000 steps (500 with layers)", "laws that see it"),
        "coarsest of the other hyperparameters",
    )
    rows = []
    for row in stored("resolution"):
        pairs = [f"{row[f'{horizon} lr']}, {row[f'{horizon} coordinate']}" for horizon in HORIZONS]
        laws = f"{row['laws lr']}, {row['laws coordinate']} of {row['laws']}"
        rows.append([row["rule"], row["dialect"], *pairs, laws, f"{row['others']} ({row['coarsest']})"])
    return _table(headings, rows)


def resolution_in_words() -> str:
    """The smallest error in lr, or in one coordinate, that shows for every rule."""
    float64, float32 = (
        max((row[f"{dtype} {wrong}"] for row in stored("resolution") for wrong in ("lr", "coordinate")), key=float)
        for dtype in ("float64", "float32")
    )
    return _wrapped(
        f"In float64 a relative error of {float64} in lr, or in the step of one coordinate, shows for every rule, and "
        f"in float32 one of {float32}."
    )


def headroom_table() -> str:
    renamed = {"long": "2000 steps (500 with layers)", "other draws": f"{len(SEEDS)} other draws, either precision"}
    return _stored_table("headroom", renamed)


def draws_in_words() -> str:
    """What the last column of the headroom is about."""
    runs = len(SEEDS) * sum(int(row["ports"]) for row in stored("headroom"))
    return _wrapped(
        f"The last column is at the quick level, with the seeds 0 to {SEEDS[-1]}: {runs} runs, of which none diverges."
    )


def nearest_table() -> str:
    """The ports that come nearest to their bounds, by their own words."""
    ports = {port.__name__: port for port in LEGAL_PORTS}
    nearest = sorted(stored("nearest"), key=lambda row: row["share"], reverse=True)
    rows = [[row["rule"], row["port"], ports[row["port"]].__doc__ or "", row["share"]] for row in nearest]
    return _table(("rule", "port", "what it does", "share"), rows)


def _stored_table(name: str, headings: Row | None = None) -> str:
    rows = stored(name)
    return _table([(headings or {}).get(column, column) for column in rows[0]], [row.values() for row in rows])


def _table(headings: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH) + "\n"
