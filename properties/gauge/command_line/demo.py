"""`stepgauge demo`: what the paper says that a rule does, measured in seconds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.command_line.arguments import require_writable
from stepgauge.properties.gauge.command_line.output import ExitStatus, console, usage_error
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.files import write_whole
from stepgauge.properties.gauge.targets.rules import known_rule

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stepgauge.properties.gauge.demos import Demo

WIDTH = 110  # of prose, at most


def add(commands: Any) -> None:
    demo = commands.add_parser("demo", help="measure the effects that a rule is published for, beside baselines")
    demo.add_argument("rule", metavar="RULE")
    demo.add_argument("--svg", type=Path, metavar="FILE", help="draw what is measured there")
    demo.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.demos import demos_of

    try:
        rule = known_rule(chosen.rule)
        require_writable("--svg", chosen.svg)
        if chosen.svg:
            import matplotlib  # noqa: F401  # or the command says, before the work, which extra is missing
        demos = demos_of(rule)
        if chosen.svg:
            _draw(demos, chosen.svg)
    except UsageError as error:
        return usage_error(str(error))
    terminal = console()
    for k, demo in enumerate(demos):
        if k:
            terminal.print()
        terminal.print(_page(demo), width=min(WIDTH, terminal.width))
    return ExitStatus.CONFORMS


def _draw(demos: "list[Demo]", file: Path) -> None:
    from stepgauge.properties.gauge.reports.figures import as_svg

    try:
        write_whole(file, as_svg(*(demo.panel for demo in demos)) + "\n")
    except OSError as error:
        raise UsageError(f"--svg {file}: cannot be written ({error.strerror})") from error


def _page(demo: "Demo") -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for k, heading in enumerate(demo.headings):
        table.add_column(heading, justify="left" if k == 0 else "right")
    for row in demo.rows:
        table.add_row(*row)
    said = (Text(f"shows: {demo.shows}"), Text(f"does not show: {demo.leaves_open}"))
    return Group(Text(demo.title, style="bold"), Text(demo.setup, style="dim"), table, *said)
