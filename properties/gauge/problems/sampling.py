"""Recipes drawn by Hypothesis."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.problems.foci import LAYERS, Focus
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.independent_draws import BACKEND, seeded
from stepgauge.properties.gauge.problems.layer_inputs import LAYER_INPUTS
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, LayerRecipe, ParameterGroup, Recipe
from stepgauge.properties.gauge.problems.regimes import regimes_of_layer
from stepgauge.reference import RULES


def one_of(values: Sequence[Any]) -> SearchStrategy[Any]:
    """A strategy for the values that a record of a hyperparameter names (see `reference.hyperparameters`)."""
    if not values:
        return st.booleans()
    if isinstance(values, range):
        return st.integers(values[0], values[-1])
    if any(isinstance(value, range) for value in values):
        return st.one_of([one_of(value) if isinstance(value, range) else st.just(value) for value in values])
    if all(isinstance(value, tuple) for value in values):
        return st.tuples(*map(st.sampled_from, values))
    return st.sampled_from(values)


@st.composite
def hyperparameters(draw: st.DrawFn, rule: str, fixed: Hyperparameters, focus: Focus) -> Hyperparameters:
    """A full set of hyperparameters that the rule accepts."""
    drawn = {}
    for name in RULES[rule].hyperparameter_names():
        values = focus.where.get(name, RULES[rule].hyperparameter(name).drawn)
        drawn[name] = fixed[name] if name in fixed else draw(one_of(values))
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
def recipes(
    draw: st.DrawFn, rule: str, fixed: Hyperparameters, focus: Focus, maximize: bool, without: Collection[str] = ()
) -> Recipe:
    """A recipe within a focus; `fixed` hyperparameters are kept, `maximize` says whether it may be drawn.

    Layers with a regime of `without` are not drawn.
    """
    fewest, most = focus.parameters
    shapes = tuple(draw(st.lists(st.sampled_from(focus.shapes), min_size=fewest, max_size=most)))
    layers = draw(some_layers(rule, *focus.layers, without))
    units = _units(layers, len(shapes))
    steps = draw(st.integers(4, 9))
    known = list(LAYER_INPUTS if RULES[rule].sees_layers else KINDS)
    kinds = focus.gradients or tuple(draw(st.lists(st.sampled_from(known), min_size=2, max_size=4)))
    count = min(draw(st.sampled_from(focus.groups)), len(units))
    split = [units[k : k + 1] for k in range(count - 1)] + [units[count - 1 :]]
    members = [tuple(i for unit in part for i in unit) for part in split]
    groups = tuple(ParameterGroup(draw(hyperparameters(rule, fixed, focus)), m) for m in members)
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
def some_layers(
    draw: st.DrawFn, rule: str, fewest: int, most: int, without: Collection[str] = ()
) -> tuple[LayerRecipe, ...]:
    """Layers that the rule is defined for, each with a batch of its own."""
    grouped = RULES[rule].takes_groups
    known = [layer for layer in LAYERS if grouped or layer.geometry is None or layer.geometry.groups == 1]
    known = [layer for layer in known if regimes_of_layer(layer).isdisjoint(without)]
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


def draw_recipes(strategy: SearchStrategy[Recipe], count: int, seed: int) -> list[Recipe]:
    """`count` recipes, the same for the same seed."""
    drawn: list[Recipe] = []

    @hypothesis.seed(seed)  # else Hypothesis would print one of its own where nothing can be drawn
    @settings(
        backend=BACKEND,
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
        with seeded(seed):
            collect()
    except Unsatisfiable:
        raise UsageError(
            "the hyperparameters that are set leave no legal ones to draw; set those they depend on"
        ) from None
    return drawn[1:] if len(drawn) > 1 else drawn  # the first is Hypothesis's simplest, the same for every seed
