"""Checks of what papers leave open: absent and empty gradients, and the geometries of layers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.context import NEVER, Absent, Context
from stepgauge.properties.gauge.checks.registry import check, of_any
from stepgauge.properties.gauge.checks.results import Failed, NotApplicable
from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.problems.problem import Problem, flatten, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import LayerRecipe, Shape
from stepgauge.properties.gauge.targets.base import Subject
from stepgauge.reference import Array, Convolution
from stepgauge.reference.layers import same_padding

CONVOLUTION = LayerRecipe(2, 3, (4, 4), Convolution((2, 2)))  # the first parameter, where the rule sees layers


def _example(context: Context, shapes: Sequence[Shape], absent: Absent = NEVER) -> Problem:
    """Four steps with random gradients, but for the steps (from 0) in which a parameter or a layer has none."""
    layers = (CONVOLUTION,) if context.target.record.sees_layers else ()
    return context.small(shapes[len(layers) :], layers, absent=absent)


def _run(context: Context, problem: Problem) -> Array:
    try:
        return context.target.run(problem)
    except StepError as error:
        raise Failed(str(error)) from error
    except TargetError as error:
        raise NotApplicable(str(error)) from error


@check("convention/absent-gradient", of_any)
def absent_gradient(context: Context) -> None:
    """A parameter without gradient stays bit for bit, decay included."""
    problem = _example(context, [(2, 3), (4, 2)], {0: (1, 3)})
    columns = problem.size - problem.initial[-1].size
    trajectory = _run(context, problem)[:, :columns]
    for t in (1, 3):
        if not np.array_equal(trajectory[t], trajectory[t - 1]):
            raise Failed(f"moves a parameter that has no gradient, in step {t + 1}")


@check("convention/late-gradient", of_any)
def late_gradient(context: Context) -> None:
    """A parameter whose first gradient comes later than another's is accepted."""
    _run(context, _example(context, [(2, 3), (4, 2)], {1: (0, 1)}))


@check("convention/no-gradients", of_any)
def no_gradients(context: Context) -> None:
    """A step in which nothing has a gradient moves nothing and raises nothing."""
    problem = _example(context, [(2, 3), (4,)], {0: (0, 2), 1: (0, 2)})
    trajectory = _run(context, problem)
    start = flatten(problem.initial)
    if not (np.array_equal(trajectory[0], start) and np.array_equal(trajectory[2], trajectory[1])):
        raise Failed("moves parameters in a step without gradients")


@check("convention/empty-parameter", of_any)
def empty_parameter(context: Context) -> None:
    """Parameters without elements, such as the empty shards of a sharded model, are accepted."""
    _run(context, _example(context, [(2, 3), (0, 3), (3, 0), (0,)]))


@check("convention/non-finite-gradient")
def non_finite_gradient(context: Context) -> None:
    """NaN and infinite gradients go where the rule's arithmetic takes them, and leave the other parameters alone."""
    problem = _example(context, [(2, 3), (4,)])
    spoilt = [[np.array(g) for g in grads if g is not None] for grads in problem.gradients]
    spoilt[1][0].flat[1], spoilt[2][0].flat[-1] = np.nan, np.inf
    problem = replace(problem, gradients=spoilt)
    got = _run(context, problem)
    expected = [reference_trajectory(problem, problem.rule_groups(context.target.record, d)) for d in context.dialects]
    if not any(np.array_equal(np.isnan(got), np.isnan(e)) for e in expected):
        raise Failed(
            f"{int(np.isnan(got[-1]).sum())} NaN at the end, where the rule has {int(np.isnan(expected[0][-1]).sum())}"
        )


@check("convention/0-d-parameter", of_any)
def zero_d_parameter(context: Context) -> None:
    """Scalars (0-d parameters) are accepted."""
    _run(context, _example(context, [(), (2, 3)]))


def _sees_layers(target: Subject) -> bool:
    return target.record.sees_layers


def _takes_groups(target: Subject) -> bool:
    return target.record.sees_layers and target.record.takes_groups


def _accepts(context: Context, layer: LayerRecipe) -> None:
    _run(context, context.small([(3,)], [layer]))


@check("convention/linear-layer", _sees_layers)
def linear_layer(context: Context) -> None:
    """Linear layers are accepted."""
    _accepts(context, LayerRecipe(4, 3))


@check("convention/grouped-convolution", _takes_groups)
def grouped_convolution(context: Context) -> None:
    """Grouped convolutions are accepted."""
    _accepts(context, LayerRecipe(4, 4, (4, 4), Convolution((2, 2), groups=2)))


@check("convention/same-padding", _sees_layers)
def same(context: Context) -> None:
    """Convolutions with padding='same' are accepted."""
    _accepts(context, LayerRecipe(2, 3, (4, 4), Convolution((2, 2), padding=same_padding((2, 2)))))
