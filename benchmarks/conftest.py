"""Options of the benchmarks, the machine's own limit, and the table that they print."""

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg.blas import sgemm
from threadpoolctl import threadpool_limits

from stepgauge.properties.gauge.bench.machine import BUSY, Others, environment

ARRAY = 10_000_000  # elements: 40 MB, beyond most caches
SIDE = 1024  # of the matrices whose product shows what GEMM reaches
OTHERS = pytest.StashKey[Others]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contestants that are on no registry")
    group.addoption("--adai", type=Path, metavar="FOLDER", help="a checkout of zeke-xie/adaptive-inertia-adai")
    group.addoption("--cgoptimizer", type=Path, metavar="FOLDER", help="a checkout of chandar-lab/CGOptimizer")


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Path | None]]:
    """The folder that was given for a contestant, on the path of imports; None if there is none."""
    before = list(sys.path)

    def folder(option: str) -> Path | None:
        path: Path | None = request.config.getoption(option)
        if path is None:
            return None
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
        import torch.optim.optimizer as base

        if not hasattr(base, "required"):  # which the release of Adai imports, and torch dropped
            base.required = object()
        return path

    yield folder
    sys.path[:] = before


@pytest.fixture(scope="session")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], float]:
    """Measures the bytes a second of one thread that reads four arrays and writes three; in CPU time."""
    library = tmp_path_factory.mktemp("bandwidth") / "bandwidth.so"
    source = Path(__file__).with_name("bandwidth.c")
    try:
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, source], check=True)
    except FileNotFoundError:
        pytest.skip("the machine's bandwidth is measured in C, and there is no cc")
    function = ctypes.CDLL(str(library)).four_reads_three_writes
    arrays = [np.zeros(ARRAY, np.float32) for _ in range(4)]

    def measure() -> float:
        start = time.process_time()
        function(*(ctypes.c_void_p(x.ctypes.data) for x in arrays), ctypes.c_long(ARRAY))
        return 28 * ARRAY / (time.process_time() - start)

    measure()
    return measure


@pytest.fixture(scope="session")
def multiplication() -> float:
    """Operations a second of one thread in SciPy's single-precision GEMM; in CPU time."""
    square = np.asfortranarray(np.ones((SIDE, SIDE), np.float32))
    with threadpool_limits(1):
        return 2 * SIDE**3 / min(_cpu_time(lambda: sgemm(1.0, square, square)) for _ in range(5))


def _cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OTHERS] = Others()


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    machine_info["stepgauge"] = environment()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["share_taken_by_others"] = config.stash[OTHERS].share()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    rows = [b.extra_info for b in getattr(session, "benchmarks", []) if "cpu_ms" in b.extra_info]
    if not rows:
        return
    terminalreporter.section("the core beside others: CPU time of the process, medians of interleaved steps")
    share = config.stash[OTHERS].share()
    if share is not None and share > BUSY:
        terminalreporter.write_line(f"the machine is busy: others took {share:.0%} of it; ratios hold, times do not")
    for row in rows:
        core = row["cpu_ms"]["core"]
        peers = ", ".join(f"{n} {ms:.2f} ms (x{ms / core:.1f})" for n, ms in row["cpu_ms"].items() if n != "core")
        terminalreporter.write_line(
            f"{row['rule']:<16}{row['model']:<12}{core:8.2f} ms {row['share']:5.0%} of "
            f"{row['bandwidth_gb_s']:.0f} GB/s   {peers}"
        )
    for missing in sorted({name for row in rows for name in row["missing"]}):
        terminalreporter.write_line(f"skipped: {missing}")
