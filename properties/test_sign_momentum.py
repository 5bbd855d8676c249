"""What a step along the sign of an interpolated momentum is, and what it does not depend on."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import Array

UNDECAYED = {"weight_decay": 0.0}
BETA = 0.87
BOUNDING = {"lr": 0.3, "weight_decay": 0.8}


def _exactly(got: Array, expected: Array, what: str) -> None:
    within(got, expected, np.zeros(got.shape), what)


def _gradients(problem: Problem) -> Array:
    """The gradients of every step, end to end, shape (steps, size), with the sign in which they are followed."""
    rows = [np.concatenate([np.ravel(g) for g in grads if g is not None]) for grads in problem.gradients]
    return -np.array(rows) if problem.maximize else np.array(rows)


def _lr(problem: Problem) -> float:
    return float(problem.groups[0].hyperparameters["lr"])


@law("sign/every-coordinate-moves-by-the-rate", rules=["lion"], where=UNDECAYED)
def test_every_coordinate_moves_by_the_rate_or_stays(target: Target, problem: Problem) -> None:
    """Without decay each coordinate moves by lr up, by lr down, or not at all."""
    moved = np.diff(with_start(problem, target.run(problem)), axis=0)
    signs = np.clip(np.rint(moved / _lr(problem)), -1, 1)
    within(moved, _lr(problem) * signs, 2 * allowance(problem), "a coordinate moves by other than lr")


@law("sign/what-had-no-gradient-stays", rules=["lion"], where=UNDECAYED, gradients=("sparse", "zero"))
def test_what_had_no_gradient_stays(target: Target, problem: Problem) -> None:
    """Without decay a coordinate whose gradients were all exactly zero so far is where it was."""
    trajectory = with_start(problem, target.run(problem))
    untouched = np.logical_and.accumulate(_gradients(problem) == 0)
    expected = np.where(untouched, trajectory[0], trajectory[1:])
    within(trajectory[1:], expected, 2 * allowance(problem), "a coordinate without gradient moves")


@law("sign/gradient-scale-does-not-matter", rules=["lion"])
def test_gradient_scale_does_not_matter(target: Target, problem: Problem) -> None:
    """Gradients times 2^k give the same trajectory bit for bit, under any decay: no eps, no clipping, no smoothing."""
    for k in (-40, -3, 20):
        _exactly(target.run(problem.scaled(gradients=2.0**k)), target.run(problem), f"gradients times 2^{k} matter")


@law("sign/signs-of-coordinates-are-free", rules=["lion"])
def test_coordinates_turned_around_run_the_other_way(target: Target, problem: Problem) -> None:
    """Some coordinates of parameters and gradients negated: theirs is the negated trajectory, the others' is as it was.

    Bit for bit, since rounding knows no sign.
    """
    turns = [np.where(np.arange(p.size) % 3 == 0, -1.0, 1.0).reshape(p.shape) for p in problem.initial]
    turned = replace(
        problem,
        initial=[turn * p for turn, p in zip(turns, problem.initial, strict=True)],
        gradients=[
            [None if g is None else turn * g for turn, g in zip(turns, grads, strict=True)]
            for grads in problem.gradients
        ],
        recipe=None,
    )
    expected = np.concatenate([turn.ravel() for turn in turns]) * target.run(problem)
    _exactly(target.run(turned), expected, "the sign of a coordinate matters")


@law("sign/coordinates-in-any-order", rules=["lion"])
def test_order_and_shape_do_not_matter(target: Target, problem: Problem) -> None:
    """Parameters as vectors in reverse order have the reversed trajectory."""
    reverse = replace(
        problem,
        initial=[np.flip(p).ravel() for p in problem.initial],
        gradients=[[None if g is None else np.flip(g).ravel() for g in grads] for grads in problem.gradients],
        recipe=None,
    )
    ends = np.cumsum([p.size for p in problem.initial])[:-1]
    expected = np.hstack([np.fliplr(part) for part in np.split(target.run(problem), ends, axis=1)])
    within(target.run(reverse), expected, 2 * allowance(reverse), "order or shape matters")


@law("sign/equal-betas-are-signum", rules=["lion"], where={"betas": (BETA, BETA)})
def test_equal_betas_are_signum(target: Target, problem: Problem) -> None:
    """With equal betas the step is along the sign of the average of all gradients, the newest included."""
    gradients, decay = _gradients(problem), problem.groups[0].hyperparameters["weight_decay"]
    ages = np.arange(len(gradients))[:, None] - np.arange(len(gradients))
    weights = np.where(ages >= 0, BETA ** np.maximum(ages, 0), 0.0)
    p, rows = with_start(problem, gradients)[0], []
    for direction in np.sign(weights @ gradients):
        p = (1 - _lr(problem) * decay) * p - _lr(problem) * direction
        rows.append(p)
    within(target.run(problem), np.array(rows), 2 * allowance(problem), "it does not follow the averaged gradient")


@law("sign/constant-gradient-is-sign-descent", rules=["lion"], where=UNDECAYED)
def test_a_constant_gradient_is_followed_by_its_sign(target: Target, problem: Problem) -> None:
    """Along a constant g, without decay, t steps lead to p - t lr sign(g) from the first on: nothing warms up."""
    constant = replace(problem, gradients=[problem.gradients[0]] * len(problem.gradients), recipe=None)
    steps = np.arange(1, len(constant.gradients) + 1)[:, None]
    expected = with_start(problem, _gradients(constant))[0] - steps * _lr(problem) * np.sign(_gradients(constant))
    within(target.run(constant), expected, 2 * allowance(constant), "it leaves the line along the sign")


@law("sign/decay-bounds-the-parameter", rules=["lion"], where=BOUNDING)
def test_decay_bounds_the_parameter(target: Target, problem: Problem) -> None:
    """What |p| exceeds 1 / weight_decay by shrinks by 1 - lr * weight_decay in every step, whatever the gradients."""
    lr, decay = BOUNDING["lr"], BOUNDING["weight_decay"]
    trajectory = with_start(problem, target.run(problem))
    excess = np.maximum(np.abs(trajectory) - 1 / decay, 0.0)
    bound = (1 - lr * decay) * excess[:-1]
    within(np.maximum(excess[1:], bound), bound, 2 * allowance(problem), "a parameter beyond 1 / weight_decay stays")
