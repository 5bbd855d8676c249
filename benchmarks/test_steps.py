"""Every rule in every layer beside what a user could pick instead, stepping the same models in one process.

A round steps every contestant once, so that a busy machine slows all of them alike, and measures the machine's
bandwidth. Times are CPU time of the process; wall time stands beside it. The share is the least traffic of the rule, in
bytes, over the core's time, as a share of that bandwidth.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from contestants import CONTESTS, OWN, Contest, peer_step, warm

from stepgauge.properties.gauge.bench.costs import Step, timed
from stepgauge.properties.gauge.bench.models import MODELS, Shape

torch = pytest.importorskip("torch")

ROUNDS = 9


def entrants(
    contest: Contest, shapes: list[Shape], checkout: Callable[[str], Path | None]
) -> tuple[dict[str, Step], list[str]]:
    """Who steps the model, the core first, and who is missing, with the reason."""
    builders = {layer: partial(own, contest, shapes) for layer, own in OWN.items()}
    missing = []
    for name, peer in contest.peers.items():
        if peer.checkout and checkout(peer.checkout) is None:
            missing.append(f"{name} (on no registry: give its checkout with {peer.checkout} FOLDER)")
        elif reason := peer.missing():
            missing.append(f"{name} ({reason})")
        else:
            builders[name] = partial(peer_step, contest, shapes, peer)
    return {name: warm(build(), contest) for name, build in builders.items()}, missing


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", CONTESTS)
def test_step(
    name: str,
    model: str,
    benchmark: Any,
    traffic: Callable[[], float],
    multiplication: float,
    checkout: Callable[[str], Path | None],
) -> None:
    torch.set_num_threads(1)
    contest, shapes = CONTESTS[name], MODELS[model]
    contestants, missing = entrants(contest, shapes, checkout)
    ours = contestants.pop("core")
    taken: dict[str, list[tuple[float, float]]] = {peer: [] for peer in ("core", *contestants)}
    bandwidths: list[float] = []

    def others() -> None:
        for peer, step in contestants.items():
            taken[peer].append(timed(step))
        bandwidths.append(traffic())

    benchmark.pedantic(lambda: taken["core"].append(timed(ours)), setup=others, rounds=ROUNDS)
    cpu, wall = ({peer: median(t[i] for t in turns) for peer, turns in taken.items()} for i in (0, 1))
    elements = sum(int(np.prod(shape)) for shape in shapes)
    bandwidth = median(bandwidths)
    benchmark.extra_info.update(
        rule=name,
        model=model,
        cpu_ms=cpu,
        wall_ms=wall,
        missing=missing,
        bandwidth_gb_s=bandwidth / 1e9,
        gemm_gflop_s=multiplication / 1e9,
        share=contest.traffic * elements / (cpu["core"] / 1e3) / bandwidth,
    )
