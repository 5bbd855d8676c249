"""Checks of what papers leave open: absent and empty gradients."""

import numpy as np

from stepgauge.properties.gauge.check import Failed, check
from stepgauge.properties.gauge.examination import Examination
from stepgauge.properties.gauge.problem import Problem, Settings
from stepgauge.properties.gauge.target import StepError
from stepgauge.reference import Array


def _example(exam: Examination, shapes: list[tuple[int, ...]], absent: set[tuple[int, int]]) -> Problem:
    """Four steps with random gradients, absent where (step, parameter) is listed."""
    rng = np.random.default_rng(exam.options.seed)
    hyperparameters = exam.problems(1, only={"random"})[0].groups[0].hyperparameters
    gradients = [
        [None if (t, i) in absent else rng.standard_normal(shape) for i, shape in enumerate(shapes)] for t in range(4)
    ]
    settings = Settings(hyperparameters, tuple(range(len(shapes))))
    return Problem(exam.target.rule, (settings,), [rng.standard_normal(s) for s in shapes], gradients)


def _run(exam: Examination, problem: Problem) -> Array:
    try:
        return exam.target.run(problem)
    except StepError as error:
        raise Failed(str(error)) from error


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


@check("convention/0-d-parameter", "convention")
def zero_d_parameter(exam: Examination) -> None:
    """Scalars (0-d parameters) are accepted."""
    _run(exam, _example(exam, [(), (2, 3)], set()))
