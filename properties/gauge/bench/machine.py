"""What a figure depends on beside the code: the processor, the versions, the threads, and who else was computing."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES: tuple[str, ...] = (
    "stepgauge",
    "numpy",
    "scipy",
    "torch",
    "jax",
    "optax",
    "timm",
    "adamp",
    "fsgdm",
    "lion-pytorch",
)
PACKAGES += ("torch-optimizer", "pytorch-optimizer", "Cython", "pytest-benchmark")
FEATURES = {"avx2", "fma", "avx512f", "avx512_bf16", "asimd", "sve"}
BUSY = 0.05  # of all processors, computing for others, from which on times say little


def environment() -> dict[str, Any]:
    """Everything that is recorded beside a figure."""
    return {**identity(), "versions": versions(), "threads": threads(), "load": os.getloadavg()[0]}


def identity() -> dict[str, Any]:
    """What makes this machine another one than the baseline's."""
    told = _cpuinfo()
    features = sorted(FEATURES & set(told.get("flags", told.get("Features", "")).split()))
    return {"processor": told.get("model name", platform.machine()), "processors": os.cpu_count(), "features": features}


def versions() -> dict[str, str]:
    """Of Python, the compiler, and the packages that are installed."""
    found = {"python": platform.python_version(), "cc": _compiler()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def threads() -> dict[str, Any]:
    """How many each library would use, now."""
    from threadpoolctl import threadpool_info

    return {f"{pool['internal_api']} ({pool['prefix']})": pool["num_threads"] for pool in threadpool_info()}


class Others:
    """Measures the share of all processors that others kept busy since it was made.

    Time that a hypervisor took away counts as theirs.
    """

    def __init__(self) -> None:
        self._before = _seconds()

    def share(self) -> float | None:
        """None where the kernel does not tell."""
        now = _seconds()
        if not (now and self._before):
            return None
        elapsed, busy, own = (a - b for a, b in zip(now, self._before, strict=True))
        return max(0.0, busy - own) / elapsed if elapsed else 0.0


def _seconds() -> tuple[float, float, float] | None:
    """Processor time so far: all there was, what was used of it, and what of that by this process and its children."""
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    tick = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return sum(fields) / tick, (sum(fields) - idle) / tick, sum(os.times()[:4])


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _compiler() -> str:
    if not (cc := shutil.which("cc")):
        return "none"
    return subprocess.run([cc, "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[0]
