"""What a step costs in units that no other process can change: instructions, dispatched operators, allocated bytes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from contestants import CONTESTS, OWN, Contest, warm
from counted import SMALL

from stepgauge.properties.gauge.bench import costs
from stepgauge.properties.gauge.bench.costs import Step

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
Counts = dict[str, int]


class Unavailable(Exception):
    """What is missing on this machine."""


def instructions(slowed: Collection[str] = ()) -> Counts:
    """Of one step of every kernel of the core, on small models.

    callgrind acts the same processor on every host with AVX2, so that the machine's does not matter.

    Raises:
        Unavailable: there is no valgrind, or no C compiler.
    """
    if absent := [tool for tool in ("valgrind", "cc") if shutil.which(tool) is None]:
        raise Unavailable(f"no {' and no '.join(absent)}: instructions are not counted")
    with tempfile.TemporaryDirectory() as folder:
        library, out = Path(folder, "requests.so"), Path(folder, "out")
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "requests.c"]
        if (built := subprocess.run(command, capture_output=True, text=True)).returncode:
            raise Unavailable(f"callgrind's header does not compile: {built.stderr.splitlines()[0]}")
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        subprocess.run(
            [*callgrind, sys.executable, HERE / "counted.py", library, *slowed],
            env={**os.environ, **ONE_THREAD, "PYTHONHASHSEED": "0"},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return dict(_dumped(Path(folder)))


def _dumped(folder: Path) -> Iterator[tuple[str, int]]:
    """What each dump of callgrind's is called and sums up to."""
    request = "desc: Trigger: Client Request: "
    dumps = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    for dump in dumps:
        lines = dump.read_text().splitlines()
        name = next((line.removeprefix(request) for line in lines if line.startswith(request)), None)
        if name:
            yield name, int(next(line for line in lines if line.startswith("summary: ")).split()[1])


def operators() -> Counts:
    """That a step of the bindings dispatches: on the core, and (in float16) on torch alone."""
    import torch

    found = {}
    for name, contest in CONTESTS.items():
        for where, dtype in (("core", torch.float32), ("torch", torch.float16)):
            step = warm(_bound(contest, dtype), contest)
            found[f"{name}/on {where}"] = costs.operators(step)
    return found


def _bound(contest: Contest, dtype: Any) -> Step:
    import torch

    from stepgauge import torch_bind

    params = [torch.nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in SMALL["many"][:10]]
    for p in params:
        p.grad = torch.full_like(p, 0.5)
    optimizer = torch_bind.RULES[contest.rule](params, **contest.options)
    return optimizer.step  # type: ignore[no-any-return]


def memory() -> Counts:
    """Bytes of Python's and NumPy's that a step holds at most, beyond parameters, gradients and state."""
    found = {}
    for name, contest in CONTESTS.items():
        for layer in ("core", "reference"):
            step = warm(OWN[layer](contest, SMALL["one"]), contest)
            found[f"{name}/{layer}"] = costs.peak(step)
    return found
