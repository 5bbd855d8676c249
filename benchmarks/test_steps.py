"""The core beside what a user could pick instead, stepping the same models in one process.

A round steps every contestant once, so that a busy machine slows all of them alike, and measures the machine's
bandwidth. Times are CPU time of one thread. The share is the least traffic of the rule, in bytes, over the core's time,
as a share of that bandwidth.
"""

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest

from stepgauge import core, reference
from stepgauge.reference import Group

torch = pytest.importorskip("torch")

ROUNDS = 9
FILLED = 12  # steps after which every buffer is full
WIDTHS = (64, 128, 256, 512)

Shape = tuple[int, ...]
Step = Callable[[], object]


def resnet18() -> Iterator[Shape]:
    """The shapes of its 62 tensors."""
    yield from [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width in WIDTHS:
        for block in range(2):
            yield from [(width, inputs, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and inputs != width:
                yield from [(width, inputs, 1, 1), (width,), (width,)]
            inputs = width
    yield from [(1000, 512), (1000,)]


MODELS: dict[str, list[Shape]] = {"10M": [(2500, 4000)], "ResNet-18": list(resnet18()), "1000 x 1k": [(25, 40)] * 1000}


class Contest(NamedTuple):
    """A rule, and who else computes it: a module, a class and its keywords, maybe from a checkout."""

    rule: str
    traffic: int  # bytes for each element, in float32, that a step cannot do without
    options: dict[str, Any]
    peers: dict[str, tuple[str, str, dict[str, Any]]]
    checkout: str = ""


PROJECTING = {"delta": 1e3}  # every row counts as scale-invariant
CONTESTS = {
    "SGD": Contest(
        "sgd",
        20,
        {"lr": 1e-3, "momentum": 0.9},
        {"torch fused": ("torch.optim", "SGD", {"fused": True}), "foreach": ("torch.optim", "SGD", {"foreach": True})},
    ),
    "Adam": Contest(
        "adam",
        28,
        {},
        {
            "torch fused": ("torch.optim", "Adam", {"fused": True}),
            "foreach": ("torch.optim", "Adam", {"foreach": True}),
        },
    ),
    "AdamW": Contest("adamw", 28, {}, {"torch fused": ("torch.optim", "AdamW", {"fused": True})}),
    "RMSprop": Contest("rmsprop", 20, {}, {"torch foreach": ("torch.optim", "RMSprop", {"foreach": True})}),
    "FSGDM": Contest("fsgdm", 20, {}, {"fsgdm": ("fsgdm", "FSGDM", {})}),
    "Lion": Contest("lion", 20, {}, {"lion-pytorch": ("lion_pytorch", "Lion", {})}),
    "AdamP": Contest("adamp", 28, {}, {"adamp": ("adamp", "AdamP", {})}),
    "AdamP projected": Contest("adamp", 28, PROJECTING, {"adamp": ("adamp", "AdamP", {})}),
    "SGDP": Contest("sgdp", 20, {"lr": 1e-3, "momentum": 0.9}, {"adamp": ("adamp", "SGDP", {})}),
    "SGDP projected": Contest(
        "sgdp", 20, {"lr": 1e-3, "momentum": 0.9, **PROJECTING}, {"adamp": ("adamp", "SGDP", {})}
    ),
    "Adai": Contest("adai", 44, {"lr": 1e-3}, {"adai": ("adai_optim", "Adai", {})}, "--adai"),
    "AdaiV2": Contest("adaiv2", 44, {"lr": 1e-3}, {"adai": ("adai_optim", "AdaiV2", {})}, "--adai"),
    "SGD_C": Contest(
        "sgd_c",
        32,
        {"topC": 10},
        {"cgoptimizer": ("cgoptimizer.optim", "SGD_C", {}), "_eff": ("cgoptimizer.optim_eff", "SGD_C_eff", {})},
        "--cgoptimizer",
    ),
    "Adam_C": Contest(
        "adam_c",
        48,
        {"topC": 10},
        {"cgoptimizer": ("cgoptimizer.optim", "Adam_C", {}), "_eff": ("cgoptimizer.optim_eff", "Adam_C_eff", {})},
        "--cgoptimizer",
    ),
}


def arrays(shapes: list[Shape], scale: float, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.standard_normal(shape), np.float32) for shape in shapes]


def core_step(contest: Contest, shapes: list[Shape]) -> Step:
    grads = arrays(shapes, 1.0, seed=1)
    optimizer = core.OPTIMIZERS[contest.rule](arrays(shapes, 0.05, seed=0), **contest.options)
    return lambda: optimizer.step(grads)


def reference_step(contest: Contest, shapes: list[Shape]) -> Step:
    params, grads = arrays(shapes, 0.05, seed=0), arrays(shapes, 1.0, seed=1)
    groups = [Group(reference.RULES[contest.rule](**contest.options), range(len(params)))]
    model = {"params": params, "states": reference.init(groups, params)}

    def step() -> None:
        model["params"], model["states"] = reference.step(groups, model["params"], grads, model["states"])

    return step


def torch_step(contest: Contest, shapes: list[Shape], module: str, name: str, keywords: dict[str, Any]) -> Step:
    params = [torch.nn.Parameter(torch.from_numpy(p)) for p in arrays(shapes, 0.05, seed=0)]
    for p, g in zip(params, arrays(shapes, 1.0, seed=1), strict=True):
        p.grad = torch.from_numpy(g)
    optimizer = getattr(importlib.import_module(module), name)(params, **contest.options, **keywords)
    if hasattr(optimizer, "resetOfflineStats"):
        optimizer.resetOfflineStats()  # which the release forgets, and fails without
    return optimizer.step  # type: ignore[no-any-return]  # of a stranger's class


def timed(step: Step) -> float:
    """Milliseconds of CPU time."""
    start = time.thread_time()
    step()
    return 1e3 * (time.thread_time() - start)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", CONTESTS)
def test_step(
    name: str, model: str, benchmark: Any, traffic: Callable[[], float], checkout: Callable[[str], Path]
) -> None:
    contest, shapes = CONTESTS[name], MODELS[model]
    if contest.checkout:
        checkout(contest.checkout)
    torch.set_num_threads(1)
    ours = core_step(contest, shapes)
    contestants = {peer: torch_step(contest, shapes, *spec) for peer, spec in contest.peers.items()}
    bound = core.OPTIMIZERS[contest.rule].__name__
    contestants["torch bindings"] = torch_step(contest, shapes, "stepgauge.torch_bind", bound, {})
    contestants["NumPy reference"] = reference_step(contest, shapes)
    for step in (ours, *contestants.values()):
        for _ in range(FILLED if contest.rule.endswith("_c") else 2):
            step()
    taken: dict[str, list[float]] = {peer: [] for peer in contestants}
    bandwidths: list[float] = []

    def others() -> None:
        for peer, step in contestants.items():
            taken[peer].append(timed(step))
        bandwidths.append(traffic())

    benchmark.pedantic(ours, setup=others, rounds=ROUNDS)
    mine = 1e3 * benchmark.stats.stats.median
    elements = sum(int(np.prod(shape)) for shape in shapes)
    bandwidth = median(bandwidths)
    benchmark.extra_info.update(
        rule=name,
        model=model,
        core_ms=mine,
        contestants={peer: median(ms) for peer, ms in taken.items()},
        bandwidth_gb_s=bandwidth / 1e9,
        share=contest.traffic * elements / (mine / 1e3) / bandwidth,
    )
