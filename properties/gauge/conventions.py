"""Checks of what papers leave open: absent and empty gradients."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.check import Failed, NotApplicable, check
from stepgauge.properties.gauge.examination import Examination
from stepgauge.properties.gauge.problem import Problem, Settings, reference_trajectory
from stepgauge.properties.gauge.target import StepError, TargetError
from stepgauge.reference import Array


def _example(exam: Examination, shapes: list[tuple[int, ...]], absent: set[tuple[int, int]]) -> Problem:
    """Four steps with random gradients, absent where (step, parameter) is listed."""
    rng = np.random.default_rng(exam.options.seed)
    gradients = [
        [None if (t, i) in absent else rng.standard_normal(shape) for i, shape in enumerate(shapes)] for t in range(4)
    ]
    settings = Settings(exam.example, tuple(range(len(shapes))))
    return Problem(exam.target.rule, (settings,), [rng.standard_normal(s) for s in shapes], gradients)


def _run(exam: Examination, problem: Problem) -> Array:
    try:
        return exam.target.run(problem)
    except StepError as error:
        raise Failed(str(error)) from error
    except TargetError as error:
        raise NotApplicable(str(error)) from error


@check("convention/absent-gradient", "convention")
def absent_gradient(exam: Examination) -> None:
    """A parameter without gradient stays bit for bit, decay included."""
    problem = _example(exam, [(2, 3), (4, 2)], {(1, 0), (3, 0)})
    columns = problem.initial[0].size
    trajectory = _run(exam, problem)[:, :columns]
    for t in (1, 3):
        if not np.array_equal(trajectory[t], trajectory[t - 1]):
            raise Failed(f"moves a parameter that has no gradient, in step {t + 1}")


@check("convention/late-gradient", "convention")
def late_gradient(exam: Examination) -> None:
    """A parameter whose first gradient comes later than another's is accepted."""
    _run(exam, _example(exam, [(2, 3), (4, 2)], {(0, 1), (1, 1)}))


@check("convention/no-gradients", "convention")
def no_gradients(exam: Examination) -> None:
    """A step in which nothing has a gradient moves nothing and raises nothing."""
    problem = _example(exam, [(2, 3), (4,)], {(0, 0), (0, 1), (2, 0), (2, 1)})
    trajectory = _run(exam, problem)
    start = np.concatenate([p.ravel() for p in problem.initial])
    if not (np.array_equal(trajectory[0], start) and np.array_equal(trajectory[2], trajectory[1])):
        raise Failed("moves parameters in a step without gradients")


@check("convention/empty-parameter", "convention")
def empty_parameter(exam: Examination) -> None:
    """Parameters without elements, such as the empty shards of a sharded model, are accepted."""
    _run(exam, _example(exam, [(2, 3), (0, 3), (3, 0), (0,)], set()))


@check("convention/non-finite-gradient", "convention")
def non_finite_gradient(exam: Examination) -> None:
    """NaN and infinite gradients go where the rule's arithmetic takes them, and leave the other parameters alone."""
    problem = _example(exam, [(2, 3), (4,)], set())
    spoilt = [[np.array(g) for g in grads if g is not None] for grads in problem.gradients]
    spoilt[1][0][0, 1], spoilt[2][0][1, 2] = np.nan, np.inf
    problem = replace(problem, gradients=spoilt)
    got = _run(exam, problem)
    expected = [reference_trajectory(problem, problem.rule_groups(exam.target.record, d)) for d in exam.dialects]
    if not any(np.array_equal(np.isnan(got), np.isnan(e)) for e in expected):
        raise Failed(
            f"{int(np.isnan(got[-1]).sum())} NaN at the end, where the rule has {int(np.isnan(expected[0][-1]).sum())}"
        )


@check("convention/0-d-parameter", "convention")
def zero_d_parameter(exam: Examination) -> None:
    """Scalars (0-d parameters) are accepted."""
    _run(exam, _example(exam, [(), (2, 3)], set()))
