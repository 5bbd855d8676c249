"""The smallest problem on which a target still leaves the reference.

Hypothesis shrinks what it draws by drawing again; a recipe says everything of a problem, so it is simplified directly:
fewer steps, one parameter, one group, plain gradients, parts of the rule switched off.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from stepgauge.properties.gauge.problems.recipe import ParameterGroup, Recipe
from stepgauge.properties.gauge.problems.regimes import off_value
from stepgauge.reference import RULES

ATTEMPTS = 60  # each costs an envelope


def shrink(recipe: Recipe, fixed: Mapping[str, Any], fails: Callable[[Recipe], bool]) -> Recipe:
    """The recipe, simplified as long as it `fails`; hyperparameters that are `fixed` stay."""
    left = ATTEMPTS
    progress = True
    while progress:
        progress = False
        for simpler in _simpler(recipe, fixed):
            if left == 0:
                return recipe
            left -= 1
            if fails(simpler):
                recipe, progress = simpler, True
                break
    return recipe


def _simpler(recipe: Recipe, fixed: Mapping[str, Any]) -> Iterator[Recipe]:
    """Recipes with one thing less, the largest first."""
    yield from _fewer_units(recipe)
    if len(recipe.groups) > 1:
        members = tuple(sorted(i for group in recipe.groups for i in group.members))
        yield replace(recipe, groups=(ParameterGroup(recipe.groups[0].hyperparameters, members),))
    plain: dict[str, Any] = {
        "absent": (),
        "schedule": (1.0,),
        "changes": (),
        "in_place": False,
        "maximize": False,
        "gradients": ("random",),
        "magnitude": 1.0,
    }
    for name, value in plain.items():
        if getattr(recipe, name) != value:
            yield replace(recipe, **{name: value})
    for change in recipe.changes if len(recipe.changes) > 1 else ():
        yield replace(recipe, changes=(change,))
    for scale in (0.0, 1.0):
        if recipe.scale > scale:
            yield replace(recipe, scale=scale)
    yield from (
        replace(recipe, steps=steps)
        for steps in (1, recipe.steps // 2, recipe.steps - 1)
        if steps < recipe.steps and steps
    )
    yield from _switched_off(recipe, fixed)
    for k, shape in enumerate(recipe.shapes):
        for smaller in ((1,), (3,), (2, 2)):
            if len(smaller) <= len(shape) and prod(smaller) < prod(shape):
                yield replace(recipe, shapes=(*recipe.shapes[:k], smaller, *recipe.shapes[k + 1 :]))


def _switched_off(recipe: Recipe, fixed: Mapping[str, Any]) -> Iterator[Recipe]:
    """Recipes with one part of the rule out of play in every group."""
    record = RULES[recipe.rule]
    for name in recipe.groups[0].hyperparameters:
        off = off_value(recipe.rule, name)
        if off is None or name in fixed or all(group.hyperparameters[name] == off for group in recipe.groups):
            continue
        groups = tuple(ParameterGroup({**h, name: off}, members) for h, members in recipe.groups)
        try:
            for hyperparameters, _ in groups:
                record(**hyperparameters)
        except ValueError:
            continue
        yield replace(recipe, groups=groups)


def _fewer_units(recipe: Recipe) -> Iterator[Recipe]:
    """Recipes of a single layer or parameter, then of one less."""
    units = [layer.shapes for layer in recipe.layers] + [(shape,) for shape in recipe.shapes]
    if len(units) < 2:
        return
    everything = range(len(units))
    yield from (_with_units(recipe, {k}) for k in everything)
    if len(units) > 2:
        yield from (_with_units(recipe, set(everything) - {k}) for k in everything)


def _with_units(recipe: Recipe, kept: set[int]) -> Recipe:
    """A recipe with some of its layers and parameters alone; their indices close up."""
    counts = [len(layer.shapes) for layer in recipe.layers] + [1] * len(recipe.shapes)
    indices: dict[int, int] = {}
    first = 0
    for unit, count in enumerate(counts):
        for i in range(first, first + count):
            if unit in kept:
                indices[i] = len(indices)
        first += count
    groups = (ParameterGroup(h, tuple(indices[i] for i in members if i in indices)) for h, members in recipe.groups)
    return replace(
        recipe,
        layers=tuple(layer for k, layer in enumerate(recipe.layers) if k in kept),
        shapes=tuple(shape for k, shape in enumerate(recipe.shapes, len(recipe.layers)) if k in kept),
        groups=tuple(group for group in groups if group.members),
        absent=tuple(when for i, when in enumerate(recipe.absent) if i in indices),
    )
