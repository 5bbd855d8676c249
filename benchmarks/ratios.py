"""How long the kernels take beside each other in one process: ratios of CPU time.

    ratios.py [SLOWED...]

prints them as JSON. Each kernel takes turns with Adam of the same layer on the same model, and Adam with SGD: what is
alike in kind is also slowed alike by whatever else the processor does. Which pages the arrays get is chance, and lasts
as long as the process: the gate asks several processes.
"""

import json
import sys
import time
from collections.abc import Collection

from contestants import CONTESTS, OWN, Contest, warm
from counted import SMALL, fifth

from stepgauge.properties.gauge.bench.costs import Step
from stepgauge.properties.gauge.bench.models import Shape

LAYERS = ("core", "torch_bind")
ROUNDS = 50
TURN = 2e-4  # seconds, at least: the clock's own time does not count


def ratios(slowed: Collection[str] = (), names: Collection[str] = tuple(CONTESTS)) -> dict[str, float]:
    """Of every kernel, on small models that stay in the cache; those of `slowed` do a fifth of their work twice."""
    import torch

    torch.set_num_threads(1)
    found = {}
    for model, shapes in SMALL.items():
        for layer in LAYERS:
            beside = {name: step_of(CONTESTS[name], shapes, layer, slowed=name in slowed) for name in ("Adam", "SGD")}
            for name in names:
                step = step_of(CONTESTS[name], shapes, layer, slowed=name in slowed)
                found[f"{name}/{layer}/{model}"] = ratio(step, beside["SGD" if name == "Adam" else "Adam"])
    return found


def step_of(contest: Contest, shapes: list[Shape], layer: str, *, slowed: bool) -> Step:
    whole = warm(OWN[layer](contest, shapes), contest)
    if not slowed:
        return whole
    part = warm(OWN[layer](contest, fifth(shapes)), contest)
    return lambda: (whole(), part())


def ratio(step: Step, yardstick: Step) -> float:
    """Of a step's time to the yardstick's, each the least of its turns: what disturbs a turn only lengthens it."""
    often, beside = repeats(step), repeats(yardstick)
    turns = [(timed(step, often), timed(yardstick, beside)) for _ in range(ROUNDS)]
    own, others = zip(*turns, strict=True)
    return min(own) / min(others)


def repeats(step: Step) -> int:
    """How many steps make a turn."""
    return max(1, round(TURN / min(timed(step, 1) for _ in range(5))))


def timed(step: Step, times: int) -> float:
    """Seconds of CPU time for each step."""
    start = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - start) / times


if __name__ == "__main__":
    json.dump(ratios(sys.argv[1:]), sys.stdout)
