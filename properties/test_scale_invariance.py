"""What rescaling weights, gradients and learning rate does: nothing that the rules do not say."""

from stepgauge.properties.gauge.checks.law import NEGLIGIBLE, law, within
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance

GUARDLESS = {"eps": NEGLIGIBLE}
GRADIENT_KINDS = ("row-orthogonal", "random", "just above the threshold", "layer just below the threshold", "uneven")


def _rescaled(problem: Problem, *, params: float, gradients: float, lr: float, weight_decay: float) -> Problem:
    first = problem.groups[0].hyperparameters
    changes = {"lr": lr * first["lr"], "weight_decay": weight_decay * first["weight_decay"]}
    return problem.scaled(params=params, gradients=gradients).with_hyperparameters(**changes)


def _assert_scales(target: Target, problem: Problem, rescaled: Problem, by: float) -> None:
    allowed = by * allowance(problem) + allowance(rescaled)
    within(target.run(rescaled), by * target.run(problem), allowed, f"the rescaled run is not {by} times the plain one")


@law(
    "scale/gradient-scale-cancels-with-rate",
    formerly="P8/linear",
    varies=("lr",),
    rules=["sgdp", "sgd", "fsgdm"],
    where={"weight_decay": 0.0, **GUARDLESS},
    gradients=GRADIENT_KINDS,
)
def test_gradients_and_rate_cancel(target: Target, problem: Problem) -> None:
    """SGDP, SGD and FSGDM without decay: gradients times c with lr / c change nothing, the projections included."""
    rescaled = _rescaled(problem, params=1.0, gradients=1024.0, lr=1 / 1024, weight_decay=1.0)
    _assert_scales(target, problem, rescaled, by=1.0)


@law(
    "scale/gradient-scale-does-not-matter",
    formerly="P8/normalised",
    rules=["adamp", "adamw"],
    where=GUARDLESS,
    gradients=GRADIENT_KINDS,
)
def test_gradient_scale_does_not_matter(target: Target, problem: Problem) -> None:
    """AdamP and AdamW: gradients times c change nothing, up to eps."""
    rescaled = _rescaled(problem, params=1.0, gradients=1024.0, lr=1.0, weight_decay=1.0)
    _assert_scales(target, problem, rescaled, by=1.0)


@law(
    "scale/effective-rate-is-rate-over-squared-norm",
    formerly="P9",
    varies=("lr",),
    rules=["sgdp"],
    where={"weight_decay": 0.0, **GUARDLESS},
    gradients=GRADIENT_KINDS,
)
def test_effective_rate_is_rate_over_squared_norm(target: Target, problem: Problem) -> None:
    """(c w, g / c, c^2 lr) gives c times the trajectory: on scale-invariant weights lr acts as lr / |w|^2."""
    c = 3.7
    rescaled = _rescaled(problem, params=c, gradients=1 / c, lr=c * c, weight_decay=1.0)
    _assert_scales(target, problem, rescaled, by=c)


@law(
    "scale/projection-ignores-weight-scale",
    formerly="P14",
    varies=("lr", "weight_decay"),
    rules=["adamp", "sgdp"],
    where=GUARDLESS,
    gradients=GRADIENT_KINDS,
)
def test_the_test_of_scale_invariance_is_homogeneous(target: Target, problem: Problem) -> None:
    """Scaling all of w by c leaves every projection decision alone: (c w, g, c lr, decay / c) gives c times all."""
    c = 5.3
    rescaled = _rescaled(problem, params=c, gradients=1.0, lr=c, weight_decay=1 / c)
    _assert_scales(target, problem, rescaled, by=c)
