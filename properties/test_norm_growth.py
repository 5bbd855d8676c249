"""Momentum inflates scale-invariant weights: the law that AdamP and SGDP are an answer to."""

from functools import cache

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.reference import SGD, Array

LR, MOMENTUM, STEPS = 3 / 64, 13 / 16, 60  # which float32 has, as a target may keep hyperparameters in it


def _tangential_problem() -> Problem:
    """Gradients orthogonal to the weights of each step, as on a scale-invariant loss; orthogonal in float64."""
    rng = np.random.default_rng(0)
    rule = SGD(lr=LR, momentum=MOMENTUM)
    start = rng.standard_normal(12)
    p: Array = start
    s, recorded = rule.init(start), []
    for _ in range(STEPS):
        g = rng.standard_normal(12)
        g = g - p * (g @ p) / (p @ p)
        recorded.append([g])
        p, s = rule.step(p, g, s)
    return Problem("sgd", (ParameterGroup(HYPERPARAMETERS, (0,)),), [start], recorded)


HYPERPARAMETERS = {"lr": LR, "momentum": MOMENTUM, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}


@law("growth/squared-norms-add-up", formerly="P5", rules=["sgd"], where=HYPERPARAMETERS, gradients=None)
def test_squared_norm_grows_by_all_past_momenta(target: Target) -> None:
    """Under momentum b: |w_{t+1}|^2 = |w_t|^2 + lr^2 |p_t|^2 + 2 lr^2 sum_{k<t} b^(t-k) |p_k|^2."""
    problem = _tangential_problem()
    weights = with_start(problem, target.run(problem))
    squares = np.sum(weights**2, axis=1)
    momenta = np.sum(np.diff(weights, axis=0) ** 2, axis=1)  # lr^2 |p_t|^2
    tails = [sum(MOMENTUM ** (t - k) * momenta[k] for k in range(t)) for t in range(STEPS)]
    expected = squares[:-1] + momenta + 2 * np.array(tails)
    # Each step rounds w by u |w|, which the squared norm doubles; the errors of the momenta add over their memory.
    allowed = 2.0**-53 * squares[1:] * 16 / (1 - MOMENTUM) * np.sqrt(np.arange(1, STEPS + 1))
    within(squares[1:], expected, allowed, "the squared norm grows otherwise")


LONG, RATIOS = 5000, {0.5: "3.00", 0.9: "18.96"}  # (1 + b) / (1 - b) is 3 and 19; at .9 a long run is yet short of it


@cache
def _steady_problem(momentum: float) -> Problem:
    """Gradients orthogonal to the weights of each step, of such lengths that all momenta have norm 1."""
    rng = np.random.default_rng(1)
    rule = SGD(lr=LR, momentum=momentum)
    start: Array = rng.standard_normal(12)
    p, past, s, recorded = start, np.zeros(12), rule.init(start), []
    for _ in range(LONG):
        across = rng.standard_normal(12)
        across = across - p * (across @ p) / (p @ p)
        across = across / np.linalg.norm(across)
        inherited = momentum * past
        along = inherited @ across
        # The positive root x of |inherited + x across| = 1.
        g = across * (np.sqrt(along**2 + 1 - inherited @ inherited) - along)
        recorded.append([g])
        past = inherited + g
        p, s = rule.step(p, g, s)
    return Problem("sgd", (ParameterGroup({**HYPERPARAMETERS, "momentum": momentum}, (0,)),), [start], recorded)


def _growth(target: Target, momentum: float) -> tuple[float, float]:
    """By how much the squared norm grows, and how far rounding may move that."""
    problem = _steady_problem(momentum)
    squares = np.sum(with_start(problem, target.run(problem)) ** 2, axis=1)
    # As in the law above: each step moves the squared norm by a few u of itself, over the memory of the momentum.
    return float(squares[-1] - squares[0]), float(2.0**-53 * squares[-1] * 16 / (1 - momentum) * LONG**0.5)


@law(
    "growth/momentum-multiplies-growth",
    formerly="P6",
    varies=("momentum",),
    rules=["sgd"],
    where={**HYPERPARAMETERS, "momentum": 0.0},
    gradients=None,
)
def test_momentum_multiplies_the_growth(target: Target) -> None:
    """With momenta of one length b multiplies the growth by (1 + b) / (1 - b), after T steps up to 2 b / (1 - b)^2 / T.

    Exactly by 1 + 2 b / (1 - b) (1 - (1 - b^T) / (T (1 - b))): the squared norms added up, with all |p_t| equal.
    """
    plain, noise = _growth(target, 0.0)
    for momentum, rounded in RATIOS.items():
        b = float(np.float32(momentum))  # in which a target may keep it
        growth, more_noise = _growth(target, b)
        ratio = growth / plain
        expected = 1 + 2 * b / (1 - b) * (1 - (1 - b**LONG) / (LONG * (1 - b)))
        allowed = (more_noise + ratio * noise) / plain
        within(np.array(ratio), np.array(expected), np.array(allowed), f"momentum {b} multiplies the growth otherwise")
        if f"{ratio:.2f}" != rounded:
            raise Failed(f"momentum {b} multiplies the growth by {ratio:.2f}, not by {rounded}")
