"""FSGDM is a linear filter whose response depends on when it is asked."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import Array

STAGES, LENGTH, C, V = 4, 3, 0.15, 0.7  # Sigma is a multiple of N, so that both dialects have the same stages
SETTINGS = {
    "lr": 1.0,
    "weight_decay": 0.0,
    "c_scaling": C,
    "v_coefficient": V,
    "n_stages": STAGES,
    "sigma": STAGES * LENGTH,
}
STEPS = 2 * STAGES * LENGTH  # twice Sigma: stages go on after it


def _combined(a: float, first: Problem, b: float, second: Problem) -> Problem:
    """The problem whose parameters and gradients are a times those of one and b times those of another."""
    initial = [a * x + b * y for x, y in zip(first.initial, second.initial, strict=True)]
    gradients = [
        [a * x + b * y for x, y in zip(xs, ys, strict=True) if x is not None and y is not None]
        for xs, ys in zip(first.gradients, second.gradients, strict=True)
    ]
    return replace(first, initial=initial, gradients=gradients, recipe=None)


@law("filter/superposes", formerly="F6/superposition", rules=["fsgdm"], gradients=("random", "sparse", "uneven"))
def test_trajectories_superpose(target: Target, problem: Problem) -> None:
    """(a p + b q, a g + b h) gives a times the trajectory of (p, g) and b times that of (q, h), under any decay."""
    a, b = 0.75, -1.25
    other = replace(
        problem, initial=[np.flip(p) for p in problem.initial], gradients=problem.gradients[::-1], recipe=None
    )
    both = _combined(a, problem, b, other)
    expected = a * target.run(problem) + b * target.run(other)
    allowed = a * allowance(problem) + abs(b) * allowance(other) + allowance(both)
    within(target.run(both), expected, allowed, "the trajectory of a sum is not the sum of the trajectories")


@law(
    "filter/powers-of-two-are-exact",
    formerly="F6/power of two",
    rules=["fsgdm"],
    gradients=("random", "sparse", "uneven"),
)
def test_powers_of_two_pass_bit_for_bit(target: Target, problem: Problem) -> None:
    """Parameters and gradients times 2^k give 2^k times the trajectory, bit for bit, under any decay."""
    for k in (-30, 1, 17):
        scale = 2.0**k
        scaled = problem.scaled(params=scale, gradients=scale)
        # No operation of the rule rounds otherwise at another exponent.
        expected = scale * target.run(problem)
        within(target.run(scaled), expected, np.zeros_like(expected), f"2^{k} does not pass exactly")


def _impulses() -> Problem:
    """From zero parameters, coordinate s has the gradient 1 in step s and 0 elsewhere."""
    return Problem("fsgdm", (ParameterGroup(SETTINGS, (0,)),), [np.zeros(STEPS)], [[g] for g in np.eye(STEPS)])


def _poles() -> Array:
    """u_t for t = 1, 2, ..., from the closed form."""
    k = np.arange(1, STEPS + 1) // LENGTH
    return k / (k + C * STAGES)


@law("filter/impulse-decays-by-the-poles", formerly="F8", rules=["fsgdm"], where=SETTINGS, gradients=None)
def test_impulse_response(target: Target) -> None:
    """An impulse in step s leaves the buffer v prod_{s < r <= t} u_r in step t; in step 1, released omits the v."""
    problem = _impulses()
    buffers = -np.diff(with_start(problem, target.run(problem)), axis=0)  # lr is 1
    poles = _poles()
    expected = np.array([[V * np.prod(poles[s + 1 : t + 1]) * (s <= t) for s in range(STEPS)] for t in range(STEPS)])
    if abs(buffers[0, 0] - 1) < abs(buffers[0, 0] - V):
        expected[:, 0] /= V
    within(buffers, expected, 2 * allowance(problem), "the response to an impulse is another")


@law("filter/is-not-shift-invariant", formerly="F6/time-varying", rules=["fsgdm"], where=SETTINGS, gradients=None)
def test_a_delayed_impulse_has_another_response(target: Target) -> None:
    """The filter is not shift invariant: delayed by a stage, an impulse decays more slowly."""
    problem = _impulses()
    trajectory, noise = target.run(problem), allowance(problem)
    early, late = (np.s_[LENGTH:-LENGTH, LENGTH], np.s_[2 * LENGTH :, 2 * LENGTH])
    if not np.any(np.abs(trajectory[late] - trajectory[early]) > noise[late] + noise[early]):
        raise Failed("a delayed impulse has the same response: the pole does not move")
