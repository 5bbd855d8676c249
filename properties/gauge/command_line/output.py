"""What the commands print, and with which status they end."""

import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120  # where there is no terminal to ask


class ExitStatus(IntEnum):
    """How a command ends; `check` over several targets ends with the first in this order that applies."""

    USAGE = 2
    NOT_LOADED = 3
    DIVERGES = 1
    NOT_ESTABLISHED = 5
    CONFORMS = 0
    INTERRUPTED = 130


def console() -> "Console":
    """Standard output, of a fixed width where it is no terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for `main`: rich itself would exit with the status that says "diverges"

    return Output(width=None if sys.stdout.isatty() else WIDTH)


def usage_error(message: str) -> int:
    """Say what the user did wrong; the exit status."""
    print(f"stepgauge: {message}", file=sys.stderr)
    return ExitStatus.USAGE


def fall_silent() -> None:
    """Where nobody reads any more, what is left to print is not missed, nor complained about at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
