"""The example of AdamP's project page: two weights, and how long momentum makes them (SGDP)."""

from collections.abc import Callable
from functools import partial

import numpy as np

from stepgauge.core import SGD, SGDP, Optimizer
from stepgauge.properties.gauge.demos.demo import Demo, Make, curves, significant, steps
from stepgauge.reference import Array

RULES = ("sgdp",)
LR, ANGLE, STEPS = 0.02, 3.1, 500
NEAR = 0.99
ROUNDED = 1e-12  # below which a distance is rounding
NAMED: dict[str, Callable[..., Optimizer]] = {
    "SGD": SGD,
    "SGDP": SGDP,
    "SGDP as released": partial(SGDP, dialect="released"),
}
MAKES: dict[str, Make] = {
    f"{name}, momentum {b}": partial(rule, lr=LR, momentum=b) for b in (0.9, 0.99) for name, rule in NAMED.items()
} | {"SGD, lr 0.2": partial(SGD, lr=10 * LR)}


def measured() -> dict[str, Array]:
    """The pair of weights after every step, shape (STEPS, 2)."""
    return {name: path(make) for name, make in MAKES.items()}


def path(make: Make) -> Array:
    w = np.array([[np.cos(ANGLE), np.sin(ANGLE)]])
    return np.array([w[0].copy() for _ in steps(make, w, gradient, STEPS)])


def gradient(w: Array) -> Array:
    """Of -cos(w, (1, 0))."""
    length = np.sqrt(np.sum(w * w))
    return (w * w[0, 0] / length**2 - np.array([[1.0, 0.0]])) / length


def demo(rule: str) -> Demo:
    paths = measured()
    lengths = {name: np.hypot(*w.T) for name, w in paths.items()}
    cosines = {name: w[:, 0] / lengths[name] for name, w in paths.items()}
    found = {
        name: np.argmax(cosine > NEAR) + 1 if np.any(cosine > NEAR) else np.inf for name, cosine in cosines.items()
    }
    return Demo(
        "Two weights, as on AdamP's project page",
        f"the loss -cos(w, (1, 0)) from an angle of {ANGLE}, {STEPS} steps at lr {LR} where no other is named; "
        "float64, no noise.",
        ("", "length at the end", "lr / length^2 then", "1 - cosine then", f"steps to cosine {NEAR}"),
        [
            (
                name,
                significant(lengths[name][-1]),
                significant((10 * LR if "0.2" in name else LR) / lengths[name][-1] ** 2),
                significant(off) if (off := 1 - cosines[name][-1]) > ROUNDED else "0",
                significant(float(found[name])),
            )
            for name in paths
        ],
        "momentum makes the weights 2.93 and 27.9 times as long, as the page has it; the published projection keeps "
        "them below 1.15. The released code, which projects the stored momentum too, lets them grow more, and at "
        "momentum 0.99 it has not arrived after all steps.",
        "the page does not give lr, angle and number of steps: those here were sought for its two lengths to come out. "
        "Without momentum, ten times the lr does as well.",
        lambda axes: curves(axes, lengths, "length of the weights"),
    )
