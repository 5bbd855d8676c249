"""Momentum inflates scale-invariant weights: the law that AdamP and SGDP are an answer to (P5)."""

import numpy as np

from stepgauge.properties.gauge.law import law, with_start, within
from stepgauge.properties.gauge.problem import Problem, Settings
from stepgauge.properties.gauge.target import Target
from stepgauge.reference import SGD, Array

LR, MOMENTUM, STEPS = 0.05, 0.82, 60


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
    return Problem("sgd", (Settings(HYPERPARAMETERS, (0,)),), [start], recorded)


HYPERPARAMETERS = {"lr": LR, "momentum": MOMENTUM, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}


@law("P5", rules=["sgd"], where=HYPERPARAMETERS, gradients=None)
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
