"""Expansion: the problem that a recipe stands for.

Gradients are recorded along the reference's trajectory, because some kinds depend on the weights.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stepgauge.properties.gauge.cache.run import cached, stored
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.layer_inputs import LAYER_INPUTS
from stepgauge.properties.gauge.problems.problem import Problem, move
from stepgauge.properties.gauge.problems.recipe import Recipe
from stepgauge.properties.gauge.problems.regimes import regimes_of
from stepgauge.reference import RULES, Array, Group, Seen, init, step
from stepgauge.reference.layers import gradient_of

Recorded = tuple[list[Array | None], dict[int, Seen]]


@cached
@stored
def expand(recipe: Recipe) -> Problem:
    """The problem that a recipe stands for."""
    rng = np.random.default_rng(recipe.seed)
    zeros = [np.zeros(shape) for shape in recipe.all_shapes]
    layers = tuple(layer for _, layer in recipe.placed)
    blank = Problem(
        recipe.rule,
        recipe.groups,
        zeros,
        [],
        maximize=recipe.maximize,
        schedule=recipe.schedule,
        changes=recipe.changes,
        in_place=recipe.in_place,
        layers=layers,
    )
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
            now = move(groups, blank.moved(t))
            params, states = step(now, params, grads, states, layers, seen, maximize=recipe.maximize)
    return replace(
        blank,
        initial=initial,
        gradients=[grads for grads, _ in recorded],
        seen=[seen for _, seen in recorded] if layers else (),
        regimes=regimes_of(recipe),
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
        inputs, signals = LAYER_INPUTS.get(kind, LAYER_INPUTS["random"])(rng, layer)
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
