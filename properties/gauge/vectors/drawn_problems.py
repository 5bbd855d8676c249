"""The drawn problems of a level as vectors, so that a port in any language meets the examination of one in Python."""

from collections.abc import Iterator
from dataclasses import replace

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.gauge.vectors.format import Case, VectorError
from stepgauge.properties.gauge.vectors.saved_divergence import record_case
from stepgauge.reference import RULES


def drawn_cases(rule: str, dialect: str, dtype: str, options: Options) -> tuple[list[Case], int]:
    """The problems of a rule that `check` draws, with the reference and its allowance; and how many are left out.

    Those are left out on which rounding may do anything, since nothing is known there but that.

    Raises:
        UsageError: the options do not fit the rule.
    """
    cases, left_out = [], 0
    for name, problem in _problems(rule, options):
        try:
            case = record_case(problem, dialect, dtype, name)
        except VectorError:
            left_out += 1
        else:
            cases.append(replace(case, id=f"{rule}/{name}"))
    return cases, left_out


def _problems(rule: str, options: Options) -> Iterator[tuple[str, Problem]]:
    """The problems by name: of every focus, and as in training."""
    context = Context(RuleTarget(rule, RULES[rule], rule, {}), options)
    for k, problem in enumerate([*context.problems(), *context.training_problems()]):
        focus = problem.recipe.focus if problem.recipe else ""
        yield f"{k} {focus}", problem
