"""Checks of the published rule: trajectories on problems drawn from every regime."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from stepgauge.properties.gauge.check import Finding, NotApplicable, check
from stepgauge.properties.gauge.examination import LONG_STEPS, Examination
from stepgauge.properties.gauge.judge import judge
from stepgauge.properties.gauge.problem import Problem, Settings
from stepgauge.properties.gauge.recipe import LONG, expand
from stepgauge.properties.gauge.target import Target, UsageError


def _judged(exam: Examination, problems: Sequence[Problem], dtype: str, target: Target | None = None) -> Finding:
    return Finding(outcomes=[judge(target or exam.target, problem, dtype, exam.dialects) for problem in problems])


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
    try:
        problems = exam.problems(2, fixed=fixed, only={"random", "mixed", "rows", "tiny"})
    except UsageError as error:
        raise NotApplicable("its defaults are hyperparameters that the rule does not allow") from error
    return _judged(exam, problems, "float64", target)


@check("trajectory/long", "trajectory")
def long(exam: Examination) -> Finding:
    """Over many steps, with everything on, and fewer with the options off, nothing is reset, saturates or overflows."""
    problems = [_lengthened(exam, options) for options in (True, False)]
    outcomes = [o for dtype in ("float64", "float32") for o in _judged(exam, problems, dtype).outcomes]
    return Finding(outcomes=outcomes)


def _lengthened(exam: Examination, options: bool) -> Problem:
    """A long problem on a matrix and a scalar, or a layer and a scalar."""
    steps = LONG_STEPS[exam.options.level] if options else max(LONG_STEPS[exam.options.level] // 4, LONG + 10)
    (recipe,) = exam.recipes(1, only={"random"}, fixed=exam.lively(options=options))
    lengthened = replace(
        recipe,
        layers=recipe.layers[:1],
        shapes=((),) if recipe.layers else ((2, 3), ()),
        gradients=("random", "row-orthogonal", "uneven"),
        steps=steps // (4 if recipe.layers else 1),  # theirs take ten times as long
    )
    settings = Settings(recipe.groups[0].hyperparameters, tuple(range(len(lengthened.all_shapes))))
    return expand(replace(lengthened, groups=(settings,)))
