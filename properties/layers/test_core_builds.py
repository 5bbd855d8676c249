"""Law: the core computes the same bits whatever instructions it is built for."""

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepgauge import core

SOURCE = Path(__file__).parents[2]
ONE = "-DSTEPGAUGE_ONE_INSTRUCTION_SET"
BUILDS = {"baseline": ONE, "AVX2": f"{ONE} -march=x86-64-v3", "AVX-512": f"{ONE} -march=x86-64-v4"}
DIGEST = "from stepgauge.properties.layers.test_core_builds import digest; print(digest())"


def digest() -> str:
    """Of all parameters, after some steps of every rule, in both precisions, projected and not."""
    found = hashlib.sha256()
    for name, optimizer in core.OPTIMIZERS.items():
        for dtype in (np.float32, np.float64):
            for delta in (0.1, 1e3):
                rng = np.random.default_rng(0)
                params = [np.asarray(rng.standard_normal(shape), dtype) for shape in [(3, 517), (4, 1, 9), (1031,), ()]]
                options: dict[str, Any] = {"delta": delta} if "delta" in optimizer.rule.hyperparameter_names() else {}
                ours = optimizer(params, lr=0.1, weight_decay=0.01, **options)
                for _ in range(15):
                    ours.step([np.asarray(rng.standard_normal(p.shape), dtype) for p in params])
                for p in params:
                    found.update(name.encode() + p.tobytes())
    return found.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_a_build_for_other_instructions_computes_the_same_bits(build: str, tmp_path: Path) -> None:
    if not (SOURCE / "meson.build").exists():
        pytest.skip("needs the sources to build, and this is an installed copy")
    if build == "AVX-512" and "avx512vl" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX-512")
    arguments = [
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path),
        f"-Csetup-args=-Dc_args={BUILDS[build]}",
    ]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments, str(SOURCE)], check=True)
    path = f"{tmp_path}:{sysconfig.get_path('purelib')}"
    command = [sys.executable, "-S", "-c", DIGEST]  # without site, which would lead to the editable install
    run = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest()
