"""What the figures of a report depend on."""

import platform
import sys
from importlib import metadata
from typing import Any


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for name in ("stepgauge", "numpy", "torch", "hypothesis", "adamp", "fsgdm"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "byteorder": sys.byteorder,
        "versions": versions,
    }
