"""Checks of what papers leave open: absent and empty gradients, and the geometries of layers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.activity import LayerRecipe, Shape
from stepgauge.properties.gauge.check import Failed, NotApplicable, check, of_any
from stepgauge.properties.gauge.examination import NEVER, Absent, Examination
from stepgauge.properties.gauge.problem import Problem, flatten, reference_trajectory
from stepgauge.properties.gauge.target import StepError, Target, TargetError
from stepgauge.reference import Array, Convolution
from stepgauge.reference.layers import same_padding

CONVOLUTION = LayerRecipe(2, 3, (4, 4), Convolution((2, 2)))  # the first parameter, where the rule sees layers


def _example(exam: Examination, shapes: Sequence[Shape], absent: Absent = NEVER) -> Problem:
    """Four steps with random gradients, but for the steps (from 0) in which a parameter or a layer has none."""
    layers = (CONVOLUTION,) if exam.target.record.sees_layers else ()
    return exam.small(shapes[len(layers) :], layers, absent=absent)


def _run(exam: Examination, problem: Problem) -> Array:
    try:
        return exam.target.run(problem)
    except StepError as error:
        raise Failed(str(error)) from error
    except TargetError as error:
        raise NotApplicable(str(error)) from error


@check("convention/absent-gradient", "convention", of_any)
def absent_gradient(exam: Examination) -> None:
    """A parameter without gradient stays bit for bit, decay included."""
    problem = _example(exam, [(2, 3), (4, 2)], {0: (1, 3)})
    columns = problem.size - problem.initial[-1].size
    trajectory = _run(exam, problem)[:, :columns]
    for t in (1, 3):
        if not np.array_equal(trajectory[t], trajectory[t - 1]):
            raise Failed(f"moves a parameter that has no gradient, in step {t + 1}")


@check("convention/late-gradient", "convention", of_any)
def late_gradient(exam: Examination) -> None:
    """A parameter whose first gradient comes later than another's is accepted."""
    _run(exam, _example(exam, [(2, 3), (4, 2)], {1: (0, 1)}))


@check("convention/no-gradients", "convention", of_any)
def no_gradients(exam: Examination) -> None:
    """A step in which nothing has a gradient moves nothing and raises nothing."""
    problem = _example(exam, [(2, 3), (4,)], {0: (0, 2), 1: (0, 2)})
    trajectory = _run(exam, problem)
    start = flatten(problem.initial)
    if not (np.array_equal(trajectory[0], start) and np.array_equal(trajectory[2], trajectory[1])):
        raise Failed("moves parameters in a step without gradients")


@check("convention/empty-parameter", "convention", of_any)
def empty_parameter(exam: Examination) -> None:
    """Parameters without elements, such as the empty shards of a sharded model, are accepted."""
    _run(exam, _example(exam, [(2, 3), (0, 3), (3, 0), (0,)]))


@check("convention/non-finite-gradient", "convention")
def non_finite_gradient(exam: Examination) -> None:
    """NaN and infinite gradients go where the rule's arithmetic takes them, and leave the other parameters alone."""
    problem = _example(exam, [(2, 3), (4,)])
    spoilt = [[np.array(g) for g in grads if g is not None] for grads in problem.gradients]
    spoilt[1][0].flat[1], spoilt[2][0].flat[-1] = np.nan, np.inf
    problem = replace(problem, gradients=spoilt)
    got = _run(exam, problem)
    expected = [reference_trajectory(problem, problem.rule_groups(exam.target.record, d)) for d in exam.dialects]
    if not any(np.array_equal(np.isnan(got), np.isnan(e)) for e in expected):
        raise Failed(
            f"{int(np.isnan(got[-1]).sum())} NaN at the end, where the rule has {int(np.isnan(expected[0][-1]).sum())}"
        )


@check("convention/0-d-parameter", "convention", of_any)
def zero_d_parameter(exam: Examination) -> None:
    """Scalars (0-d parameters) are accepted."""
    _run(exam, _example(exam, [(), (2, 3)]))


def _sees_layers(target: Target) -> bool:
    return target.record.sees_layers


def _accepts(exam: Examination, layer: LayerRecipe) -> None:
    _run(exam, exam.small([(3,)], [layer]))


@check("convention/linear-layer", "convention", _sees_layers)
def linear_layer(exam: Examination) -> None:
    """Linear layers are accepted."""
    _accepts(exam, LayerRecipe(4, 3))


@check("convention/grouped-convolution", "convention", lambda target: target.rule == "frog")
def grouped_convolution(exam: Examination) -> None:
    """Grouped convolutions are accepted."""
    _accepts(exam, LayerRecipe(4, 4, (4, 4), Convolution((2, 2), groups=2)))


@check("convention/same-padding", "convention", _sees_layers)
def same(exam: Examination) -> None:
    """Convolutions with padding='same' are accepted."""
    _accepts(exam, LayerRecipe(2, 3, (4, 4), Convolution((2, 2), padding=same_padding((2, 2)))))
