"""The tables of `stepgauge strength`."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.reports.terminal import coloured
from stepgauge.properties.gauge.strength.mutants import Strength
from stepgauge.properties.gauge.strength.resolution import Resolution
from stepgauge.properties.gauge.verdicts.wording import diff


def show_strength(found: Sequence[Strength], console: Console) -> None:
    """The table of edits, and below it the survivors: each that is missed, and how many are equivalent, and why."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "dialect"):
        table.add_column(heading)
    for heading in ("edits", "killed", "equivalent", "missed", "unexplained"):
        table.add_column(heading, justify="right")
    for s in found:
        counts = (s.mutants, s.killed, s.equivalent, s.missed, len(s.unexplained))
        table.add_row(s.rule, s.dialect, *map(str, counts))
    console.print(table)
    for s in found:
        for survivor in (x for x in s.survivors if not x.equivalent):
            said = f"missed: {survivor.reason}" if survivor.reason else "survives, and nobody has said why"
            console.print(Text(f"{s.rule} {s.dialect}: {said}"))
            for line in diff(survivor.hunks):
                console.print(coloured(line), soft_wrap=True)
        console.print(f"{s.rule} {s.dialect}: {s.proved} proved equivalent by algebra")
        reasons = Counter(x.reason for x in s.survivors if x.equivalent and not x.proved)
        for reason, count in reasons.most_common():
            console.print(Text(f"{s.rule} {s.dialect}: {count} equivalent: {reason}"), soft_wrap=True)


def show_resolution(found: Resolution, console: Console) -> None:
    """The smallest error of each kind that each check sees."""
    errors = list(next(iter(found.checks.values())))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("smallest relative error seen")
    for heading in errors:
        table.add_column(heading, justify="right")
    for check, seen in found.checks.items():
        table.add_row(check, *(power(seen[error]) for error in errors))
    console.print(table)
    for name, smallest in found.hyperparameters.items():
        console.print(f"{name} in trajectory/float64: {power(smallest)}")
    console.print("-: not even a tenth", style="dim")


def power(error: float | None) -> str:
    """A power of ten; a dash where no error shows."""
    return "-" if error is None else f"{error:.0e}"
