"""The recipes that a rule is examined on: so many of each focus."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from stepgauge.properties.gauge.cache.run import stored
from stepgauge.properties.gauge.problems.foci import Focus, foci_of
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, Recipe


@stored
def problems_of(
    rule: str,
    per_focus: int,
    seed: int,
    *,
    fixed: Hyperparameters,
    maximize: bool,
    without: Collection[str] = (),
    only: Collection[str] = (),
    foci: Mapping[str, Focus] | None = None,
) -> list[Recipe]:
    """`per_focus` recipes of every focus that matters to the rule, or of those named, or of those given."""
    from stepgauge.properties.gauge.problems.sampling import (  # with Hypothesis, if it comes to that
        draw_recipes,
        recipes,
    )

    chosen = {name: focus for name, focus in (foci or foci_of(rule)).items() if not only or name in only}
    return [
        replace(recipe, focus=name)
        for k, (name, focus) in enumerate(chosen.items())
        for recipe in draw_recipes(recipes(rule, fixed, focus, maximize, without), per_focus, seed * 1000 + k)
    ]
