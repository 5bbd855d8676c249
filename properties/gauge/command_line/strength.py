"""`stepgauge strength`: what the gauge misses of a rule."""

import argparse
from typing import Any

from stepgauge.properties.gauge.checks.options import LEVELS, Level
from stepgauge.properties.gauge.command_line.output import ExitStatus, console, usage_error
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.rules import known_rule
from stepgauge.reference import RULES


def add(commands: Any) -> None:
    strength = commands.add_parser(
        "strength", help="what the gauge misses of a rule: every small edit, and how small an error"
    )
    strength.add_argument("rules", nargs="*", metavar="RULE", help="(default: every rule, which takes long)")
    strength.add_argument("--level", choices=LEVELS, default="standard", help="how many problems")
    strength.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:

    try:
        rules = [known_rule(name) for name in chosen.rules] or list(RULES)
    except UsageError as error:
        return usage_error(str(error))
    for rule in rules:
        for dialect in RULES[rule].dialects:
            _show_strength(rule, dialect, chosen.level)
    return ExitStatus.CONFORMS


def _show_strength(rule: str, dialect: str, level: Level) -> None:
    from rich.console import Console

    from stepgauge.properties.gauge.reports.strength import show_resolution, show_strength
    from stepgauge.properties.gauge.strength.mutants import strength_of
    from stepgauge.properties.gauge.strength.resolution import resolution_of

    with Console(stderr=True).status(f"{rule} {dialect}: edits") as status:
        strength = strength_of(rule, dialect, level)
        resolution = resolution_of(rule, dialect, level, lambda check: status.update(f"{rule} {dialect}: {check}"))
    show_strength([strength], console())
    show_resolution(resolution, console())
