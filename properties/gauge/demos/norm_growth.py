"""Momentum inflates weights whose length does not matter, and so shortens their steps (AdamP, SGDP)."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from stepgauge.core import SGD, SGDP, Adam, AdamP, AdamW
from stepgauge.properties.gauge.demos.demo import Demo, Make, curves, significant, steps
from stepgauge.reference import Array

RULES = ("adamp", "sgdp")
ROWS, COLS, STEPS, SEED = 16, 64, 2000, 0
HALF = STEPS // 2  # after which the target is another
NEAR = 0.95  # the cosine with the target at which a row has found it
CONTESTS: dict[str, dict[str, Make]] = {
    "adamp": {
        "AdamP, lr 0.01": partial(AdamP, lr=0.01),
        "Adam, lr 0.01": partial(Adam, lr=0.01),
        "Adam, lr 0.02": partial(Adam, lr=0.02),
        "AdamW, lr 0.01, decay 0.1": partial(AdamW, lr=0.01, weight_decay=0.1),
    },
    "sgdp": {
        "SGDP, lr 0.05, momentum 0.9": partial(SGDP, lr=0.05, momentum=0.9),
        "SGD, lr 0.05, momentum 0.9": partial(SGD, lr=0.05, momentum=0.9),
        "SGD, lr 0.5": partial(SGD, lr=0.5),
    },
}


@dataclass(frozen=True)
class Run:
    """Means over the rows, by step: length, angle turned in the step, cosine with the target."""

    length: Array
    turned: Array
    cosine: Array

    @property
    def found(self) -> int:
        """Steps to the first target."""
        return int(np.argmax(self.cosine[:HALF] > NEAR)) + 1

    @property
    def found_again(self) -> int:
        """Steps to the second, once it is the target."""
        return int(np.argmax(self.cosine[HALF:] > NEAR)) + 1


def measured(rule: str) -> dict[str, Run]:
    return {name: run(make) for name, make in CONTESTS[rule].items()}


def run(make: Make) -> Run:
    rng = np.random.default_rng(SEED)
    w, first, second = (_unit(rng.standard_normal((ROWS, COLS))) for _ in range(3))
    target, before = first, w.copy()
    rows = []

    def gradient(w: Array) -> Array:
        seen = target + rng.standard_normal(w.shape) / COLS**0.5
        along = np.sum(_unit(w) * seen, axis=1, keepdims=True)
        return (_unit(w) * along - seen) / _length(w)

    for t in steps(make, w, gradient, STEPS):
        turned = np.arccos(np.minimum(1, np.sum(_unit(w) * before, axis=1)))
        rows.append((_length(w).mean(), turned.mean(), np.sum(_unit(w) * target, axis=1).mean()))
        before = _unit(w)
        target = first if t < HALF else second
    return Run(*np.array(rows).T)


def _length(w: Array) -> Array:
    return np.sqrt(np.sum(w * w, axis=1, keepdims=True))


def _unit(w: Array) -> Array:
    return w / _length(w)


def demo(rule: str) -> Demo:
    runs = measured(rule)
    return Demo(
        "Momentum inflates scale-invariant weights",
        f"{ROWS} rows of {COLS} weights, of length 1 at first, with the loss -cos(w, target + noise) for each, the "
        f"noise as long as the target; after {HALF} of {STEPS} steps all targets are drawn anew; float64, seed "
        f"{SEED}.",
        ("", "length at the end", "angle of a step", f"steps to cosine {NEAR}", "again, at the change"),
        [
            (name, significant(r.length[-1]), significant(r.turned[-1]), str(r.found), str(r.found_again))
            for name, r in runs.items()
        ],
        "without their radial part the steps hardly lengthen the weights, so they still turn them when the target "
        "changes, where those of the unprojected rule have become short; a larger lr only makes the weights longer.",
        "long weights act like a decayed lr: as long as the target stays, the unprojected rule ends nearer to it; "
        "and weight decay does a part of what the projection does.",
        lambda axes: curves(axes, {name: r.length for name, r in runs.items()}, "mean length of a row", log=False),
    )
