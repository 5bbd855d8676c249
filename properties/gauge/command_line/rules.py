"""`stepgauge rules`: every rule in a table."""

import argparse
from typing import Any

from stepgauge.properties.gauge.command_line.output import ExitStatus, console


def add(commands: Any) -> None:
    rules = commands.add_parser("rules", help="list every rule: hyperparameters, defaults, dialects, source")
    rules.set_defaults(command=run)


def run(_: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.reports.explain import rules_table

    console().print(rules_table())
    return ExitStatus.CONFORMS
