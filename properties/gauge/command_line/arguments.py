"""Arguments that several commands take, and what makes them usable."""

import argparse
import ast
import os
import tempfile
from pathlib import Path
from typing import Any

from stepgauge.properties.gauge.errors import UsageError


def add_rename(parser: Any) -> None:
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        type=renaming,
        metavar="OURS=THEIRS",
        help="the target's name for a hyperparameter; betas.0=b1 for an item of a tuple",
    )


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 0")
    return int(text)


def assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key, ast.literal_eval(value if equals else "")
    except (SyntaxError, ValueError):
        message = f"{text!r} must be KEY=VALUE with a number, True, False or a tuple of numbers"
        raise argparse.ArgumentTypeError(message) from None


def renaming(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs.isidentifier()):
        raise argparse.ArgumentTypeError(f"{text!r} must be OURS=THEIRS, such as betas.0=b1")
    return ours, theirs


def require_device(device: str) -> None:
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")


def require_new(what: str, file: Path) -> None:
    """Refuse to overwrite a file, and find out before the work whether it can be written."""
    if os.path.lexists(file):
        raise UsageError(f"{what} {file}: is there already, and is not overwritten; choose another name")
    require_writable(what, file)


def require_writable(what: str, file: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{what} {file}: there is no folder {file.parent}")
    there = os.path.lexists(file)
    try:
        with file.open("a"):
            pass
        if not there:
            file.unlink()
    except OSError as error:
        raise UsageError(f"{what} {file}: cannot be written ({error.strerror})") from error


def require_folder(what: str, folder: Path | None) -> None:
    """Make the folder if it is not there, and find out before the work whether files can be written in it."""
    if folder is None:
        return
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{what} {folder}: is no folder that can be written ({error.strerror})") from error
