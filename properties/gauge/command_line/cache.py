"""`stepgauge cache`: where what was computed is kept, and how to be rid of it."""

import argparse
from typing import Any

from stepgauge.properties.gauge.cache.store import FILE, LARGEST, VARIABLE, folder
from stepgauge.properties.gauge.command_line.output import ExitStatus, usage_error

MEGABYTE = 1_000_000


def add(commands: Any) -> None:
    cache = commands.add_parser("cache", help="tell where computed problems are kept from run to run, or clear it")
    cache.add_argument("action", nargs="?", choices=["clear"], help="remove what is kept; verdicts do not change")
    cache.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    place = folder()
    if place is None:
        print(f"nothing is kept: {VARIABLE} is off")
        return ExitStatus.CONFORMS
    file = place / FILE
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        print(f"{file}: nothing is kept yet")
        return ExitStatus.CONFORMS
    except OSError as error:
        return usage_error(f"{file}: cannot be read ({error.strerror})")
    if chosen.action is None:
        print(f"{file}: {size / MEGABYTE:.1f} MB, at most {LARGEST / MEGABYTE:.0f} MB")
        return ExitStatus.CONFORMS
    try:
        file.unlink()
    except OSError as error:
        return usage_error(f"{file}: cannot be removed ({error.strerror})")
    print(f"{file}: {size / MEGABYTE:.1f} MB removed")
    return ExitStatus.CONFORMS
