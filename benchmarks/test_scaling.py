"""How the cost of a step grows: with the size of a tensor, with their number, and with the gradients in a buffer.

The slope is of a line through the logarithms: 1 where cost is in proportion, 0 where it is a constant. It is stated for
the whole range, and for its larger half, where the constant no longer counts.
"""

import time
from collections.abc import Iterable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pytest
from contestants import CONTESTS, Contest, core_step, torch_bind_step, warm

from stepgauge.properties.gauge.bench.costs import Step, interleaved
from stepgauge.properties.gauge.bench.models import Shape

torch = pytest.importorskip("torch")

ROUNDS = 15
LEAST = 2e-3  # seconds of a turn: shorter ones are repeated, for the clock's own time
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
NUMBERS = (1, 10, 100, 1_000, 10_000, 100_000)
CAPACITIES = (1, 2, 5, 10, 20, 50, 100)
LAYERS = {"core": core_step, "torch_bind": torch_bind_step}
KERNELS = ("SGD", "Adam", "AdamP", "Adai", "FSGDM", "Lion")


@pytest.fixture
def stated(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Takes turns with steps, and states their milliseconds and slopes over what was varied."""

    def state(varied: str, subject: str, steps: dict[int, Step]) -> dict[int, float]:
        torch.set_num_threads(1)
        own = {name: _repeated(step) for name, step in steps.items()}
        taken: dict[str, list[float]] = {}

        def turns() -> None:
            taken.update(interleaved({str(n): repeated for n, (repeated, _) in own.items()}, ROUNDS))

        benchmark.pedantic(turns, rounds=1)
        ms = {n: median(taken[str(n)]) / times for n, (_, times) in own.items()}
        half = dict(list(ms.items())[len(ms) // 2 :])
        benchmark.extra_info.update(varied=varied, subject=subject, scaling=ms)
        benchmark.extra_info.update(slope=slope(ms), slope_of_larger_half=slope(half))
        _print(request, ms, slope(ms), slope(half))
        return ms

    return state


def _repeated(step: Step) -> tuple[Step, int]:
    """The step as often as makes a turn, and how often that is."""
    start = time.process_time()
    step()
    times = max(1, round(LEAST / max(time.process_time() - start, 1e-6)))
    return lambda: [step() for _ in range(times)], times


def slope(ms: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(ms)), np.log(list(ms.values())), 1)[0])


def _print(request: pytest.FixtureRequest, ms: dict[int, float], whole: float, half: float) -> None:
    values = "  ".join(f"{n}: {value:.3g}" for n, value in ms.items())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{request.node.name}: ms {values}  slope {whole:.2f}, of the larger half {half:.2f}")


def _stepped(layer: str, contest: Contest, models: Iterable[tuple[int, list[Shape]]]) -> dict[int, Step]:
    return {n: warm(LAYERS[layer](contest, shapes), contest) for n, shapes in models}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", KERNELS)
def test_cost_against_size(name: str, stated: Any) -> None:
    """In proportion once the call itself no longer counts; an exponent above says that something is quadratic."""
    ms = stated("elements of one tensor", name, _stepped("core", CONTESTS[name], ((n, [(n // 10, 10)]) for n in SIZES)))
    assert slope({n: ms[n] for n in SIZES[-3:]}) < 1.5


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("layer", LAYERS)
def test_cost_against_number(layer: str, stated: Any) -> None:
    """Of tensors of 16 elements, likewise."""
    ms = stated(
        "number of tensors", f"Adam, {layer}", _stepped(layer, CONTESTS["Adam"], ((n, [(4, 4)] * n) for n in NUMBERS))
    )
    assert slope({n: ms[n] for n in NUMBERS[3:]}) < 1.5


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", ["SGD_C", "Adam_C"])
def test_cost_against_capacity(name: str, stated: Any) -> None:
    """A step reads the running sum, not the buffer: what grows is the way to the gradient that it replaces."""
    steps = {}
    for capacity in CAPACITIES:
        contest = CONTESTS[name]._replace(options={**CONTESTS[name].options, "topC": capacity})
        step = core_step(contest, [(256, 256)])
        for _ in range(capacity + 2):
            step()
        steps[capacity] = partial(step)
    ms = stated("gradients in the buffer", name, steps)
    assert ms[100] < 10 * ms[1]
