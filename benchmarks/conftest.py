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

ARRAY = 10_000_000  # elements: 40 MB, beyond most caches


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contestants that are on no registry")
    group.addoption("--adai", type=Path, metavar="FOLDER", help="a checkout of zeke-xie/adaptive-inertia-adai")
    group.addoption("--cgoptimizer", type=Path, metavar="FOLDER", help="a checkout of chandar-lab/CGOptimizer")


@pytest.fixture(scope="session")
def checkout(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Path]]:
    """The folder that was given for a contestant, on the path of imports; skips the test if there is none."""
    before = list(sys.path)

    def folder(option: str) -> Path:
        path: Path | None = request.config.getoption(option)
        if path is None:
            pytest.skip(f"the contestant is on no registry: give its checkout with {option} FOLDER")
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
        start = time.thread_time()
        function(*(ctypes.c_void_p(x.ctypes.data) for x in arrays), ctypes.c_long(ARRAY))
        return 28 * ARRAY / (time.thread_time() - start)

    measure()
    return measure


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    rows = [b.extra_info for b in getattr(session, "benchmarks", []) if "contestants" in b.extra_info]
    if not rows:
        return
    terminalreporter.section("the core beside others: CPU time of one thread, medians of interleaved steps")
    for row in rows:
        peers = ", ".join(f"{name} {ms:.2f} ms (x{ms / row['core_ms']:.1f})" for name, ms in row["contestants"].items())
        terminalreporter.write_line(
            f"{row['rule']:<16}{row['model']:<12}{row['core_ms']:8.2f} ms {row['share']:5.0%} of "
            f"{row['bandwidth_gb_s']:.0f} GB/s   {peers}"
        )
