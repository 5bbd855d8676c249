"""What a verdict costs, with an empty cache and with what the run before left in it; and what an import costs.

Each is a process of its own, of which the CPU time is told; the figures are stated, and nothing is asked of them.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

TARGETS = ("torch.optim:Adam(foreach=False)", "stepgauge.torch_bind:AdamP")
IMPORTS = (
    "numpy",
    "torch",
    "stepgauge",
    "stepgauge.reference",
    "stepgauge.core",
    "stepgauge.torch_bind",
    "stepgauge.properties.gauge.api",
)
ROUNDS = 5
CHECK = """
import sys
from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.cache.run import run_cache
with run_cache():
    print(check_optimizer(sys.argv[1], level=sys.argv[2]).verdict)
"""


def child_seconds(*arguments: str, **environment: str) -> float:
    """CPU time of Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    subprocess.run([sys.executable, *arguments], env=variables, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _print(request: pytest.FixtureRequest, text: str) -> None:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}")


@pytest.mark.parametrize("level", ["quick", "standard", pytest.param("deep", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", TARGETS)
def test_verdict(optimizer: str, level: str, benchmark: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seconds = []

    def check() -> None:
        seconds.append(child_seconds("-c", CHECK, optimizer, level, STEPGAUGE_CACHE=str(tmp_path)))

    benchmark.pedantic(check, rounds=2)
    cold, warm = seconds
    benchmark.extra_info.update(target=optimizer, level=level, cold_s=cold, warm_s=warm)
    _print(request, f"{optimizer} {level}: {cold:.1f} s of CPU time cold, {warm:.1f} s warm")


@pytest.mark.parametrize("module", IMPORTS)
def test_import(module: str, benchmark: Any, request: pytest.FixtureRequest) -> None:
    """Beyond Python's own start, which is measured in the same rounds."""
    seconds: list[float] = []

    def start() -> None:
        seconds.append(child_seconds("-c", f"import {module}") - child_seconds("-c", "pass"))

    benchmark.pedantic(start, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info.update(module=module, cpu_s=median(seconds))
    _print(request, f"import {module}: {median(seconds):.2f} s of CPU time")
