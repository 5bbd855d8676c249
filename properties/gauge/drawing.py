"""Recipes drawn by Hypothesis.

Each focus puts one regime in front; within it everything else varies. Random gradients of unit size in float32 miss
most real defects: see the kinds in `gradients`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import hypothesis
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.strategies import SearchStrategy

from stepgauge.properties.gauge.activity import ACTIVITIES, LayerRecipe, Shape
from stepgauge.properties.gauge.gradients import KINDS
from stepgauge.properties.gauge.problem import Hyperparameters, Settings
from stepgauge.properties.gauge.recipe import Recipe
from stepgauge.properties.gauge.target import UsageError
from stepgauge.reference import RULES, Convolution
from stepgauge.reference.layers import same_padding

# Values that a port could confuse are apart: no 1 - beta equals a delta, a wd_ratio or a dampening (at the defaults of
# AdamP all of them are 0.1), and a momentum is neither a beta nor its complement.
DOMAINS: dict[str, SearchStrategy[Any]] = {
    "lr": st.sampled_from([0.05, 0.3, 0.008, 0.001, 2.5]),
    "weight_decay": st.sampled_from([0.0, 0.02, 0.35, 0.0, 0.8]),
    "eps": st.sampled_from([1e-8, 1e-3, 1e-14, 0.07, 1.5]),
    "betas": st.tuples(st.sampled_from([0.87, 0.6, 0.95, 0.0, 0.985]), st.sampled_from([0.992, 0.71, 0.999, 0.99995])),
    "alpha": st.sampled_from([0.97, 0.66, 0.99, 0.9985]),
    "momentum": st.sampled_from([0.82, 0.0, 0.47, 0.91, 0.993]),
    "dampening": st.sampled_from([0.0, 0.28, 0.61]),
    "nesterov": st.booleans(),
    "amsgrad": st.booleans(),
    "centered": st.booleans(),
    "delta": st.sampled_from([0.11, 0.37, 0.06, 2.3, 40.0]),
    "wd_ratio": st.sampled_from([0.22, 0.55, 0.04]),
    "c_scaling": st.sampled_from([0.15, 0.033, 0.8]),
    "v_coefficient": st.sampled_from([1.0, 0.3, 1.7]),
    "n_stages": st.integers(1, 6) | st.just(12),
    "sigma": st.integers(6, 13),  # or n_stages, if that is more
    "decoupled": st.booleans(),
    "aggr": st.sampled_from(["mean", "sum", "mid"]),
    "kappa": st.sampled_from([1.0, 0.45, 1.9]),
    "topC": st.sampled_from([2, 1, 3, 20]),
    "decay": st.sampled_from([0.7, 0.93, 0.36]),
    "synced": st.booleans(),
    "lr_other_ratio": st.sampled_from([0.25, 1.7]),
    "sample_size": st.sampled_from([None, 64]),  # no less than any batch has: nothing is left to chance
    "y_sample_size": st.sampled_from([None, 64]),
    "num_iters": st.integers(1, 4),  # fewer than any layer has unknowns: past convergence, rounding decides
    "tau": st.sampled_from([0.03, 0.2, 1.1]),  # smaller, and rounding decides where a layer saw too few samples
    "batch_averaged": st.booleans(),
    "denom_eps": st.sampled_from([0.0, 1e-10, 1e-4]),
    "y_momentum": st.sampled_from([0.0, 0.63]),
}

# Where a rule takes a hyperparameter differently.
DOMAINS_OF: dict[str, dict[str, SearchStrategy[Any]]] = {
    rule: {
        "betas": st.tuples(st.sampled_from([0.13, 0.4, 0.0, 1.6]), st.sampled_from([0.992, 0.71])),
        "eps": st.sampled_from([1e-3, 0.02]),
        "dampening": st.sampled_from([1.0, 0.28, 0.0]),
    }
    for rule in ("adai", "adaiv2")
} | {"kfrog": {"eps": st.sampled_from([0.04, 0.3])}}

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
    where: Mapping[str, SearchStrategy[Any]] = {}


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
    "large eps": Focus(("random", "row-orthogonal"), where={"eps": st.sampled_from([0.07, 1e-3])}),
    "zero": Focus(("random", "zero", "sparse")),
    "uneven": Focus(("uneven",)),
    "shapes": Focus(groups=(1, 2), shapes=VECTORS + MATRICES + DEEPER, parameters=(2, 5)),
    "scalars": Focus(shapes=((), (1,))),
    "large": Focus(shapes=LARGE),
}
FOCI_OF_PROJECTIONS: dict[str, Focus] = {
    "rows": Focus(("row-orthogonal",)),
    "layer": Focus(("layer-orthogonal",), where={"delta": st.sampled_from([0.11, 0.06])}),
    "anti-parallel": Focus(("anti-parallel", "random")),
    "threshold": Focus(THRESHOLDS, where={"delta": st.sampled_from([0.11, 0.37, 0.06])}),
    "mixed projections": Focus(
        ("row-orthogonal", "random", "layer-orthogonal", "anti-parallel"), shapes=VECTORS + MATRICES
    ),
}


FOCI_OF_POOLS: dict[str, Focus] = {
    "zero at first": Focus(("zero", "random"), where={"weight_decay": st.just(0.0)})  # the mean is 0
}
UNEVEN = ("random", "uneven")
SLOW_DECAY = st.sampled_from([0.93, 0.7])
FOCI_OF_BUFFERS: dict[str, Focus] = {
    "full buffer": Focus(UNEVEN, where={"topC": st.sampled_from([1, 2, 3, 5]), "decay": SLOW_DECAY}),
    # A key that is pooled over the group is another one where gradients are missing, if it is ever compared.
    "full buffer, gaps": Focus(
        UNEVEN,
        absent="gaps",
        parameters=(2, 3),
        groups=(1,),
        where={"topC": st.sampled_from([1, 2, 3]), "decay": SLOW_DECAY, "synced": st.sampled_from([True, True, False])},
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
    "silent": Focus(("random", "silent rows"), where={"momentum": st.sampled_from([0.82, 0.47])}, **ON_LAYERS),
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


@st.composite
def hyperparameters(draw: st.DrawFn, rule: str, fixed: Hyperparameters, focus: Focus) -> Hyperparameters:
    """A full set of hyperparameters that the rule accepts."""
    domains = {**DOMAINS, **DOMAINS_OF.get(rule, {}), **focus.where}
    names = RULES[rule].hyperparameter_names()
    drawn = {name: fixed[name] if name in fixed else draw(domains[name]) for name in names}
    if "sigma" in drawn and "sigma" not in fixed:
        drawn["sigma"] = max(drawn["sigma"], drawn["n_stages"])
    try:
        RULES[rule](**drawn)
    except ValueError:
        assume(False)
    # A decay beyond 1 (SGDP divides by 1 - momentum) blows the parameters up, until squares overflow float32.
    assume(drawn["lr"] * drawn.get("weight_decay", 0) <= 1 - min(drawn.get("momentum", 0), 1) or fixed)
    return drawn


@st.composite
def recipes(draw: st.DrawFn, rule: str, fixed: Hyperparameters, focus: Focus, maximize: bool) -> Recipe:
    """A recipe within a focus; `fixed` hyperparameters are kept, `maximize` says whether it may be drawn."""
    fewest, most = focus.parameters
    shapes = tuple(draw(st.lists(st.sampled_from(focus.shapes), min_size=fewest, max_size=most)))
    layers = draw(some_layers(rule, *focus.layers))
    units = _units(layers, len(shapes))
    steps = draw(st.integers(4, 9))
    known = list(ACTIVITIES if RULES[rule].sees_layers else KINDS)
    kinds = focus.gradients or tuple(draw(st.lists(st.sampled_from(known), min_size=2, max_size=4)))
    count = min(draw(st.sampled_from(focus.groups)), len(units))
    split = [units[k : k + 1] for k in range(count - 1)] + [units[count - 1 :]]
    members = [tuple(i for unit in part for i in unit) for part in split]
    groups = tuple(Settings(draw(hyperparameters(rule, fixed, focus)), m) for m in members)
    absent = draw(absences(focus.absent, len(units), steps))
    return Recipe(
        rule=rule,
        groups=groups,
        shapes=shapes,
        layers=layers,
        gradients=kinds,
        absent=tuple(when for unit, when in zip(units, absent, strict=False) for _ in unit),
        schedule=draw(st.sampled_from(focus.schedules)),
        steps=steps,
        scale=draw(st.sampled_from([1.0, 30.0, 0.0, 1e3])),
        magnitude=draw(st.sampled_from(focus.magnitudes)),
        maximize=maximize and draw(st.integers(0, 3)) == 3,
        seed=draw(st.integers(0, 2**16)),
    )


@st.composite
def some_layers(draw: st.DrawFn, rule: str, fewest: int, most: int) -> tuple[LayerRecipe, ...]:
    """Layers that the rule is defined for, each with a batch of its own."""
    known = [layer for layer in LAYERS if rule != "kfrog" or layer.geometry is None or layer.geometry.groups == 1]
    drawn = draw(st.lists(st.sampled_from(known), min_size=fewest, max_size=most)) if most else []
    # A row that few positions speak for is solved in as few iterations.
    return tuple(replace(layer, samples=draw(st.integers(4, 8)) * (1 if layer.size else 3)) for layer in drawn)


def _units(layers: Sequence[LayerRecipe], others: int) -> list[tuple[int, ...]]:
    """The parameters that belong together, a layer's or one by itself."""
    units: list[tuple[int, ...]] = []
    first = 0
    for count in [*(len(layer.shapes) for layer in layers), *([1] * others)]:
        units.append(tuple(range(first, first + count)))
        first += count
    return units


@st.composite
def absences(draw: st.DrawFn, kind: str, parameters: int, steps: int) -> tuple[tuple[int, ...], ...]:
    """The steps in which each parameter (or layer) has no gradient: none, the first few, or some in between."""
    if kind == "never":
        return ()
    if kind == "late":
        return tuple(tuple(range(draw(st.integers(0, 3)) if i else 2)) for i in range(parameters))
    gaps = st.sets(st.integers(1, steps - 2), min_size=1, max_size=2).map(lambda s: tuple(sorted(s)))
    return tuple(draw(gaps) for _ in range(parameters))


@contextmanager
def _alone() -> Iterator[None]:
    """Hypothesis draws now and then a constant that stands in some local module, whichever are imported; not here.

    Beside other code, the same seed would else draw other problems.
    """
    with patch.object(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None):
        yield


def draw_recipes(strategy: SearchStrategy[Recipe], count: int, seed: int) -> list[Recipe]:
    """`count` recipes, the same for the same seed."""
    drawn: list[Recipe] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count + 1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(recipe: Recipe) -> None:
        drawn.append(recipe)

    try:
        with _alone():
            collect()
    except Unsatisfiable:
        raise UsageError(
            "the hyperparameters that are set leave no legal ones to draw; set those they depend on"
        ) from None
    return drawn[1:] if len(drawn) > 1 else drawn  # the first is Hypothesis's simplest, the same for every seed


def problems_of(
    rule: str,
    per_focus: int,
    seed: int,
    *,
    fixed: Hyperparameters,
    maximize: bool,
    only: Collection[str] = (),
    foci: Mapping[str, Focus] | None = None,
) -> list[Recipe]:
    """`per_focus` recipes of every focus that matters to the rule, or of those named, or of those given."""
    chosen = {name: focus for name, focus in (foci or foci_of(rule)).items() if not only or name in only}
    return [
        replace(recipe, focus=name)
        for k, (name, focus) in enumerate(chosen.items())
        for recipe in draw_recipes(recipes(rule, fixed, focus, maximize), per_focus, seed * 1000 + k)
    ]
