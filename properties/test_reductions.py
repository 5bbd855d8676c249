"""Limits in which a rule is another rule."""

import numpy as np

from stepgauge.properties.gauge.checks.law import law, within
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import SGD, AdamW, Array, Group, init, step


def _shared(problem: Problem, record: type[AdamW] | type[SGD]) -> list[Group]:
    """The groups of the problem under another rule, with the hyperparameters that both have."""
    names = record.hyperparameter_names()
    return [Group(record(**{n: v for n, v in h.items() if n in names}), members) for h, members in problem.groups]


@law(
    "reduction/adamp-that-never-projects-is-adamw",
    formerly="P1",
    rules=["adamp"],
    where={"delta": 0.0, "nesterov": False},
)
def test_adamp_that_never_projects_is_adamw(target: Target, problem: Problem) -> None:
    """AdamP with delta <= 0 is AdamW, under any decay."""
    expected = reference_trajectory(problem, _shared(problem, AdamW))
    within(target.run(problem), expected, 2 * allowance(problem), "AdamP with delta 0 leaves AdamW")


@law(
    "reduction/sgdp-that-never-projects-is-sgd",
    formerly="P2",
    rules=["sgdp"],
    where={"delta": 0.0, "weight_decay": 0.0, "dampening": 0.0, "momentum": 0.82},
)
def test_sgdp_that_never_projects_is_sgd(target: Target, problem: Problem) -> None:
    """SGDP with delta <= 0, without decay and dampening, is SGD with momentum, with Nesterov's too."""
    expected = reference_trajectory(problem, _shared(problem, SGD))
    within(target.run(problem), expected, 2 * allowance(problem), "SGDP with delta 0 leaves SGD")


@law(
    "reduction/sgdp-decays-by-the-reach-of-momentum",
    formerly="P2/decay",
    rules=["sgdp"],
    where={"delta": 0.0, "dampening": 0.0, "momentum": 0.47, "weight_decay": 0.35},
)
def test_sgdp_that_never_projects_decays_by_the_reach_of_momentum(target: Target, problem: Problem) -> None:
    """With decay it is SGD on parameters that shrink by lr * weight_decay / (1 - momentum) before each step."""
    groups = _shared(problem, SGD)
    plain = [Group(rule.but(weight_decay=0.0), members) for rule, members in groups]
    params, states = list(problem.initial), init(plain, problem.initial)
    rows = []
    for grads in problem.gradients:
        for rule, members in groups:
            assert isinstance(rule, SGD)
            for i in members:
                params[i] = (1 - rule.lr * rule.weight_decay / (1 - rule.momentum)) * params[i]
        params, states = step(plain, params, grads, states, maximize=problem.maximize)
        rows.append(np.concatenate([p.ravel() for p in params]))
    within(target.run(problem), np.array(rows), 2 * allowance(problem), "SGDP with delta 0 decays otherwise")


@law(
    "reduction/vectors-are-never-projected",
    formerly="P3",
    rules=["adamp"],
    where={"nesterov": False, "delta": 40.0},
    shapes=((5,), (1,), (7,), ()),
)
def test_vectors_are_never_projected(target: Target, problem: Problem) -> None:
    """On vectors and scalars AdamP is AdamW, whatever delta is."""
    expected = reference_trajectory(problem, _shared(problem, AdamW))
    within(target.run(problem), expected, 2 * allowance(problem), "AdamP projects a vector")


@law(
    "reduction/first-stage-is-sgd",
    formerly="F1",
    rules=["fsgdm"],
    where={"n_stages": 1, "sigma": 500, "v_coefficient": 1.0},
)
def test_first_stage_is_plain_gradient_descent(target: Target, problem: Problem) -> None:
    """In the first stage the pole is 0: with v = 1, FSGDM is SGD without momentum, decay included."""
    expected = reference_trajectory(problem, _shared(problem, SGD))
    within(target.run(problem), expected, 2 * allowance(problem), "FSGDM in its first stage leaves SGD")


@law(
    "reduction/stage-is-heavy-ball",
    formerly="F2",
    rules=["fsgdm"],
    where={"n_stages": 3, "sigma": 9, "v_coefficient": 1.0, "c_scaling": 0.15},
)
def test_a_stage_is_heavy_ball(target: Target, problem: Problem) -> None:
    """With v = 1 it is SGD whose momentum is set to k / (k + c N) in each stage of Sigma / N = 3 steps."""
    groups = _shared(problem, SGD)
    params, states = list(problem.initial), init(groups, problem.initial)
    rows: list[Array] = []
    for t, grads in enumerate(problem.gradients, start=1):
        k = t // 3
        # SGD keeps no buffer at momentum 0; at 1e-300 it does, and computes the same.
        now = [Group(rule.but(momentum=max(k / (k + 0.15 * 3), 1e-300)), members) for rule, members in groups]
        params, states = step(now, params, grads, states, maximize=problem.maximize)
        rows.append(np.concatenate([p.ravel() for p in params]))
    within(target.run(problem), np.array(rows), 2 * allowance(problem), "FSGDM leaves SGD with its momentum")
