"""The bindings beside released code and torch's own on a GPU, and beside what the memory's bandwidth allows.

    pytest benchmarks/test_gpu.py -m gpu -s

prints the whole table: of every rule that steps by parameters and gradients alone, on one tensor of 100M elements, on
the shapes of a transformer of 1.3B parameters and on ResNet-50's. A contestant's time is the median of steps between
two events, by which no step waits for the host. The bound is the least traffic of the rule over the bandwidth of a
copy, which is measured in the same run.
"""

import importlib
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

from stepgauge import torch_bind  # noqa: E402  # it needs torch

STEPS, WARM = 20, 12  # the first ones compile, make the state and fill the buffers of critical gradients
COPIED = 100_000_000  # elements

Shape = tuple[int, ...]
Contestant = tuple[str, str, dict[str, Any]]  # a module, a class and its keywords


class Contest(NamedTuple):
    """A rule, and who else computes it."""

    traffic: int  # bytes for each element, in float32, that a step cannot do without
    options: dict[str, Any]
    peers: dict[str, Contestant]


def torch_own(name: str, *ways: str, **options: Any) -> dict[str, Contestant]:
    return {f"torch {way}": ("torch.optim", name, {**options, way: True}) for way in ways}


MOMENTUM = {"lr": 1e-3, "momentum": 0.9}
RATE = {"lr": 1e-3}
TOP = 10  # critical gradients, each of which is read
BUFFER = {**RATE, "topC": TOP}


def critical(name: str, traffic: int) -> Contest:
    """A rule with a buffer: beside its own traffic, its rows are read and one is written."""
    return Contest(traffic + 4 * TOP + 4, BUFFER, {"cgoptimizer": ("optim", name, BUFFER)})


CONTESTS = {
    "SGD": Contest(20, MOMENTUM, torch_own("SGD", "foreach", "fused", **MOMENTUM)),
    "Adam": Contest(28, {}, torch_own("Adam", "foreach", "fused")),
    "AdamW": Contest(28, {}, torch_own("AdamW", "foreach", "fused")),
    "RMSprop": Contest(20, {}, torch_own("RMSprop", "foreach")),
    "FSGDM": Contest(20, {}, {"fsgdm": ("fsgdm", "FSGDM", {})}),
    "Lion": Contest(20, {}, {"lion-pytorch": ("lion_pytorch", "Lion", {})}),
    "AdamP": Contest(40, {}, {"adamp": ("adamp", "AdamP", {})}),  # moments and sums by row, then the parameter
    "SGDP": Contest(28, MOMENTUM, {"adamp": ("adamp", "SGDP", MOMENTUM)}),  # likewise
    "Adai": Contest(44, RATE, {"adai": ("adai_optim", "Adai", RATE)}),  # the mean of v, then the rest
    "AdaiV2": Contest(44, RATE, {"adai": ("adai_optim", "AdaiV2", RATE)}),  # likewise
    "SGD_C": critical("SGD_C", 12),
    "RMSprop_C": critical("RMSprop_C", 20),
    "Adam_C": critical("Adam_C", 28),
    "AdamW_C": critical("AdamW_C", 28),
}


def transformer(width: int = 2048, layers: int = 24, tokens: int = 50257) -> Iterator[Shape]:
    """The shapes of a decoder, of 1.3B parameters as it stands."""
    yield from [(tokens, width), (width, width)]
    for _ in range(layers):
        for rows, cols in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            yield from [(rows, cols), (rows,)]
        yield from [(width,)] * 4
    yield from [(width,)] * 2


def resnet50(width: int = 64) -> Iterator[Shape]:
    """The shapes of its 161 tensors, where the width is 64."""
    yield from [(width, 3, 7, 7), (width,), (width,)]
    inputs = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = width << stage
        for block in range(blocks):
            convolutions = [(inner, inputs, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)]
            if block == 0:
                convolutions.append((4 * inner, inputs, 1, 1))
            for shape in convolutions:
                yield from [shape, shape[:1], shape[:1]]
            inputs = 4 * inner
    yield from [(1000, inputs), (1000,)]


MODELS: dict[str, list[Shape]] = {
    "100M": [(10_000, 10_000)],
    "transformer 1.3B": list(transformer()),
    "ResNet-50": list(resnet50()),
}
SMALL: dict[str, list[Shape]] = {
    "one tensor": [(4, 6)],
    "transformer": list(transformer(4, 1, 8)),
    "convolutions": [(3, 2, 3, 3), (3,)],
}


def milliseconds(step: Callable[[], object], device: str, steps: int, warm: int) -> float:
    for _ in range(warm):
        step()
    times = []
    for _ in range(steps):
        if device == "cpu":
            start = time.thread_time()
            step()
            times.append(1e3 * (time.thread_time() - start))
        else:
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            step()
            after.record()
            after.synchronize()
            times.append(before.elapsed_time(after))
    return median(times)


def bandwidth(device: str, elements: int, steps: int) -> float:
    """Bytes a millisecond of a copy, which reads and writes."""
    source, target = (torch.ones(elements, device=device) for _ in range(2))
    return 8 * elements / max(milliseconds(lambda: target.copy_(source), device, steps, 2), 1e-9)


def contestants(rule: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Who steps a rule: the bindings both ways, and of the others those that are installed."""
    contest = CONTESTS[rule]
    for name, options in (("eager", {}), ("foreach", {"foreach": True})):
        yield name, lambda params, o=options: getattr(torch_bind, rule)(params, **contest.options, **o)
    for name, (module, optimizer, options) in contest.peers.items():
        try:
            made = getattr(importlib.import_module(module), optimizer)
        except (ImportError, AttributeError):
            continue
        yield name, lambda params, m=made, o=options: m(params, **o)


def measured(make: Callable[[Any], Any], shapes: list[Shape], device: str, steps: int, warm: int) -> float | None:
    """A step's milliseconds; None if the model and its states do not fit into the memory."""
    try:
        params = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
        for p in params:
            p.grad = torch.randn_like(p)
        return milliseconds(make(params).step, device, steps, warm)
    except torch.OutOfMemoryError:
        return None
    finally:
        if device != "cpu":
            torch.cuda.empty_cache()


def table(models: dict[str, list[Shape]], device: str, steps: int, warm: int, copied: int) -> Iterator[str]:
    """A line for every rule and model: each contestant's milliseconds, and the bound."""
    speed = bandwidth(device, copied, steps)
    yield f"{speed / 1e6:.0f} GB/s in a copy; milliseconds for a step"
    for model, shapes in models.items():
        elements = sum(torch.Size(shape).numel() for shape in shapes)
        for rule, contest in CONTESTS.items():
            bound = contest.traffic * elements / speed
            times = {name: measured(make, shapes, device, steps, warm) for name, make in contestants(rule)}
            cells = [f"{name} {'does not fit' if t is None else format(t, '.3f')}" for name, t in times.items()]
            yield f"{model:<18}{rule:<12}bound {bound:.3f}   {'   '.join(cells)}"


@pytest.mark.gpu
def test_the_gpu_table() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for line in table(MODELS, "cuda", STEPS, WARM, COPIED):
        print(line, flush=True)


@pytest.mark.filterwarnings("ignore")  # the contestants'
def test_the_table_in_small_on_the_cpu() -> None:
    """All but the compiler, which has nothing to step where the core steps."""
    lines = list(table(SMALL, "cpu", steps=1, warm=1, copied=1000))
    assert len(lines) == 1 + len(SMALL) * len(CONTESTS)
    assert all("eager" in line and "foreach" in line for line in lines[1:])
    assert "torch fused" in lines[1]


def test_the_shapes_are_the_models() -> None:
    def elements(model: str) -> int:
        return sum(torch.Size(shape).numel() for shape in MODELS[model])

    assert elements("100M") == 100_000_000
    assert elements("ResNet-50") == 25_557_032  # torchvision's
    assert round(elements("transformer 1.3B") / 1e9, 1) == 1.3
    assert {rule for rule in vars(torch_bind) if rule in CONTESTS} == set(CONTESTS)
