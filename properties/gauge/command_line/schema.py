"""`stepgauge schema`: the JSON Schemas of what the project reads and writes."""

import argparse
from typing import Any

from stepgauge.properties.gauge.command_line.output import ExitStatus
from stepgauge.properties.gauge.schemas.published import SCHEMAS, schema_text


def add(commands: Any) -> None:
    schema = commands.add_parser("schema", help="print the JSON Schema of what is read or written")
    schema.add_argument(
        "name",
        choices=SCHEMAS,
        help="vectors: what `vectors verify` reads; report: what `check --json` writes; survey: what `survey --json` "
        "writes; implementations: the list that `survey FILE` reads; program: what programs are told and answer",
    )
    schema.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    print(schema_text(chosen.name), end="")
    return ExitStatus.CONFORMS
