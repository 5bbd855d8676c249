"""`stepgauge checks`: every check and law, what it asks, and of whom."""

import argparse
from typing import Any

from stepgauge.properties.gauge.command_line.output import ExitStatus, console, usage_error
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.rules import known_rule


def add(commands: Any) -> None:
    checks = commands.add_parser("checks", help="list every check: id, what it asks, for which rules and dialects")
    checks.add_argument("rule", nargs="?", metavar="RULE", help="only those of this rule, or of none")
    checks.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.reports.explain import list_of_checks

    try:
        rule = None if chosen.rule is None else known_rule(chosen.rule, or_none=True)
    except UsageError as error:
        return usage_error(str(error))
    console().print(list_of_checks(rule))
    return ExitStatus.CONFORMS
