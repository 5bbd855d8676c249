"""A buffer of critical gradients has to forget them, or the rule never arrives (SGD_C, RMSprop_C, Adam_C, AdamW_C)."""

from functools import partial
from typing import Any

import numpy as np

from stepgauge.core import OPTIMIZERS
from stepgauge.properties.gauge.demos.demo import Demo, Make, curves, significant, steps
from stepgauge.reference import Array

RULES = ("sgd_c", "rmsprop_c", "adam_c", "adamw_c")
CURVATURES, STEPS, CAPACITY = np.array([1.0, 0.3]), 2000, 5
DECAYS = (0.7, 0.99, 1)
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.05},
    "rmsprop": {"lr": 0.01},
    "adam": {"lr": 0.01},
    "adamw": {"lr": 0.01, "weight_decay": 0.0},
}


def measured(rule: str) -> dict[str, Array]:
    """The distance from the minimum after every step."""
    base = rule.removesuffix("_c")
    settings = SETTINGS[base]
    critical = partial(OPTIMIZERS[rule], aggr="sum", topC=CAPACITY, **settings)
    makes: dict[str, Make] = {f"{_name(rule)}, decay {d}": partial(critical, decay=d) for d in DECAYS}
    makes[_name(base)] = partial(OPTIMIZERS[base], **settings)
    return {name: distances(make) for name, make in makes.items()}


def distances(make: Make) -> Array:
    x = np.ones(len(CURVATURES))
    return np.array([np.linalg.norm(x) for _ in steps(make, x, lambda x: CURVATURES * x, STEPS)])


def farthest_at_last(distance: Array) -> float:
    """In the second half of the steps."""
    return float(np.max(distance[STEPS // 2 :]))


def _name(rule: str) -> str:
    return OPTIMIZERS[rule].__name__


def demo(rule: str) -> Demo:
    found = measured(rule)
    settings = ", ".join(f"{name} {value}" for name, value in SETTINGS[rule.removesuffix("_c")].items())
    return Demo(
        "Convergence needs a decay below 1",
        f"a quadratic with curvatures 1 and 0.3 from (1, 1), without noise, {STEPS} steps at {settings}; the "
        f"{CAPACITY} gradients of the largest decayed norm are kept, and their mean is added (aggr sum); float64.",
        ("distance from the minimum", "after 100 steps", "after 500", "largest in the second half"),
        [
            (name, significant(d[99]), significant(d[499]), significant(farthest_at_last(d)))
            for name, d in found.items()
        ],
        "with decay 1 the first, longest gradients are never replaced, and keep the rule away for good; with decay "
        "below 1 it comes as near as this lr lets its base come, later the nearer the decay is to 1.",
        "one problem is no proof, and without noise there is nothing that a memory could average out.",
        lambda axes: curves(axes, found, "distance"),
    )
