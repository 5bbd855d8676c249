"""The laws of the critical-gradient rules; `test_critical_buffer.py` looks at what is stored."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.law import NEGLIGIBLE, law, within
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import RULES, Array, Group

CRITICAL = ("sgd_c", "rmsprop_c", "adam_c", "adamw_c")


def _vanilla(problem: Problem) -> Array:
    """The base rule on the same problem."""
    base = RULES[problem.rule.removesuffix("_c")]
    names = base.hyperparameter_names()
    groups = [Group(base(**{n: h[n] for n in names}), members) for h, members in problem.groups]
    return reference_trajectory(problem, groups)


@law(
    "critical/kappa-of-0-is-the-base-rule",
    formerly="C6/kappa",
    rules=CRITICAL,
    dialects=("published",),
    where={"kappa": 0.0},
)
def test_without_weight_the_buffer_is_passed_by(target: Target, problem: Problem) -> None:
    """With kappa = 0 the rule is its base, momentum included."""
    within(target.run(problem), _vanilla(problem), 2 * allowance(problem), "kappa = 0 leaves the base rule")


@law(
    "critical/mean-of-equal-gradients-is-the-gradient",
    formerly="C6/constant",
    rules=CRITICAL,
    dialects=("published", "released"),
    where={"kappa": 1.0, "aggr": "mean", "weight_decay": 0.0},
    gradients=("random",),
)
def test_mean_of_equal_gradients_is_the_gradient(target: Target, problem: Problem) -> None:
    """Under a constant gradient, aggregation by the mean changes nothing."""
    constant = replace(problem, gradients=[problem.gradients[0]] * len(problem.gradients), recipe=None)
    within(target.run(constant), _vanilla(constant), 2 * allowance(constant), "the mean of equal gradients is another")


@law(
    "critical/gradient-scale-cancels-with-rate",
    formerly="C7/linear",
    varies=("lr",),
    rules=["sgd_c"],
    where={"weight_decay": 0.0},
    gradients=("random", "uneven"),
)
def test_scale_of_the_gradients_scales_the_steps(target: Target, problem: Problem) -> None:
    """SGD_C is linear: gradients times c with lr / c change nothing, what is stored included."""
    slower = problem.with_hyperparameters(lr=problem.groups[0].hyperparameters["lr"] / 64)
    rescaled = slower.scaled(gradients=64.0)
    within(target.run(rescaled), target.run(problem), allowance(problem) + allowance(rescaled), "scale matters")


@law(
    "critical/gradient-scale-does-not-matter",
    formerly="C7/normalised",
    rules=["adam_c"],
    where={"weight_decay": 0.0, "eps": NEGLIGIBLE},
    gradients=("random", "uneven"),
)
def test_scale_of_the_gradients_does_not_matter(target: Target, problem: Problem) -> None:
    """Adam_C does not see the scale of the gradients, up to eps."""
    rescaled = problem.scaled(gradients=64.0)
    within(target.run(rescaled), target.run(problem), allowance(problem) + allowance(rescaled), "scale matters")


@law(
    "critical/order-of-parameters-does-not-matter",
    formerly="C8",
    rules=CRITICAL,
    where={"synced": True},
    gradients=("random", "uneven"),
)
def test_order_of_parameters_does_not_matter(target: Target, problem: Problem) -> None:
    """Synced keys depend on all parameters of the group, in whatever order."""
    backwards = replace(
        problem,
        groups=(ParameterGroup(problem.groups[0].hyperparameters, tuple(range(len(problem.initial)))),),
        initial=list(problem.initial)[::-1],
        gradients=[list(grads)[::-1] for grads in problem.gradients],
        recipe=None,
    )
    cuts = np.cumsum([p.size for p in backwards.initial])[:-1]
    again = np.concatenate(np.split(target.run(backwards), cuts, axis=1)[::-1], axis=1)
    within(again, target.run(problem), 2 * allowance(problem), "the order of the parameters matters")
