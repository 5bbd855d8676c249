"""All that decides what is computed, beside the arguments: texts, versions, the kernels that NumPy chose."""

import platform
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np

TEXTS = ("stepgauge.reference", *(f"stepgauge.properties.gauge.{name}" for name in ("cache", "problems", "tolerance")))


@cache  # none of it changes while a process lives
def fingerprint() -> bytes:
    """A checksum of all that."""
    whole = blake2b(digest_size=20)
    for package in TEXTS:
        for text in sorted(files(package).iterdir(), key=lambda text: text.name):
            if text.name.endswith(".py"):
                whole.update(_named(text))
    whole.update(repr([platform.python_version(), np.__version__, _hypothesis(), _kernels()]).encode())
    return whole.digest()


def _named(text: Traversable) -> bytes:
    return repr((text.name, text.read_bytes())).encode()


def _hypothesis() -> str:
    try:
        return version("hypothesis")
    except PackageNotFoundError:  # what is drawn by a run that has it cannot be computed here, but may be read
        return ""


def _kernels() -> list[object]:
    """What NumPy computes with: another machine may round otherwise. (Before NumPy 2.1, it does not tell.)"""
    introspect = getattr(np.lib, "introspect", None)
    return [platform.machine(), introspect and introspect.opt_func_info(signature="float64")]
