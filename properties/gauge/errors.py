"""What can go wrong: a user's mistake, a target that cannot be built, one that raises; and other errors on one line."""

import re
import textwrap

FOREIGN_ERRORS = (
    Exception,
    SystemExit,
)  # what a stranger's code may raise: a script without a guard exits when imported


# Optional modules, and the extra that brings each.
EXTRAS = {
    **dict.fromkeys(("rich", "hypothesis", "jsonschema", "packaging", "platformdirs"), "check"),
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
    "torch": "torch",
    "pytest": "test",
    "threadpoolctl": "bench",
    "jax": "optax",
    "optax": "optax",
    "keras": "keras",
}


def missing_extra(error: ModuleNotFoundError) -> str:
    """What to install for an optional module that is not there; empty if no extra brings it."""
    missing = (error.name or "").partition(".")[0]
    return f"this needs {missing}: pip install 'stepgauge[{EXTRAS[missing]}]'" if missing in EXTRAS else ""


class UsageError(Exception):
    """The user asked for something that does not exist or does not fit together."""


class TargetError(Exception):
    """The target cannot be loaded or built."""


class StepError(Exception):
    """The target raised in a step."""

    def __init__(self, at: int, cause: BaseException) -> None:
        super().__init__(f"raises {describe(cause)}, in step {at + 1}")
        self.at = at


def describe(error: BaseException) -> str:
    """An exception on one line of bearable length."""
    text = one_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(text: str) -> str:
    """Foreign text on one line of bearable length."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)  # torch colours some of its messages
    return textwrap.shorten(printable(plain), 110, placeholder=" ...")


def printable(text: str) -> str:
    """Foreign text as any terminal can print it on one line."""
    return "".join(c if c.isprintable() else " " for c in text)
