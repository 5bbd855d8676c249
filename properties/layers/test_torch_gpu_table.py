"""Law: the command that measures GPUs runs, in small, where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "test_gpu.py"


@pytest.mark.slow
def test_the_gpu_table_runs_in_small() -> None:
    if not BENCHMARK.exists():
        pytest.skip("not in a checkout: the benchmarks are not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu", str(BENCHMARK)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
