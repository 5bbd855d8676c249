"""Run by `counts.py` under callgrind: each kernel steps each small model once, counted apart.

    counted.py REQUESTS.so [SLOWED...]

What is named behind the library does a fifth more than it should: `SGD` steps a fifth of its model twice.
"""

import ctypes
import sys
from collections.abc import Iterator

import numpy as np
from contestants import CONTESTS, Contest, core_step, warm

from stepgauge.core._fisher import natural_direction
from stepgauge.properties.gauge.bench.costs import Step
from stepgauge.properties.gauge.bench.models import Shape

SMALL: dict[str, list[Shape]] = {"one": [(64, 256)], "many": [(25, 40)] * 100}
SOLVED = {"Frog sample form": (32, 256, 128), "Frog weight form": (256, 96, 64)}  # samples, columns, rows


def fifth(shapes: list[Shape]) -> list[Shape]:
    """A fifth of a model: of its tensors, or of the rows of its only one."""
    if len(shapes) > 1:
        return shapes[: len(shapes) // 5]
    ((rows, *rest),) = shapes
    return [(rows // 5, *rest)]


def step_of(contest: Contest, shapes: list[Shape], *, slowed: bool) -> Step:
    """A step of the core; a fifth of it is done twice if it is slowed."""
    whole = warm(core_step(contest, shapes), contest)
    if not slowed:
        return whole
    part = warm(core_step(contest, fifth(shapes)), contest)
    return lambda: (whole(), part())


def solve(samples: int, cols: int, rows: int) -> Step:
    rng = np.random.default_rng(0)
    e, X, Y = (rng.standard_normal(s).astype(np.float32) for s in ((rows, cols), (samples, cols), (samples, rows)))
    return lambda: natural_direction(e, X, Y, 1.0, 1e-2, 4)


def solver(name: str, *, slowed: bool) -> Step:
    samples, cols, rows = SOLVED[name]
    whole = solve(samples, cols, rows)
    part = solve(samples, cols, rows // 5)
    return (lambda: (whole(), part())) if slowed else whole


def steps(slowed: set[str]) -> Iterator[tuple[str, Step]]:
    for name, contest in CONTESTS.items():
        for model, shapes in SMALL.items():
            yield f"{name}/{model}", step_of(contest, shapes, slowed=name in slowed)
    for name in SOLVED:
        yield f"{name}/solve", solver(name, slowed=name in slowed)


def main() -> None:
    library, *slowed = sys.argv[1:]
    requests = ctypes.CDLL(library)
    ready = list(steps(set(slowed)))
    requests.start_counting()
    for name, step in ready:
        step()  # callgrind translates what it has not met before
        requests.begin()
        step()
        requests.end(name.encode())


if __name__ == "__main__":
    main()
