"""Recipes: what problems are made from.

A recipe is small, prints on a few lines and says everything; NumPy expands it. Gradients are recorded along the
reference's trajectory, because some kinds depend on the weights.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from stepgauge.properties.gauge.activity import ACTIVITIES, LayerRecipe, Shape
from stepgauge.properties.gauge.gradients import KINDS
from stepgauge.properties.gauge.problem import Problem, Settings, scheduled
from stepgauge.reference import RULES, Array, Group, Layer, Seen, init, step
from stepgauge.reference.layers import gradient_of

Recorded = tuple[list[Array | None], dict[int, Seen]]


@dataclass(frozen=True)
class Recipe:
    """What a problem is made from.

    `gradients` names the kind of each step, over and over; `schedule` multiplies lr at each step, likewise. `absent`
    lists, for each parameter, the steps (from 0) in which it has no gradient. `scale` is the size of the initial
    parameters in units of the rule's first displacement, so that large parameters hide nothing; zero included.
    `magnitude` multiplies the gradients.
    """

    rule: str
    groups: tuple[Settings, ...]
    shapes: tuple[Shape, ...]
    gradients: tuple[str, ...] = ("random",)
    absent: tuple[tuple[int, ...], ...] = ()
    schedule: tuple[float, ...] = (1.0,)
    steps: int = 6
    scale: float = 1.0
    magnitude: float = 1.0
    maximize: bool = False
    seed: int = 0
    layers: tuple[LayerRecipe, ...] = ()
    focus: str = ""  # what it was drawn for

    @property
    def all_shapes(self) -> list[Shape]:
        """Of every parameter."""
        return [shape for layer in self.layers for shape in layer.shapes] + list(self.shapes)

    @property
    def placed(self) -> list[tuple[LayerRecipe, Layer]]:
        """Its layers, and which parameters are theirs."""
        found: list[tuple[LayerRecipe, Layer]] = []
        first = 0
        for layer in self.layers:
            found.append((layer, layer.placed(first)))
            first += len(layer.shapes)
        return found

    def __hash__(self) -> int:
        return hash((self.rule, self.shapes, self.layers, self.gradients, self.steps, self.seed))


@lru_cache(maxsize=4096)
def expand(recipe: Recipe) -> Problem:
    """The problem that a recipe stands for."""
    rng = np.random.default_rng(recipe.seed)
    zeros = [np.zeros(shape) for shape in recipe.all_shapes]
    layers = tuple(layer for _, layer in recipe.placed)
    blank = Problem(recipe.rule, recipe.groups, zeros, [], recipe.maximize, recipe.schedule, layers=layers)
    groups = blank.rule_groups(RULES[recipe.rule])
    initial = [
        _float32(recipe.scale * unit * rng.standard_normal(p.shape))
        for unit, p in zip(_first_displacements(recipe, blank, groups), zeros, strict=True)
    ]
    params, states, recorded = list(initial), init(groups, initial, layers), []
    with np.errstate(all="ignore"):
        for t in range(recipe.steps):
            grads, seen = _record(recipe, rng, t, params)
            recorded.append((grads, seen))
            now = scheduled(groups, blank.lr_factor(t))
            params, states = step(now, params, grads, states, layers, seen, maximize=recipe.maximize)
    return replace(
        blank,
        initial=initial,
        gradients=[grads for grads, _ in recorded],
        seen=[seen for _, seen in recorded] if layers else (),
        regimes=frozenset(_regimes(recipe)),
        recipe=recipe,
    )


def _record(recipe: Recipe, rng: np.random.Generator, t: int, params: Sequence[Array]) -> Recorded:
    """The gradients of step t (from 0), and what the layers saw in it."""
    kind = recipe.gradients[t % len(recipe.gradients)]
    absent = [i for i, steps in enumerate(recipe.absent) if t in steps]
    grads, seen = _activity(recipe, rng, kind, absent)
    deltas = {i: hyperparameters.get("delta", 0.1) for hyperparameters, members in recipe.groups for i in members}
    plain = KINDS.get(kind, KINDS["random"])  # some kinds are of layers alone
    for i in range(len(grads), len(params)):
        grads.append(None if i in absent else _float32(recipe.magnitude * plain(rng, params[i], deltas[i])))
    return grads, seen


def _activity(recipe: Recipe, rng: np.random.Generator, kind: str, absent: Collection[int] = ()) -> Recorded:
    """What the layers saw that are not absent, and the gradients of all their parameters."""
    grads: list[Array | None] = []
    seen = {}
    for layer, placed in recipe.placed:
        if placed.weight in absent:
            grads += [None] * len(layer.shapes)
            continue
        inputs, signals = ACTIVITIES.get(kind, ACTIVITIES["random"])(rng, layer)
        what = seen[placed.weight] = Seen(_float32(inputs), _float32(recipe.magnitude * signals))
        grads += map(_float32, gradient_of(what, layer.shapes[0], layer.geometry, bias=layer.bias))
    return grads, seen


def _float32(x: Any) -> Array:
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def _first_displacements(recipe: Recipe, blank: Problem, groups: Sequence[Group]) -> list[float]:
    """How far each parameter's rule moves a zero parameter along a gradient of the recipe's magnitude."""
    grads, seen = _activity(recipe, np.random.default_rng(recipe.seed), "random")
    grads += [np.full(p.shape, recipe.magnitude) for p in blank.initial[len(grads) :]]
    states = init(groups, blank.initial, blank.layers)
    moved, _ = step(groups, blank.initial, grads, states, blank.layers, seen)
    return [float(np.max(np.abs(p))) if p.size else 0.0 for p in moved]


def _regimes(recipe: Recipe) -> Iterator[str]:
    """What is special about this problem, in the words of a verdict's "only with …"."""
    absent = recipe.absent
    kinds = set(recipe.gradients[: recipe.steps])
    hyperparameters = [group.hyperparameters for group in recipe.groups]
    if any(absent):
        yield "absent gradients"
    if any(0 in steps for steps in absent):
        yield "late gradients"
    if len(recipe.groups) > 1:
        yield "several groups"
    if len(recipe.schedule) > 1:
        yield "an lr schedule"
    if recipe.maximize:
        yield "maximize"
    if recipe.magnitude < 1:
        yield "tiny gradients"
    if recipe.scale == 0:
        yield "parameters that start at zero"
    if recipe.steps > LONG:
        yield f"more than {LONG} steps"
    yield from (f"{kind} gradients" for kind in kinds)
    yield from ("0-d parameters" for shape in recipe.shapes if shape == ())
    for layer in recipe.layers:
        yield from _regimes_of(layer)
    for name in hyperparameters[0]:
        values = [h[name] for h in hyperparameters]
        if name in OFF or isinstance(values[0], bool):
            yield from {name if v != OFF.get(name, False) else f"no {name}" for v in values}  # of any group
        elif name == "eps" and any(v >= LARGE_EPS for v in values):
            yield "large eps"


def _regimes_of(layer: LayerRecipe) -> Iterator[str]:
    """What is special about a layer."""
    if layer.bias:
        yield "biases of layers"
    if layer.geometry is None:
        yield LINEAR
        return
    yield "convolutions"
    if layer.geometry.groups > 1:
        yield GROUPED
    if any(before != after for before, after in layer.geometry.padding):
        yield SAME


LINEAR, GROUPED, SAME = "linear layers", "grouped convolutions", "uneven padding ('same')"
LONG = 100
LARGE_EPS = 1e-4
OFF = {"momentum": 0, "dampening": 0, "weight_decay": 0, "v_coefficient": 1}  # values at which a part of a rule is gone
