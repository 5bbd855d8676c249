"""Checks of the published rule: trajectories on problems drawn from every regime."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from stepgauge.properties.gauge.check import Finding, check
from stepgauge.properties.gauge.examination import LONG_STEPS, Examination
from stepgauge.properties.gauge.judge import Outcome, judge
from stepgauge.properties.gauge.problem import Problem, Settings, expand
from stepgauge.properties.gauge.target import Target


def _judged(exam: Examination, problems: Sequence[Problem], dtype: str, target: Target | None = None) -> Finding:
    outcomes = [judge(target or exam.target, problem, dtype, exam.dialects) for problem in problems]
    return Finding(outcomes=[o for o in outcomes if not _refuses_absent_gradients(o)])


def _refuses_absent_gradients(outcome: Outcome) -> bool:
    """Whether the target raised where a gradient was absent: a convention, checked as such, and no wrong number."""
    absent = any(g is None for grads in outcome.problem.gradients for g in grads)
    return outcome.failure is not None and absent


@check("trajectory/float64", "trajectory")
def float64(exam: Examination) -> Finding:
    """In float64, the parameters follow the rule on problems from every regime. This decides."""
    return _judged(exam, exam.problems(), "float64")


@check("trajectory/float32", "trajectory")
def float32(exam: Examination) -> Finding:
    """In float32, the parameters follow the rule within float32's own rounding."""
    return _judged(exam, exam.problems(), "float32")


@check("trajectory/defaults", "trajectory")
def defaults(exam: Examination) -> Finding:
    """With its own defaults the target follows the rule: nothing is set but what has no default."""
    target = copy(exam.target)
    target.offers = frozenset(n for n in target.offers if n not in target.defaults or n in exam.options.set)
    fixed = {**exam.target.defaults, **exam.fixed}
    problems = exam.problems(2, fixed=fixed, only={"random", "mixed", "rows", "tiny"})
    return _judged(exam, problems, "float64", target)


@check("trajectory/long", "trajectory")
def long(exam: Examination) -> Finding:
    """Over hundreds of steps nothing is reset, saturates or overflows."""
    steps = LONG_STEPS[exam.options.level]
    problems = [
        expand(
            replace(
                recipe,
                groups=(Settings(recipe.groups[0].hyperparameters, (0, 1)),),
                shapes=((2, 3), ()),
                gradients=("random", "row-orthogonal", "uneven"),
                steps=steps,
            )
        )
        for recipe in exam.recipes(1, only={"random"})
    ]
    return _judged(exam, problems, "float64")
