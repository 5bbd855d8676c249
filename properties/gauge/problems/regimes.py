"""Regimes: what is special about a problem, in the words of a verdict's "only with ..."."""

from collections.abc import Iterator

from stepgauge.properties.gauge.problems.recipe import LayerRecipe, Recipe
from stepgauge.reference import RULES

LINEAR, GROUPED, SAME = "linear layers", "grouped convolutions", "uneven padding ('same')"
LONG = 100  # steps
LARGE_EPS = 1e-4


def regimes_of(recipe: Recipe) -> frozenset[str]:
    """The regimes of the problem that a recipe stands for."""
    found = {*_of_steps(recipe), *_of_hyperparameters(recipe)}
    for layer in recipe.layers:
        found |= regimes_of_layer(layer)
    return frozenset(found)


def regimes_of_layer(layer: LayerRecipe) -> frozenset[str]:
    """What is special about a layer."""
    return frozenset(_of_layer(layer))


def _of_steps(recipe: Recipe) -> Iterator[str]:
    """What is special about gradients, parameters, groups and the schedule."""
    if any(recipe.absent):
        yield "absent gradients"
    if any(0 in steps for steps in recipe.absent):
        yield "late gradients"
    if len(recipe.groups) > 1:
        yield "several groups"
    if len(recipe.schedule) > 1:
        yield "an lr schedule"
    if 0 in recipe.schedule:
        yield "lr 0"
    for change in recipe.changes:
        yield f"{change.name} that changes"
    if recipe.in_place:
        yield "gradients in place"
    if recipe.maximize:
        yield "maximize"
    if recipe.magnitude < 1:
        yield "tiny gradients"
    if recipe.scale == 0:
        yield "parameters that start at zero"
    if recipe.steps > LONG:
        yield f"more than {LONG} steps"
    if () in recipe.shapes:
        yield "0-d parameters"
    for kind in recipe.gradients[: recipe.steps]:
        yield f"{kind} gradients"


def _of_hyperparameters(recipe: Recipe) -> Iterator[str]:
    """Which parts of the rule are in play, or not, in any of the groups."""
    for name in recipe.groups[0].hyperparameters:
        off = off_value(recipe.rule, name)
        for group in recipe.groups:
            value = group.hyperparameters[name]
            if off is not None:
                yield f"no {name}" if value == off else name
            elif name == "eps" and value >= LARGE_EPS:
                yield "large eps"


def off_value(rule: str, name: str) -> float | bool | None:
    """The value of a hyperparameter at which a part of the rule is gone; None if there is none."""
    off = RULES[rule].hyperparameter(name).off
    return False if RULES[rule].is_switch(name) else off


def _of_layer(layer: LayerRecipe) -> Iterator[str]:
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
