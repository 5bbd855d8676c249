"""`stepgauge explain`: a rule's reference text, and its checks."""

import argparse
from typing import Any

from stepgauge.properties.gauge.command_line.output import ExitStatus, console, usage_error
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.rules import known_rule


def add(commands: Any) -> None:
    explain = commands.add_parser("explain", help="print a rule's reference text with its citations, and its checks")
    explain.add_argument("rule", metavar="RULE")
    explain.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.reports.explain import explanation

    try:
        rule = known_rule(chosen.rule)
    except UsageError as error:
        return usage_error(str(error))
    console().print(explanation(rule))
    return ExitStatus.CONFORMS
