"""The command: its parser, and what becomes of whatever a command raises."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from stepgauge.properties.gauge.command_line import (
    bench,
    cache,
    check,
    checks,
    demo,
    explain,
    per_target,
    rules,
    schema,
    strength,
    survey,
    vectors,
)
from stepgauge.properties.gauge.command_line.interrupts import ENDING, INTERRUPTS
from stepgauge.properties.gauge.command_line.output import ExitStatus, fall_silent, usage_error
from stepgauge.properties.gauge.errors import missing_extra

COMMANDS = (
    check,
    survey,
    rules,
    explain,
    checks,
    strength,
    bench,
    demo,
    vectors,
    schema,
    cache,
)  # as the help lists them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    try:
        chosen = _chosen(sys.argv[1:] if arguments is None else list(arguments))
        command: Callable[[argparse.Namespace], int] = chosen.command
        return int(command(chosen))
    except ModuleNotFoundError as error:
        if not (needed := missing_extra(error)):
            raise
        return usage_error(needed)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        fall_silent()
        return ExitStatus.INTERRUPTED
    except OSError as error:
        return usage_error(f"the output cannot be written ({error.strerror})")


def run() -> None:
    """The command as a process; one that was interrupted ends as it was told, however often.

    No stream makes it end with the status of a divergence: what cannot be encoded is escaped, and where there is no
    output, nothing is printed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as the process lives
        else:
            stream.reconfigure(errors="backslashreplace")
    status = main()
    if INTERRUPTS:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(int(status))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stepgauge", description="Tell whether an optimizer computes the update rule it is named for."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _chosen(arguments: list[str]) -> argparse.Namespace:
    """What the arguments say; those of `check` may name several targets, each with options of its own."""
    if arguments[:1] != ["check"]:
        return parser().parse_args(arguments)
    read = parser()
    runs = per_target.runs_of(arguments[1:])
    defaults = read.parse_args(["check"])
    return per_target.gathered([read.parse_args(["check", *run]) for run in runs], vars(defaults))


def _version() -> str:
    from stepgauge import __version__

    return f"stepgauge {__version__}"
