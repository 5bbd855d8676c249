"""Projected updates of AdamP and SGDP are orthogonal to the weights; projecting is a contraction."""

import numpy as np

from stepgauge.properties.gauge.checks.law import NEGLIGIBLE, law, rows_of, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import Array

# Without momentum the update of SGDP is the gradient in both dialects; AdamP never projects its moments.
PROJECTING = {"momentum": 0.0, "weight_decay": 0.0, "delta": 0.11}
MATRICES = ((4, 3), (2, 7), (6, 2), (3, 16), (3, 2, 2), (2, 3, 2, 2))


def _displacements(target: Target, problem: Problem) -> Array:
    return np.diff(with_start(problem, target.run(problem)), axis=0)


def _assert_orthogonal(target: Target, problem: Problem, *, by_layer: bool) -> None:
    weights = with_start(problem, target.run(problem))
    projected = np.diff(weights, axis=0)
    plain = _displacements(target, problem.with_hyperparameters(delta=-1.0))
    noise = 2 * allowance(problem)  # a displacement is the difference of two parameters
    eps = problem.groups[0].hyperparameters["eps"]
    views = (rows_of(problem, x, by_layer=by_layer) for x in (weights[:-1], projected, plain, noise))
    for w, d, u, a in zip(*views, strict=True):
        size = np.linalg.norm(w, axis=1)
        radial = np.sum(w * d, axis=1)
        # Dividing by |w| + eps in place of |w| leaves 1 - (|w| / (|w| + eps))^2 < 2 eps / |w| of the radial part.
        left = 2 * eps / np.maximum(size, NEGLIGIBLE) * np.abs(np.sum(w * u, axis=1))
        within(radial, np.zeros_like(radial), left + np.sum(np.abs(w) * a, axis=1), "the update is not tangential")
        within(
            np.maximum(size[:-1] - size[1:], 0.0),
            np.zeros(len(size) - 1),
            ((left + np.sum(np.abs(w) * a, axis=1)) / np.maximum(size, NEGLIGIBLE) + np.linalg.norm(a, axis=1))[:-1],
            "a projected step shrinks the weights",
        )


@law(
    "projection/rows-are-orthogonal",
    formerly="P4/rows",
    varies=("delta",),
    rules=["adamp", "sgdp"],
    where=PROJECTING,
    gradients=("row-orthogonal",),
    shapes=MATRICES,
)
def test_update_is_orthogonal_to_every_row(target: Target, problem: Problem) -> None:
    """Where every row's gradient is orthogonal to its weights, so is the update, up to what eps leaves."""
    _assert_orthogonal(target, problem, by_layer=False)


@law(
    "projection/layer-is-orthogonal",
    formerly="P4/layer",
    varies=("delta",),
    rules=["adamp", "sgdp"],
    where={**PROJECTING, "eps": NEGLIGIBLE},  # where by chance the rows pass, eps would leave a part of each
    gradients=("layer-orthogonal",),
    shapes=MATRICES[3:5],
)
def test_update_is_orthogonal_to_the_layer(target: Target, problem: Problem) -> None:
    """Where only the layer's gradient is orthogonal to the weights, so is the update as a whole."""
    _assert_orthogonal(target, problem, by_layer=True)


@law(
    "projection/metric-is-plain",
    formerly="P11",
    varies=("delta",),
    rules=["adamp"],
    where=PROJECTING,
    gradients=("row-orthogonal",),
    shapes=MATRICES,
)
def test_what_is_removed_lies_along_the_weights(target: Target, problem: Problem) -> None:
    """AdamP projects the preconditioned update in the plain metric: it takes away a multiple of w, and not nothing.

    Though the gradient is orthogonal to w, the update it is divided into is not, and so changes its direction.
    """
    plain_problem = problem.with_hyperparameters(delta=-1.0)
    weights = with_start(problem, target.run(problem))[:-1]
    projected, plain = _displacements(target, problem), _displacements(target, plain_problem)
    noise = 2 * allowance(problem) + 2 * allowance(plain_problem)  # a displacement is a difference of two parameters
    turned = False
    for w, d, u, a in zip(*(rows_of(problem, x) for x in (weights, projected, plain, noise)), strict=True):
        square = np.maximum(np.sum(w * w, axis=1, keepdims=True), NEGLIGIBLE)
        removed = d - u
        along = w * np.sum(w * removed, axis=1, keepdims=True) / square
        spread = np.abs(w) * np.sum(np.abs(w) * a, axis=1, keepdims=True) / square
        within(removed, along, a + spread, "what the projection removes is not along the weights")
        turned |= bool(np.any(np.abs(removed) > a))
    if not turned:
        raise Failed("the projection leaves the preconditioned update alone")


@law(
    "projection/never-lengthens",
    formerly="P12/contraction",
    varies=("delta",),
    rules=["adamp", "sgdp"],
    where=PROJECTING,
    gradients=("row-orthogonal",),
    shapes=MATRICES,
)
def test_projecting_lengthens_no_row(target: Target, problem: Problem) -> None:
    """|Pi u| <= |u|, row by row."""
    projected = _displacements(target, problem)
    plain = _displacements(target, problem.with_hyperparameters(delta=-1.0))
    noise = 2 * allowance(problem) + 2 * allowance(problem.with_hyperparameters(delta=-1.0))
    for d, u, a in zip(*(rows_of(problem, x) for x in (projected, plain, noise)), strict=True):
        excess = np.linalg.norm(d, axis=1) - np.linalg.norm(u, axis=1)
        within(np.maximum(excess, 0.0), np.zeros(len(excess)), np.linalg.norm(a, axis=1), "a projected row is longer")


@law(
    "projection/twice-is-once",
    formerly="P12/idempotence",
    rules=["sgdp"],
    where={**PROJECTING, "eps": NEGLIGIBLE, "dampening": 0.0, "nesterov": False},
    gradients=("row-orthogonal",),
    shapes=MATRICES,
)
def test_projecting_twice_is_projecting_once(target: Target, problem: Problem) -> None:
    """A gradient that has been projected already gives the same step: Pi(Pi u) = Pi u as eps -> 0."""
    first = Problem(problem.rule, problem.groups, problem.initial, problem.gradients[:1], problem.maximize)
    step = _displacements(target, first)[0]
    direction = step / (problem.groups[0].hyperparameters["lr"] * (1 if problem.maximize else -1))
    cuts = np.cumsum([p.size for p in problem.initial])[:-1]
    pieces = [x.reshape(p.shape) for x, p in zip(np.split(direction, cuts), problem.initial, strict=True)]
    again = Problem(problem.rule, problem.groups, problem.initial, [pieces], problem.maximize)
    within(_displacements(target, again)[0], step, 4 * (allowance(first) + allowance(again))[0], "projects further")
