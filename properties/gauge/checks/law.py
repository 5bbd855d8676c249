"""Laws: what follows from a rule, checked on the target alone or against another rule.

A law is a function in one of the `properties/test_*.py` files. Decorated with `law` it is both a check of the gauge and
a pytest test over the project's own layers (or over --target). Its body gets the target and, where it draws, a problem;
it raises `Failed` through `within`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import wraps
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import worst_of
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import LAW_PROBLEMS, Options
from stepgauge.properties.gauge.checks.registry import Check
from stepgauge.properties.gauge.checks.registry import register as register_check
from stepgauge.properties.gauge.checks.results import NO_NUMBER, Failed, Finding, Inconclusive, NotApplicable
from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.problems.foci import DEEPER, MATRICES, Focus
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance as allowance  # for the laws, which compare with it
from stepgauge.properties.gauge.tolerance.envelope import envelopes
from stepgauge.reference import Array

Body = Callable[..., None]
NEGLIGIBLE = 1e-30  # an eps that is lost beside every norm and root: the rule as if it had no numerical guard


def law(
    id: str,  # noqa: A002  # the word of the report
    *,
    rules: Collection[str],
    dialects: tuple[str, ...] = (),
    where: Mapping[str, Any] | None = None,
    varies: Collection[str] = (),
    gradients: tuple[str, ...] | None = (),
    shapes: tuple[tuple[int, ...], ...] | None = None,
    formerly: str = "",
) -> Callable[[Body], Callable[[Target], None]]:
    """Make a check and a test of a law.

    Args:
        id: as it is reported, after "law/": what is asked, in words.
        rules: the rules that obey it.
        dialects: the dialects in which they do; all if empty.
        where: hyperparameters that it presupposes; a target that cannot be set to them is not asked.
        varies: hyperparameters that it sets itself; a target that does not offer them is not asked.
        gradients: the kinds of gradients to draw; all kinds if empty; no problem is drawn if None.
        shapes: the shapes to draw from, if not matrices and deeper tensors.
        formerly: an id that it had.
    """

    def made(body: Body) -> Callable[[Target], None]:
        @wraps(body)
        def run(context: Context) -> Finding | None:
            if context.dtype != "float64":
                raise NotApplicable(f"asked in float64 alone, and the target is compared in {context.dtype}")
            _require(context, where or {}, varies)
            try:
                if gradients is None:
                    _ask(body, context.target)
                    return None
                decided = list(_decided(context, where or {}, gradients, shapes))
                for problem in decided:
                    _ask(body, context.target, problem)
            except TargetError as error:  # a law may ask for values that no other check does
                raise NotApplicable(str(error)) from error
            if not decided:
                raise Inconclusive("rounding sways a decision in every problem drawn")
            return Finding(message=f"{len(decided)} problems")

        def test(target: Target) -> None:
            import pytest  # only where this runs as a test

            try:
                run(Context(target, Options(level="standard")))
            except (NotApplicable, Inconclusive) as reason:  # as `conformance_checks` and the report have it
                pytest.skip(str(reason))

        test.__doc__, test.__name__, test.__module__ = body.__doc__, body.__name__, body.__module__
        test.rules = tuple(rules)  # type: ignore[attr-defined]  # read by the pytest plugin
        former = f"law/{formerly}" if formerly else ""
        register_check(Check(f"law/{id}", run, lambda target: target.rule in rules, dialects, tuple(rules), former))
        return test

    return made


def _ask(body: Body, *arguments: Any) -> None:
    with np.errstate(all="ignore"):  # where a wrong target overflows, the law judges infinities and NaN, too
        body(*arguments)


def _require(context: Context, where: Mapping[str, Any], varies: Collection[str]) -> None:
    """Only a target that can be set as the law presupposes, and is not set otherwise, is asked."""
    for name, value in where.items():
        if name in context.fixed and context.fixed[name] != value:
            raise NotApplicable(f"{name} is {context.fixed[name]} here; the law is about {name}={value}")
    for name in varies:
        if name in context.target.record.hyperparameter_names() and name not in context.target.offers:
            raise NotApplicable(f"{name} cannot be set here; the law varies it")


def _decided(
    context: Context, where: Mapping[str, Any], gradients: tuple[str, ...], shapes: tuple[tuple[int, ...], ...] | None
) -> Iterator[Problem]:
    """Problems under the law's presuppositions in which rounding sways no decision."""
    focus = Focus(gradients, shapes=shapes or MATRICES + DEEPER)
    applicable = {name: value for name, value in where.items() if name in context.target.record.hyperparameter_names()}
    for problem in context.problems(LAW_PROBLEMS[context.options.level], fixed=applicable, foci={"law": focus}):
        if len(envelopes(problem, context.target.record.dialects[0], "float64")) == 1:
            yield problem


def within(got: Array, expected: Array, allowed: Array, what: str) -> None:
    """Demand that two arrays agree to within `allowed`, elementwise.

    Raises:
        Failed: saying what is apart, by how much, and how much is allowed; or that what was got is not finite, which
            agrees with nothing: what is expected and allowed is often derived from the same run.
    """
    if not np.all(np.isfinite(got)):
        raise Failed(f"{what}: it {NO_NUMBER}" if np.all(np.isfinite(expected)) else NO_NUMBER, float("nan"))
    worst = worst_of(np.asarray(got), np.asarray(expected), np.asarray(allowed))
    if not worst.share <= 1:
        raise Failed(f"{what}: {worst.error:.3g} apart, {worst.allowed:.3g} allowed", worst.error, worst.allowed)


def rows_of(problem: Problem, trajectory: Array, *, by_layer: bool = False) -> list[Array]:
    """A trajectory cut into the rows that a projection sees: arrays of shape (steps, columns)."""
    rows, start = [], 0
    for p in problem.initial:
        columns = p.size if by_layer or p.ndim < 2 else p.size // p.shape[0]
        rows += [trajectory[:, k : k + columns] for k in range(start, start + p.size, columns)]
        start += p.size
    return rows


def with_start(problem: Problem, trajectory: Array) -> Array:
    """The trajectory with the initial parameters before it, shape (steps + 1, size)."""
    start: Array = np.concatenate([p.ravel() for p in problem.initial])
    return np.vstack([start, trajectory])
