"""Figures of the gauge itself, as they were measured: one table a file, which the documents show and tests hold.

`mutants` and `resolution` have a row for each rule and dialect, `headroom` one for each rule, `nearest` one for each
legal port that comes nearest to its bounds, `causes` one for each set of wrong ports. `make figures RULES="adam lion"`
measures again what there is of these rules.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepgauge.reference import RULES

FOLDER = Path(__file__).parent
KEYS = ("rule", "dialect", "port")  # the columns that say what a row is about
Row = Mapping[str, str]


def stored(table: str) -> list[Row]:
    """The rows of a table, in its order: each cell by the heading of its column."""
    with (FOLDER / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def stored_row(table: str, **key: str) -> Row:
    """The one row of a table that is about a rule, or about a rule and dialect.

    Raises:
        LookupError: there is none.
    """
    for row in stored(table):
        if key.items() <= row.items():
            return row
    raise LookupError(f"{table}.csv has no row for {', '.join(key.values())}: run make figures")


def store(table: str, rows: Sequence[Row]) -> None:
    """Put rows in the place of those about the same, in the order of the reference's rules and dialects."""
    by_subject = {_about(row): row for row in [*stored(table), *rows]}
    merged = sorted(by_subject.values(), key=_place)
    with (FOLDER / f"{table}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(merged[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged)


def _about(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in KEYS if key in row)


def _place(row: Row) -> tuple[int, int]:
    dialects = RULES[row["rule"]].dialects
    return list(RULES).index(row["rule"]), dialects.index(row.get("dialect", dialects[0]))
