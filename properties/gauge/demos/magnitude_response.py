"""Momentum is a filter of the gradients, and FSGDM's changes from stage to stage."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stepgauge.core import FSGDM, SGD
from stepgauge.properties.gauge.demos.demo import Demo, Make, averaged, legend, significant, steps
from stepgauge.reference import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = ("fsgdm",)
STAGES, LENGTH = 30, 400  # of FSGDM's defaults, shorter: the gains depend on k / STAGES and c alone
C = 0.033
SHOWN = (1, 3, 10, 30)  # stages
FREQUENCIES = np.linspace(0.0, np.pi, 65)
BASELINES: dict[str, Make] = {
    "SGD, momentum 0.9": partial(SGD, lr=1.0, momentum=0.9),
    "SGD, average 0.9": averaged(0.9, lr=1.0),
    "SGD": partial(SGD, lr=1.0),
}


def measured() -> dict[str, Array]:
    """The gain at each frequency: how long the steps are, at lr 1, along a wave of height 1."""
    fsgdm = gains(
        partial(FSGDM, lr=1.0, weight_decay=0.0, c_scaling=C, n_stages=STAGES, sigma=STAGES * LENGTH),
        [(k + 1) * LENGTH - 1 for k in SHOWN],
    )
    own = {f"FSGDM, stage {k} of {STAGES}": row for k, row in zip(SHOWN, fsgdm, strict=True)}
    return own | {name: gains(make, [LENGTH])[0] for name, make in BASELINES.items()}


def gains(make: Make, times: list[int]) -> Array:
    """In these steps, once the waves have settled: shape (times, frequencies).

    A cosine and a sine go through a linear filter as the two parts of one complex wave.
    """
    p = np.zeros((2, len(FREQUENCIES)))
    clock = iter(range(1, times[-1] + 1))

    def waves(p: Array) -> Array:
        angle = FREQUENCIES * next(clock)
        return np.array([np.cos(angle), np.sin(angle)])

    found = []
    before = p.copy()
    for t in steps(make, p, waves, times[-1]):
        if t in times:
            found.append(np.hypot(*(before - p)))
        before[:] = p
    return np.array(found)


def demo(rule: str) -> Demo:
    found = measured()
    at = {"0": 0, "pi / 8": 8, "pi / 2": 32, "pi": 64}

    def draw(axes: "Axes") -> None:
        for name, gain in found.items():
            axes.plot(FREQUENCIES / np.pi, gain, label=name, ls="-" if name.startswith("FSGDM") else "--")
        axes.set(xlabel="frequency / pi", ylabel="gain", yscale="log")
        legend(axes)

    return Demo(
        "Magnitude responses",
        f"gradients are waves of height 1, and the lengths of steps at lr 1 are measured: {STAGES} stages of {LENGTH} "
        f"steps, c_scaling {C} and v_coefficient 1 as by default, each shown at its end; float64, no noise.",
        ("", *(f"gain at {name}" for name in at)),
        [(name, *(significant(gain[i]) for i in at.values())) for name, gain in found.items()],
        "from stage to stage FSGDM amplifies what is slow more, up to 1 + 1/c = 31.3 times, and damps what is fast "
        "more, to about half; momentum 0.9 does so from the first step on, and an average of the gradients amplifies "
        "nothing.",
        "the gain at frequency 0 multiplies lr: rules compared at one lr take steps of different lengths, and "
        "whether this filter trains better at matched lengths is not asked here.",
        draw,
    )
