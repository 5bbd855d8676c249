"""Foci: families of recipes, each with one regime in front; within it everything else varies.

Random gradients of unit size in float32 miss most real defects: see the kinds in `gradients`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stepgauge.properties.gauge.cache.encoding import storable
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.recipe import LayerRecipe, Shape
from stepgauge.reference import RULES, Convolution
from stepgauge.reference.layers import same_padding

VECTORS: tuple[Shape, ...] = ((5,), (1,), ())
MATRICES: tuple[Shape, ...] = ((4, 3), (2, 7), (6, 2), (3, 16), (5, 1), (1, 6))
LARGE: tuple[Shape, ...] = ((13, 10), (1030,), (40, 3))  # beyond the width and the chunks of vectorised kernels
SMALL: tuple[Shape, ...] = ((3,), (), (2, 3))
DEEPER: tuple[Shape, ...] = ((3, 2, 2), (2, 3, 2, 2), (2, 2, 1, 2, 3))
UNPADDED = ((0, 0), (0, 0))
LAYERS: tuple[LayerRecipe, ...] = (
    LayerRecipe(2, 3, (4, 4), Convolution((2, 2))),
    LayerRecipe(6, 3),
    LayerRecipe(3, 2, (5, 5), Convolution((3, 3), (2, 2), ((1, 1), (1, 1)))),
    LayerRecipe(7, 4, (3,)),
    LayerRecipe(2, 4, (4, 5), Convolution((1, 3), padding=((0, 0), (1, 1))), bias=False),
    LayerRecipe(4, 4, (4, 4), Convolution((2, 2), groups=2)),
    LayerRecipe(2, 3, (5, 4), Convolution((2, 2), dilation=(2, 2), padding=((1, 1), (2, 2)))),
    LayerRecipe(2, 2, (3, 4), Convolution((2, 2), padding=same_padding((2, 2)))),
    LayerRecipe(8, 3, bias=False),
    LayerRecipe(3, 3, (4, 4), Convolution((2, 3), groups=3)),
    LayerRecipe(6, 2, (3, 3), Convolution((1, 1))),
)


@storable
class Focus(NamedTuple):
    """What a family of recipes has in common; an empty choice leaves everything open."""

    gradients: tuple[str, ...] = ()
    magnitudes: tuple[float, ...] = (1.0,)
    absent: str = "never"
    groups: tuple[int, ...] = (1,)
    parameters: tuple[int, int] = (2, 3)
    schedules: tuple[tuple[float, ...], ...] = ((1.0,),)
    shapes: tuple[Shape, ...] = MATRICES + DEEPER
    layers: tuple[int, int] = (0, 0)
    where: Mapping[str, Sequence[Any]] = {}  # hyperparameters that are drawn from other values here


THRESHOLDS = tuple(kind for kind in KINDS if "threshold" in kind)
FOCI: dict[str, Focus] = {
    "random": Focus(("random",)),
    "mixed": Focus(),
    "late": Focus(absent="late"),
    "gaps": Focus(absent="gaps"),
    "groups": Focus(groups=(2,)),
    "groups, late, schedule": Focus(groups=(3,), absent="late", schedules=((1.0, 0.3, 2.0),), parameters=(3, 5)),
    "schedule": Focus(schedules=((1.0, 0.25, 3.0), (1.0, 0.5))),
    "tiny": Focus(magnitudes=(1e-2, 1e-5, 1e-9)),
    "large eps": Focus(("random", "row-orthogonal"), where={"eps": (0.07, 1e-3)}),
    "zero": Focus(("random", "zero", "sparse")),
    "uneven": Focus(("uneven",)),
    "shapes": Focus(groups=(1, 2), shapes=VECTORS + MATRICES + DEEPER, parameters=(2, 5)),
    "scalars": Focus(shapes=((), (1,))),
    "large": Focus(shapes=LARGE),
}
FOCI_OF_PROJECTIONS: dict[str, Focus] = {
    "rows": Focus(("row-orthogonal",)),
    "layer": Focus(("layer-orthogonal",), where={"delta": (0.11, 0.06)}),
    "anti-parallel": Focus(("anti-parallel", "random")),
    "threshold": Focus(THRESHOLDS, where={"delta": (0.11, 0.37, 0.06)}),
    "mixed projections": Focus(
        ("row-orthogonal", "random", "layer-orthogonal", "anti-parallel"), shapes=VECTORS + MATRICES
    ),
}
FOCI_OF_POOLS: dict[str, Focus] = {
    "zero at first": Focus(("zero", "random"), where={"weight_decay": (0.0,)})  # the mean is 0
}
UNEVEN = ("random", "uneven")
SLOW_DECAY = (0.93, 0.7)
FOCI_OF_BUFFERS: dict[str, Focus] = {
    "full buffer": Focus(UNEVEN, where={"topC": (1, 2, 3, 5), "decay": SLOW_DECAY}),
    # A key that is pooled over the group is another one where gradients are missing, if it is ever compared.
    "full buffer, gaps": Focus(
        UNEVEN,
        absent="gaps",
        parameters=(2, 3),
        groups=(1,),
        where={"topC": (1, 2, 3), "decay": SLOW_DECAY, "synced": (True, True, False)},
    ),
}
ON_LAYERS: dict[str, Any] = {"layers": (1, 2), "parameters": (0, 1), "shapes": SMALL}
FOCI_OF_LAYERS: dict[str, Focus] = {
    "random": Focus(("random",), **ON_LAYERS),
    "mixed": Focus(**ON_LAYERS),
    "late": Focus(absent="late", **ON_LAYERS),
    "gaps": Focus(absent="gaps", **ON_LAYERS),
    "groups": Focus(groups=(2,), **ON_LAYERS),
    "schedule": Focus(schedules=((1.0, 0.25, 3.0), (1.0, 0.5)), **ON_LAYERS),
    "tiny": Focus(magnitudes=(1e-2, 1e-4), **ON_LAYERS),  # smaller, and squares of squares underflow in float32
    "zero": Focus(("random", "zero", "sparse"), **ON_LAYERS),
    "uneven": Focus(("uneven", "shifted"), **ON_LAYERS),
    "silent": Focus(("random", "silent rows"), where={"momentum": (0.82, 0.47)}, **ON_LAYERS),
    "no layer": Focus(parameters=(1, 3), shapes=SMALL),
}


def foci_of(rule: str) -> dict[str, Focus]:
    """The foci that can matter to a rule."""
    if RULES[rule].sees_layers:
        return FOCI_OF_LAYERS
    names = RULES[rule].hyperparameter_names()
    projections = FOCI_OF_PROJECTIONS if "delta" in names else {}
    pools = FOCI_OF_POOLS if RULES[rule].pools_over == "all" else {}
    return FOCI | projections | pools | (FOCI_OF_BUFFERS if "topC" in names else {})
