"""Reports in the terminal: the words of `verdicts.wording`, coloured."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.reports.page import Page, page_of
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.gauge.verdicts.wording import Line, Style

COLOURS = {
    Style.PLAIN: "",
    Style.HEADING: "bold",
    Style.REMARK: "dim",
    Style.GOOD: "green",
    Style.BAD: "red",
    Style.UNSURE: "yellow",
    Style.BROKEN: "magenta",
}
LEGIBLE = 20  # letters of a name in a line, however narrow the terminal


def show(reports: Sequence[Report], console: Console) -> None:
    """Print the table of verdicts, and below it what is behind each that is not plain."""
    show_page(page_of(reports), console)


def show_page(page: Page, console: Console) -> None:
    """Print a page; a table that the terminal has no room for goes on beyond its edge."""
    console.width = max(console.width, sum(_narrowest(page)) + len(page.columns) - 1)
    console.print(_table(page), crop=False)
    for note in page.notes:
        console.print(note, style="dim", soft_wrap=True)
    for section in page.sections:
        if section.lines or section.command:
            console.print(Text(section.command or section.title, style="bold"), soft_wrap=True)
            for line in section.lines:
                console.print(Text.assemble("  ", coloured(line)), soft_wrap=True)


def coloured(line: Line) -> Text:
    return Text.assemble(*((part.text, COLOURS[part.style]) for part in line))


def _narrowest(page: Page) -> list[int]:
    """How narrow each column may become: what it holds is neither cut nor, unless it is a long name, broken."""
    widths = []
    for k, column in enumerate(page.columns):
        longest = max(len(text) for text in (column.heading, *(row[k].text for row in page.rows)))
        widths.append(min(longest, LEGIBLE) if column.is_name else longest)
    return widths


def _table(page: Page) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
    for column, narrowest in zip(page.columns, _narrowest(page), strict=True):
        if column.is_name:
            table.add_column(column.heading, overflow="fold", min_width=narrowest)
        else:
            table.add_column(column.heading, justify="right" if column.is_number else "left", no_wrap=True)
    for row in page.rows:
        table.add_row(*(coloured((part,)) for part in row))
    return table
