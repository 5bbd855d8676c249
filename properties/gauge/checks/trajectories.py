"""Checks of the published rule: trajectories on problems drawn from every regime."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from stepgauge.properties.gauge.checks.comparison import compare
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import LONG_STEPS
from stepgauge.properties.gauge.checks.registry import check
from stepgauge.properties.gauge.checks.results import Finding, NotApplicable
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.problems.regimes import LONG
from stepgauge.properties.gauge.targets.base import Target


def _compare(context: Context, problems: Sequence[Problem], dtype: str, target: Target | None = None) -> Finding:
    return Finding(
        outcomes=[compare(target or context.target, problem, dtype, context.dialects) for problem in problems]
    )


@check("trajectory/float64")
def float64(context: Context) -> Finding:
    """In float64, the parameters follow the rule on problems from every regime. This decides."""
    return _compare(context, context.problems(), "float64")


@check("trajectory/float32")
def float32(context: Context) -> Finding:
    """In float32, the parameters follow the rule within float32's own rounding."""
    return _compare(context, context.problems(), "float32")


@check("trajectory/defaults")
def defaults(context: Context) -> Finding:
    """With its own defaults the target follows the rule: nothing is set but what has no default."""
    target = copy(context.target)
    target.offers = frozenset(n for n in target.offers if n not in target.defaults or n in context.options.set)
    fixed = {**context.target.defaults, **context.fixed}
    try:
        problems = context.problems(2, fixed=fixed, only={"random", "mixed", "rows", "tiny"})
    except UsageError as error:
        raise NotApplicable("its defaults are hyperparameters that the rule does not allow") from error
    return _compare(context, problems, "float64", target)


@check("trajectory/long")
def long(context: Context) -> Finding:
    """Over many steps, with everything on, and fewer with the options off, nothing is reset, saturates or overflows."""
    problems = [_lengthened(context, options) for options in (True, False)]
    outcomes = [o for dtype in ("float64", "float32") for o in _compare(context, problems, dtype).outcomes]
    return Finding(outcomes=outcomes)


def _lengthened(context: Context, options: bool) -> Problem:
    """A long problem on a matrix and a scalar, or a layer and a scalar."""
    steps = LONG_STEPS[context.options.level] if options else max(LONG_STEPS[context.options.level] // 4, LONG + 10)
    (recipe,) = context.recipes(1, only={"random"}, fixed=context.lively(options=options))
    lengthened = replace(
        recipe,
        layers=recipe.layers[:1],
        shapes=((),) if recipe.layers else ((2, 3), ()),
        gradients=("random", "row-orthogonal", "uneven"),
        steps=steps // (4 if recipe.layers else 1),  # theirs take ten times as long
    )
    settings = ParameterGroup(recipe.groups[0].hyperparameters, tuple(range(len(lengthened.all_shapes))))
    return expand(replace(lengthened, groups=(settings,)))
