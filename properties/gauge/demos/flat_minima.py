"""How much longer noise takes to leave a flat minimum than a sharp one (Adai, AdaiV2)."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stepgauge.core import SGD, Adai, AdaiV2, Adam
from stepgauge.properties.gauge.demos.demo import Demo, Make, averaged, legend, significant, steps
from stepgauge.reference import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = ("adai", "adaiv2")
LR, STEPS, COPIES, SEED = 0.02, 6000, 200, 0
STEEPNESS = np.array([1.0, 1.5, 2.0])  # k of (k^2 x^2 - 1)^2
CURVATURES = 8 * STEEPNESS**2  # at the minima
NOISE = 1.5  # of the curvature's root
MAKES: dict[str, Make] = {
    "SGD": partial(SGD, lr=LR),
    "SGD, average 0.9": averaged(0.9, lr=LR),
    "Adai": partial(Adai, lr=LR),
    "AdaiV2, dampening 0.5": partial(AdaiV2, lr=LR, dampening=0.5),
    "Adam, lr 0.1": partial(Adam, lr=0.1),
    "Adam, lr 0.2": partial(Adam, lr=0.2),
}


def measured() -> dict[str, Array]:
    """Mean number of steps in a minimum, by curvature."""
    return {name: stay(make) for name, make in MAKES.items()}


def stay(make: Make) -> Array:
    """All steps that were spent in the minima over the number of first escapes; what does not escape counts as well."""
    rng = np.random.default_rng(SEED)
    k = np.repeat(STEEPNESS, COPIES)
    x = 1 / k
    left = np.full(k.size, np.inf)

    def gradient(x: Array) -> Array:
        return 4 * k**2 * x * (k**2 * x**2 - 1) + NOISE * np.sqrt(8) * k * rng.standard_normal(k.size)

    for t in steps(make, x, gradient, STEPS):
        crossed = x < 0
        left[crossed & (left == np.inf)] = t
        x[crossed] = 1 / k[crossed]  # it begins anew, so that all minima are occupied all along
    by_curvature = left.reshape(len(STEEPNESS), COPIES)
    return np.sum(np.minimum(by_curvature, STEPS), axis=1) / np.sum(by_curvature < np.inf, axis=1)


def demo(rule: str) -> Demo:
    found = measured()

    def draw(axes: "Axes") -> None:
        for name, times in found.items():
            axes.plot(CURVATURES, times, marker=".", label=name)
        axes.set(xlabel="curvature of the minimum", ylabel="steps to leave it", yscale="log")
        axes.set_xticks(CURVATURES)
        legend(axes)

    return Demo(
        "Leaving flat and sharp minima",
        f"one model of {3 * COPIES} coordinates x in double wells (k^2 x^2 - 1)^2, whose barriers are 1 high, "
        f"{COPIES} for each k of 1, 1.5 and 2; noise {NOISE} times the root of the curvature; {STEPS} steps at lr "
        f"{LR} where no other is named; float64, seed {SEED}.",
        ("", *(f"steps at curvature {h:g}" for h in CURVATURES), "flattest / sharpest"),
        [(name, *(significant(t) for t in times), significant(times[0] / times[-1])) for name, times in found.items()],
        "Adai tells flat minima from sharp ones as SGD does, by a factor of hundreds; Adam, at the lr 0.1 at which "
        "it leaves the flat ones as seldom as SGD, by a factor of about ten.",
        "Adai is no better at it than SGD; the noise is made to follow the curvature, which is assumed of gradients in "
        "training, and whether flat minima generalise better is not asked. With dampening 0.5 AdaiV2 lies in between.",
        draw,
    )
