"""What permuting, rotating and reshaping a model does to its trajectory: just that, or something else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.law import law, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import Array

U = 2.0**-53
Map = Callable[[Array], Array]  # linear, on one parameter

# Orthogonal, and exact in binary: halves of sums of four. Gradients are float32 numbers, so they rotate exactly, too.
HADAMARD = np.array([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
SIGNS = np.array([[0.0, -1, 0, 0], [0, 0, 0, 1], [-1, 0, 0, 0], [0, 0, 1, 0]])
FOURFOLD = ((3, 16), (5, 4), (2, 8), (3, 2, 2), (2, 3, 2, 2))  # rows of a multiple of 4
MATRICES = ((4, 3), (2, 7), (6, 2), (3, 16), (3, 2, 2), (2, 3, 2, 2))
PROJECTIONS = ("row-orthogonal", "layer-orthogonal", "random", "just below the threshold", "just above the threshold")


def _by_columns(q: Array) -> Map:
    """Every four entries in a row of a parameter, times q from the right."""
    return lambda x: (x.reshape(-1, 4) @ q).reshape(x.shape)


def _flipped(x: Array) -> Array:
    """The rows in reverse order."""
    return np.flip(x, axis=0)


def _shuffled(x: Array) -> Array:
    """As a vector, in another order."""
    return x.ravel()[np.random.default_rng(0).permutation(x.size)]


def _mapped(problem: Problem, by: Map) -> Problem:
    """The problem with parameters and gradients mapped alike."""
    gradients = [[None if g is None else by(g) for g in grads] for grads in problem.gradients]
    return replace(problem, initial=[by(p) for p in problem.initial], gradients=gradients, recipe=None)


def _along(problem: Problem, trajectory: Array, by: Map) -> Array:
    """A trajectory of the problem, mapped step by step."""
    cuts = np.cumsum([p.size for p in problem.initial])[:-1]
    shapes = [p.shape for p in problem.initial]
    return np.array(
        [
            np.concatenate([by(x.reshape(s)).ravel() for x, s in zip(np.split(row, cuts), shapes, strict=True)])
            for row in trajectory
        ]
    )


def _apart(target: Target, problem: Problem, by: Map, spread: Map) -> tuple[Array, Array, Array]:
    """The trajectory of the mapped problem, the mapped trajectory, and how far apart rounding may take them.

    `spread` has the absolute values of the entries of `by`.
    """
    plain, mapped = target.run(problem), _mapped(problem, by)
    # A sum of four halves rounds three times.
    allowed = allowance(mapped) + _along(problem, allowance(problem) + 3 * U * np.abs(plain), spread)
    return target.run(mapped), _along(problem, plain, by), allowed


@law("symmetry/coordinates-are-independent", formerly="F7/permutation", rules=["fsgdm"])
def test_order_and_shape_do_not_matter(target: Target, problem: Problem) -> None:
    """FSGDM works coordinate by coordinate: parameters as shuffled vectors have the shuffled trajectory."""
    within(*_apart(target, problem, _shuffled, _shuffled), "order or shape matters")


@law("symmetry/rotations-commute", formerly="F7/orthogonal", rules=["fsgdm", "sgd"], shapes=FOURFOLD)
def test_a_linear_rule_rotates(target: Target, problem: Problem) -> None:
    """FSGDM and SGD are linear: rotated parameters and gradients have the rotated trajectory, under any decay."""
    within(*_apart(target, problem, _by_columns(HADAMARD), _by_columns(np.abs(HADAMARD))), "it does not rotate")


@law(
    "symmetry/rotations-leave-what-is-stored",
    formerly="C8/orthogonal",
    rules=["sgd_c"],
    gradients=("random", "uneven"),
    shapes=FOURFOLD,
)
def test_critical_gradients_rotate(target: Target, problem: Problem) -> None:
    """Keys are Euclidean norms: rotating each parameter leaves what is stored, and SGD_C rotates with it."""
    within(*_apart(target, problem, _by_columns(HADAMARD), _by_columns(np.abs(HADAMARD))), "it does not rotate")


@law("symmetry/rows-in-any-order", formerly="P10/rows", rules=["adamp", "sgdp"], gradients=PROJECTIONS, shapes=MATRICES)
def test_order_of_rows_does_not_matter(target: Target, problem: Problem) -> None:
    """Rows decide together whether they are projected, in whatever order: reversed rows, reversed trajectory."""
    within(*_apart(target, problem, _flipped, _flipped), "the order of the rows matters")


@law(
    "symmetry/columns-in-any-order-and-sign",
    formerly="P10/columns",
    rules=["adamp", "sgdp"],
    gradients=PROJECTIONS,
    shapes=FOURFOLD,
)
def test_order_and_signs_within_rows_do_not_matter(target: Target, problem: Problem) -> None:
    """Columns permuted, some negated, give the trajectory permuted and negated alike."""
    within(*_apart(target, problem, _by_columns(SIGNS), _by_columns(np.abs(SIGNS))), "columns matter")


@law(
    "symmetry/rotations-within-rows-commute",
    formerly="P10/orthogonal",
    rules=["sgdp"],
    gradients=PROJECTIONS,
    shapes=FOURFOLD,
)
def test_sgdp_rotates(target: Target, problem: Problem) -> None:
    """SGDP sees its rows by inner products alone: rotated within rows, the trajectory rotates."""
    within(*_apart(target, problem, _by_columns(HADAMARD), _by_columns(np.abs(HADAMARD))), "it does not rotate")


@law(
    "symmetry/axes-matter",
    formerly="P10/not orthogonal",
    rules=["adamp"],
    gradients=("random", "row-orthogonal"),
    shapes=FOURFOLD,
)
def test_adamp_does_not_rotate(target: Target, problem: Problem) -> None:
    """AdamP divides coordinate by coordinate: its trajectory depends on the axes."""
    got, rotated, allowed = _apart(target, problem, _by_columns(HADAMARD), _by_columns(np.abs(HADAMARD)))
    if not np.any(np.abs(got - rotated) > allowed):
        raise Failed("rotating within rows rotates the trajectory: the second moment is not coordinate by coordinate")
