"""Checks of the published rule: trajectories on problems drawn from every regime."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, combinations

from stepgauge.properties.gauge.checks.comparison import Outcome, compare
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import LONG_STEPS, Level
from stepgauge.properties.gauge.checks.registry import check
from stepgauge.properties.gauge.checks.results import Finding, NotApplicable
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, ParameterGroup, Recipe, Shape
from stepgauge.properties.gauge.targets.base import PLAIN, Variant
from stepgauge.properties.gauge.tolerance.envelope import rounding_sways

# Vectors and matrices just beyond the numbers at which kernels are known to change, and pieces of them.
BEYOND = ((4099,), (65, 64))
FAR_BEYOND = ((257, 257),)  # no multiple of any block
PIECES = ((4095,), (1, 4096), (64, 64))
LARGE_SHAPES: Mapping[Level, Sequence[tuple[Shape, ...]]] = {
    "quick": [BEYOND],
    "standard": [BEYOND, PIECES, FAR_BEYOND],
    "deep": [BEYOND, PIECES, FAR_BEYOND],
}
DAMPED = {"dampening": 0.28}  # what goes with no nesterov
DRAWS = 3  # of a long problem, until there is one in which rounding sways no decision
SHORTER = 266  # with the options off: a counter in bfloat16 stops at 256, one in float16 at 2048
FORM_FOCI = (
    "random",
    "mixed",
    "late",
    "gaps",
    "groups",
    "rows",
    "full buffer",
)  # what other kernels do otherwise shows on a few
FORMS_IN_TRAINING = 2  # problems, one with switches on and one without


def _compare(context: Context, problems: Sequence[Problem], dtype: str, variant: Variant = PLAIN) -> Finding:
    target = context.target.varied(variant)
    return Finding(outcomes=[compare(target, problem, dtype, context.candidates) for problem in problems])


@check("trajectory/float64")
def float64(context: Context) -> Finding:
    """In float64, the parameters follow the rule on problems from every regime. This decides."""
    _require(context, "float64")
    return _compare(context, context.problems(), "float64")


@check("trajectory/float32")
def float32(context: Context) -> Finding:
    """In float32, the parameters follow the rule within float32's own rounding."""
    _require(context, "float64", "float32")
    return _compare(context, context.problems(), "float32")


@check("trajectory/bfloat16")
def bfloat16(context: Context) -> Finding:
    """In bfloat16, if that is asked for or all that it steps, the target follows the rule within its rounding."""
    _require(context, "bfloat16")
    return _compare(context, context.problems(), "bfloat16")


def _require(context: Context, *dtypes: str) -> None:
    if context.dtype not in dtypes:
        raise NotApplicable(f"compared in {context.dtype}")


@check("trajectory/defaults")
def defaults(context: Context) -> Finding:
    """With its own defaults the target follows the rule: nothing is set but what has no default, or all but one."""
    kept = {n: v for n, v in context.target.defaults.items() if n not in context.options.set}
    try:
        problems = context.problems(2, fixed={**kept, **context.fixed}, only={"random", "mixed", "rows", "tiny"})
    except UsageError as error:
        raise NotApplicable("its defaults are hyperparameters that the rule does not allow") from error
    outcomes = [*_compare(context, problems, context.dtype, Variant(left_out=tuple(kept))).outcomes]
    for left_out in _left_out(context, kept):
        outcomes += _without(context, {name: kept[name] for name in left_out})
    return Finding(outcomes=outcomes)


def _left_out(context: Context, kept: Collection[str]) -> Iterator[tuple[str, ...]]:
    """What is not given while all else is: each, and each pair with one whose default may depend on the other."""
    yield from combinations(kept, 1)
    yield from (pair for pair in combinations(kept, 2) if context.target.tied.intersection(pair))


def _without(context: Context, kept: Hyperparameters) -> Iterator[Outcome]:
    """What comes of leaving some at their defaults, which may depend on what else is given: switches off, and on."""
    for options in (False, True):
        others = {**context.lively(options=options), **kept, **context.fixed}
        with suppress(UsageError):  # they may go with no other values
            problems = context.problems(1, fixed=others, only={"random"})
            yield from _compare(context, problems, context.dtype, Variant(left_out=tuple(kept))).outcomes


@check("trajectory/training")
def training(context: Context) -> Finding:
    """As in training, it follows the rule: schedulers move hyperparameters, lr is 0 at first or in between,
    and gradients arrive in the memory of those before.
    """
    return _compare(context, context.training_problems(), context.dtype)


@check("trajectory/large")
def large(context: Context) -> Finding:
    """Beyond 4096 and 65,536 elements, where kernels change, it follows the rule, and so it does on pieces of those."""
    if context.target.record.sees_layers:
        raise NotApplicable("layers of that size are beyond the reference")
    problems = []
    for settings in (context.lively(options=True), {**context.lively(options=False), **context.free(DAMPED)}):
        (recipe,) = context.recipes(1, only={"random"}, fixed=settings)
        few = replace(recipe, gradients=("random", "uneven"), steps=3)
        for shapes in LARGE_SHAPES[context.options.level]:
            whole = ParameterGroup(recipe.groups[0].hyperparameters, tuple(range(len(shapes))))
            problems.append(context.expanded(replace(few, groups=(whole,), shapes=shapes)))
    return _compare(context, problems, context.dtype)


@check("trajectory/forms")
def forms(context: Context) -> Finding:
    """In every form that it offers (foreach, fused, capturable, differentiable) it follows the rule."""
    offered = [(form, value) for form in context.target.forms for value in (True, False)]
    if not offered:
        raise NotApplicable("offers no other form")
    problems = [*context.problems(1, only=FORM_FOCI), *context.training_problems(count=FORMS_IN_TRAINING)]
    problems += _alike(context)
    outcomes: list[Outcome] = []
    for form, value in offered:
        compared = _compare(context, problems, context.dtype, Variant((form, value))).outcomes
        outcomes += [_in_form(outcome, f"{form}={value}") for outcome in compared]
    return Finding(outcomes=outcomes)


def _alike(context: Context) -> Iterator[Problem]:
    """Problems over parameters that only their places tell apart, some of which have no gradient."""
    for recipe in context.recipes(1, only={"gaps"}):
        yield context.expanded(replace(recipe, shapes=recipe.shapes[:1] * len(recipe.shapes)))


def _in_form(outcome: Outcome, form: str) -> Outcome:
    """An outcome in another form, which a target may refuse: also in a step, as torch does on the wrong device."""
    refusal = outcome.failure or outcome.refusal
    refusal = None if refusal is None else f"with {form}: {refusal}"
    return replace(outcome, regimes=outcome.regimes | {form}, failure=None, refusal=refusal)


@check("trajectory/long")
def long(context: Context) -> Finding:
    """Over many steps, with everything on, and fewer with the options off, nothing is reset, saturates or overflows."""
    problems = [_lengthened(context, options) for options in (True, False)]
    dtypes = ("float64", "float32") if context.dtype == "float64" else (context.dtype,)
    outcomes = [o for dtype in dtypes for o in _compare(context, problems, dtype).outcomes]
    return Finding(outcomes=outcomes)


def _lengthened(context: Context, options: bool) -> Problem:
    """A long problem on a matrix and a scalar, or a layer and a scalar, in which rounding sways no decision.

    If it does in every draw, the first: then what rounding may lead to is accepted in float32.
    """
    steps = LONG_STEPS[context.options.level] if options else SHORTER
    recipes = context.recipes(DRAWS, only={"random"}, fixed=context.lively(options=options))
    published = context.target.record.dialects[0]  # by which it is chosen, so that all targets get the same
    drawn = (_over_steps(context, recipe, steps) for recipe in recipes)
    first = next(drawn)
    return next((p for p in chain([first], drawn) if not rounding_sways(p, published, "float32")), first)


def _over_steps(context: Context, recipe: Recipe, steps: int) -> Problem:
    """Its first parameters over so many steps."""
    lengthened = replace(
        recipe,
        layers=recipe.layers[:1],
        shapes=(context.single,) if recipe.layers else ((2, 3), context.single),
        gradients=("random", "row-orthogonal", "uneven"),
        steps=steps // (4 if recipe.layers else 1),  # theirs take ten times as long
    )
    settings = ParameterGroup(recipe.groups[0].hyperparameters, tuple(range(len(lengthened.all_shapes))))
    return context.expanded(replace(lengthened, groups=(settings,)))
