"""Reports in the terminal: the words of `verdicts.wording`, coloured."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.gauge.verdicts.wording import COLUMNS, Line, Style, details, notes, row_of

COLOURS = {
    Style.PLAIN: "",
    Style.HEADING: "bold",
    Style.REMARK: "dim",
    Style.GOOD: "green",
    Style.BAD: "red",
    Style.UNSURE: "yellow",
    Style.BROKEN: "magenta",
}


def show(reports: Sequence[Report], console: Console) -> None:
    """Print the table of verdicts, and below it what is behind each that is not plain."""
    console.print(_table(reports))
    for note in notes(reports):
        console.print(note, style="dim", soft_wrap=True)
    for report in reports:
        lines = details(report)
        if lines:
            console.print(Text(report.target, style="bold"))
            for line in lines:
                console.print(Text.assemble("  ", coloured(line)), soft_wrap=True)


def coloured(line: Line) -> Text:
    return Text.assemble(*((part.text, COLOURS[part.style]) for part in line))


def _table(reports: Sequence[Report]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
    for column in COLUMNS:
        if column.heading == "target":
            table.add_column(column.heading, overflow="fold")
        else:
            table.add_column(column.heading, justify="right" if column.is_number else "left", no_wrap=True)
    for report in reports:
        table.add_row(*(coloured((part,)) for part in row_of(report)))
    return table
