"""Passing a point where the gradient vanishes takes inertia (Adai, AdaiV2)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stepgauge.core import SGD, Adai, AdaiV2, Adam, Optimizer
from stepgauge.properties.gauge.demos.demo import Demo, Make, averaged, legend, significant, steps
from stepgauge.reference import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = ("adai", "adaiv2")
COPIES, NOISY, LR, SEED = 50, 9, 0.05, 0
PATIENCE = 8000
PASSED = 0.5
NOISE = 0.02  # of the slope's root, in x
AT_SADDLE = {"lr": 0.1, "curvature": -0.01, "patience": 20_000, "left": 10.0}


class Contestant(NamedTuple):
    rule: Callable[..., Optimizer]  # lr is left to be given
    share: float = 1.0  # of the others' lr


CONTESTANTS = {
    "SGD": Contestant(SGD),
    "SGD, average 0.9": Contestant(averaged(0.9)),
    "SGD, average 0.99": Contestant(averaged(0.99)),
    "Adai": Contestant(Adai),
    "AdaiV2, dampening 0.5": Contestant(partial(AdaiV2, dampening=0.5)),
    "Adam": Contestant(Adam),
    "Adam, a tenth of lr": Contestant(Adam, 0.1),
}


def measured() -> dict[str, tuple[Array, Array]]:
    """For each copy the step in which it passes the inflection, and the one in which it leaves the saddle."""
    return {
        name: (passed(partial(c.rule, lr=LR * c.share)), left(partial(c.rule, lr=AT_SADDLE["lr"] * c.share)))
        for name, c in CONTESTANTS.items()
    }


def passed(make: Make) -> Array:
    """When x, from -1, is beyond the inflection of -x^3 / 3; infinite if it never is."""
    rng = np.random.default_rng(SEED)
    p = np.zeros((COPIES, 1 + NOISY))
    p[:, 0] = -1
    when = np.full(COPIES, np.inf)

    def gradient(p: Array) -> Array:
        noise = rng.standard_normal(p.shape)
        x = p[:, 0]
        g = p + noise
        g[:, 0] = np.where(when < np.inf, 0.0, -(x**2) + NOISE * np.sqrt(2 * np.abs(x)) * noise[:, 0])
        return g

    for t in steps(make, p, gradient, PATIENCE):
        when[(p[:, 0] > PASSED) & (when == np.inf)] = t
        if np.all(when < np.inf):
            break
    return when


def left(make: Make) -> Array:
    """When x is far from a saddle on which it starts, with noise as strong as the curvature."""
    rng = np.random.default_rng(SEED)
    curvatures = np.array([AT_SADDLE["curvature"], *[1.0] * NOISY])
    p = np.zeros((COPIES, 1 + NOISY))
    when = np.full(COPIES, np.inf)

    def gradient(p: Array) -> Array:
        return curvatures * p + np.sqrt(np.abs(curvatures)) * rng.standard_normal(p.shape)

    for t in steps(make, p, gradient, int(AT_SADDLE["patience"])):
        when[(np.abs(p[:, 0]) > AT_SADDLE["left"]) & (when == np.inf)] = t
        if np.all(when < np.inf):
            break
    return when


def demo(rule: str) -> Demo:
    found = measured()

    def draw(axes: "Axes") -> None:
        for name, (when, _) in found.items():
            axes.step([1, *np.sort(when[when < np.inf]), PATIENCE], [0, *_counted(when)], where="post", label=name)
        axes.set(xlabel="step", ylabel=f"passed, of {COPIES}", xscale="log")
        legend(axes)

    return Demo(
        "Passing an inflection saddle",
        f"one model of {COPIES} coordinates x on -x^3 / 3, from -1, each beside {NOISY} on y^2 / 2 with noise 1; the "
        f"noise in x is {NOISE} (2 |x|)^(1/2); passed is x > {PASSED} within {PATIENCE} steps at lr {LR}. The saddle: "
        "x on -0.005 x^2, from 0, noise as strong as the root of the curvature, lr 0.1, left at |x| > 10. float64, "
        f"seed {SEED}.",
        ("", f"pass the inflection, of {COPIES}", "median step", "leave the saddle, median step"),
        [
            (
                name,
                str(np.sum(when < np.inf)),
                significant(float(np.median(when))),
                significant(float(np.median(other))),
            )
            for name, (when, other) in found.items()
        ],
        "SGD and its average of 0.9, Adai's own inertia where gradients are alike, never pass at this lr; Adai does, "
        "for the coordinate whose gradients die away gets an inertia near 1.",
        "a heavier average passes as well, for all coordinates alike, and so does Adam at the same lr; from a saddle "
        "that has curvature Adai escapes no faster than SGD, though AdaiV2 with dampening 0.5 does.",
        draw,
    )


def _counted(when: Array) -> list[int]:
    """How many have passed with each that does, and at the end."""
    count = int(np.sum(when < np.inf))
    return [*range(1, count + 1), count]
