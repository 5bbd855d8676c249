"""How grave a divergence is: what a user who changes nothing meets, in the precision of training."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.errors import StepError, TargetError, UsageError
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import distance, flatten, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Variant
from stepgauge.properties.gauge.verdicts.record import AtDefaults
from stepgauge.reference import RULES

STEPS = 100
SCALE = 30.0  # displacements: weights are larger than a step, so that what acts on them (decay, projection) shows
SHAPES = ((8, 6), (5,))


def at_defaults(context: Context, dialect: str) -> AtDefaults | None:
    """How far the target, at its own defaults, strays from a dialect; None if that cannot be told.

    It cannot if the target refuses its defaults, or the rule does, or computes what is not finite.
    """
    kept = {n: v for n, v in context.target.defaults.items() if n not in context.options.set}
    try:
        (recipe,) = context.recipes(1, only={"random"}, fixed={**kept, **context.fixed})
        trained = replace(
            recipe,
            layers=recipe.layers[:1],
            shapes=() if recipe.layers else SHAPES,
            gradients=("random",),
            absent=(),
            schedule=(1.0,),
            steps=STEPS,
            scale=SCALE,
            magnitude=1.0,
            maximize=False,
        )
        settings = ParameterGroup(recipe.groups[0].hyperparameters, tuple(range(len(trained.all_shapes))))
        problem = expand(replace(trained, groups=(settings,)))
        got = context.target.varied(Variant(left_out=tuple(kept))).run(problem, "float32")
    except (UsageError, TargetError, StepError):
        return None
    expected = reference_trajectory(problem, problem.rule_groups(RULES[problem.rule], dialect))
    error = float(np.max(distance(got, expected)))
    way = float(np.max(distance(expected, flatten(problem.initial))))
    return AtDefaults(STEPS, error, way) if np.isfinite(way) else None
