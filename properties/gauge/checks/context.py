"""The context of a check: one target, and what its checks share."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

from stepgauge.properties.gauge.checks.options import PROBLEMS, TRAINING_PROBLEMS, Options
from stepgauge.properties.gauge.checks.trials import ABSENT, LATE, OPTIONAL_LAYERS, SCALARS, Trials
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Dtype, Problem, in_bfloat16
from stepgauge.properties.gauge.problems.recipe import (
    Hyperparameters,
    LayerRecipe,
    ParameterGroup,
    Recipe,
    Shape,
    in_float32,
)
from stepgauge.properties.gauge.problems.training import as_in_training, foci_of_training, movable
from stepgauge.properties.gauge.targets.base import Support, Target, Variant
from stepgauge.properties.gauge.targets.rules import require_settings
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import Array

Absent = Mapping[int, tuple[int, ...]]
NEVER: Absent = MappingProxyType({})
NOTHING: Hyperparameters = MappingProxyType({})
SHAPES: tuple[Shape, ...] = ((2, 3, 2, 2), (4, 3), (5,))  # a small bench: one parameter of each common dimension

PRECISIONS: tuple[Dtype, ...] = ("float64", "float32", "bfloat16")  # from the finest


class Context:
    """What the body of a check gets: a target, the options, problems, and what may be expected of it.

    Raises:
        UsageError: the options do not fit the target, see `_validate`.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self.target, self.options = target, options
        self._validate()
        self.target = target.in_dtype(self._precision())

    @property
    def dtype(self) -> Dtype:
        """The precision that decides."""
        return self.target.dtype

    def _precision(self) -> Dtype:
        """The precision that is asked for, else the finest that the target steps.

        Raises:
            UsageError: the target has no such precision.
        """
        asked = self.options.dtype
        if asked == "bfloat16" and Support.TORCH not in self.target.supports:
            raise UsageError(
                f"--dtype bfloat16: {self.target.name} steps arrays of NumPy, which has float32 and float64"
            )
        if asked:
            return asked
        steppable = (dtype for dtype in PRECISIONS if self._trials_of(self.target.in_dtype(dtype)).steps)
        return next(steppable, "float64")

    def _validate(self) -> None:
        """Refuse options that nobody can follow, or that ask for what the rule does not have.

        Raises:
            UsageError: see there.
        """
        if self.options.level not in PROBLEMS:
            raise UsageError(f"unknown level {self.options.level!r}: the levels are {', '.join(PROBLEMS)}")
        if not (isinstance(self.options.seed, int) and self.options.seed >= 0):
            raise UsageError(f"seed {self.options.seed!r} must be a whole number, at least 0")
        self._validate_settings()

    def _validate_settings(self) -> None:
        """Refuse settings that the rule does not have or allow.

        Raises:
            UsageError: --set or --dialect names something that the rule lacks, or a value out of range.
        """
        try:
            self.target.record.canonical_dialect("" if self.options.dialect == "auto" else self.options.dialect)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self._refuse_settings_of(self.target.pinned)
        require_settings(self.target.rule, {**self.target.pinned, **self.options.set})

    def _refuse_settings_of(self, keywords: Mapping[str, Any]) -> None:
        """Refuse to set what the target's own keywords give."""
        for name in self.options.set:
            if name in keywords:
                raise UsageError(f"--set {name}: the target's own keywords give it already")

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects to compare with: the one asked for, or all that the target's framework may have."""
        if self.options.dialect == "auto":
            return self.target.record.dialects if self.target.foreign else self.target.record.own_dialects()
        return (self.target.record.canonical_dialect(self.options.dialect),)

    @cached_property
    def left(self) -> tuple[str, ...]:
        """The dialects that the target has followed so far."""
        return self.dialects

    @property
    def candidates(self) -> tuple[str, ...]:
        """The dialects that a problem is still to be compared with: all again once the target has left each."""
        return self.left or self.dialects

    @cached_property
    def not_offered(self) -> tuple[str, ...]:
        return tuple(n for n in self.target.record.hyperparameter_names() if n not in self.target.offers)

    @cached_property
    def fixed(self) -> Hyperparameters:
        """The hyperparameters that are not drawn: set by the user, pinned in the target's keywords, or lacking there.

        Raises:
            TargetError: the target lacks one that has no default.
        """
        known = {**self.target.record.neutral(), **self.target.told, **self.target.pinned, **self.options.set}
        missing = [n for n in self.not_offered if n not in known]
        if missing:
            raise TargetError(f"does not offer {missing[0]}, which has no default; say --set {missing[0]}=VALUE")
        held = {name: self.trials.held(name) for name in self.refused if name in self.target.offers}
        return held | {n: known[n] for n in known if n in self.not_offered or n in self.options.set}

    @cached_property
    def trials(self) -> Trials:
        return self._trials_of(self.target)

    def _trials_of(self, target: Target) -> Trials:
        return Trials(target, {**target.pinned, **self.options.set})

    @property
    def refused(self) -> Mapping[str, str]:
        """What the target refuses of what is optional, and how; it is not asked for it."""
        return self.trials.refused

    @property
    def _narrow(self) -> tuple[str, ...]:
        """The hyperparameters that are given values which float32 has.

        In float32 all but lr: 1 - beta2 of a beta2 that was rounded is off by more than rounding may lead.
        """
        if self.dtype == "float32":
            return tuple(name for name in self.target.record.hyperparameter_names() if name != "lr")
        return self.rounded

    @cached_property
    def rounded(self) -> tuple[str, ...]:
        """The hyperparameters that the target rounds to float32, as it does by keeping them in such tensors."""
        if self.dtype != "float64":
            return ()
        names = (name for name in self.target.record.hyperparameter_names() if name not in self.fixed)
        return tuple(name for name in names if self.trials.rounds(name))

    def lively(self, *, options: bool) -> Hyperparameters:
        """Hyperparameters under which every part of the rule matters, its switches all on or all off.

        Of what the target lets us choose; a switch that does not go with the rest stays off.
        """
        record = self.target.record
        free = self.target.offers - self.options.set.keys() - self.refused.keys()
        names = [n for n in record.hyperparameter_names() if n in free]
        lively = {n: record.hyperparameter(n).lively for n in names}
        chosen = {n: value for n, value in lively.items() if value is not None}
        for name in names:
            if record.is_switch(name):
                chosen[name] = options and self._legal({**chosen, name: True})
        return chosen

    def free(self, chosen: Hyperparameters) -> Hyperparameters:
        """Those of some hyperparameters that can be chosen for this target."""
        return {n: v for n, v in chosen.items() if n in self.target.offers and n not in self.fixed}

    @cached_property
    def example(self) -> Hyperparameters:
        """Hyperparameters for the checks that need a single, lively setting."""
        (problem,) = self.problems(1, only={"random"}, fixed=self.lively(options=True))
        return problem.groups[0].hyperparameters

    @property
    def obstacle(self) -> str:
        """Why no check can say anything of the target; empty if they can."""
        return ""

    @property
    def shapes(self) -> Sequence[Shape]:
        """Of a few parameters that the target takes."""
        return SHAPES

    def small(
        self,
        shapes: Sequence[Shape],
        layers: Sequence[LayerRecipe] = (),
        *,
        absent: Absent = NEVER,
        steps: int = 4,
        **changes: Any,
    ) -> Problem:
        """A few steps along random gradients in one group, with the example's hyperparameters but for `changes`.

        `absent` gives the steps (from 0) in which a layer, or a parameter of `shapes` after them, has no gradient.
        """
        counts = [len(layer.shapes) for layer in layers] + [1] * len(shapes)
        recipe = Recipe(
            self.target.rule,
            (ParameterGroup({**self.example, **changes}, tuple(range(sum(counts)))),),
            tuple(shapes),
            absent=tuple(absent.get(unit, ()) for unit, count in enumerate(counts) for _ in range(count)),
            steps=steps,
            seed=self.options.seed,
            layers=tuple(layers),
        )
        return self.expanded(recipe)

    def expanded(self, recipe: Recipe) -> Problem:
        """The problem of a recipe, in numbers that the precision has, and hyperparameters that are not rounded."""
        problem = expand(in_float32(recipe, self._narrow) if self._narrow else recipe)
        return in_bfloat16(problem) if self.dtype == "bfloat16" else problem

    def varied(self, variant: Variant) -> Self:
        """The same on a target that is driven otherwise, what it leaves out held at its defaults."""
        other = copy(self)
        other.target = self.target.varied(variant)
        other.fixed = {**self.fixed, **{name: self.target.defaults[name] for name in variant.left_out}}
        return other

    def allowance(self, problem: Problem) -> Array:
        """How far rounding may move a legal trajectory of this problem, shape (steps, size)."""
        return allowance(problem, self.dtype, scalars="float32" if self.target.single_scalars else "float64")

    def pools(self, problem: Problem) -> bool:
        """Whether the step of a parameter may depend on the gradients of others."""
        return self.target.record.pools_over != "nothing"

    def _legal(self, chosen: Hyperparameters) -> bool:
        defaults = {"lr": 0.05, **self.target.record.defaults()}
        try:
            self.target.record(**{**defaults, **self.fixed, **chosen})
        except ValueError:
            return False
        return True

    def surroundings(self) -> AbstractContextManager[None]:
        """What the checks of this target run within."""
        return nullcontext()

    @property
    def single(self) -> Shape:
        """The shape of a parameter with one element."""
        return () if self.target.takes_scalars and SCALARS not in self.refused else (1,)

    def recipes(self, per_focus: int, **constraints: Any) -> list[Recipe]:
        from stepgauge.properties.gauge.problems.drawing import problems_of

        fixed = {**self.fixed, **constraints.pop("fixed", {})}
        maximize = self.target.takes_maximize
        drawn = problems_of(
            self.target.rule,
            per_focus,
            constraints.pop("seed", self.options.seed),
            fixed=fixed,
            maximize=maximize,
            without=frozenset(self.refused) & OPTIONAL_LAYERS.keys(),
            **constraints,
        )
        return [self._taken(recipe) for recipe in drawn]

    def _taken(self, recipe: Recipe) -> Recipe:
        """A recipe without what the target's kind knows nothing of."""
        absent = recipe.absent if self.target.takes_absent and ABSENT not in self.refused else ()
        if LATE in self.refused:
            absent = tuple(() if 0 in steps else steps for steps in absent)
        schedule = recipe.schedule if self.target.takes_schedule else (1.0,)
        shapes = tuple(shape or self.single for shape in recipe.shapes)
        return replace(recipe, absent=absent, schedule=schedule, shapes=shapes)

    def training_problems(self, seed: int | None = None, count: int | None = None) -> list[Problem]:
        """Problems in which what may move on this target moves; so many, and other ones for another seed."""
        rule = self.target.rule
        names = [name for name in movable(rule) if name in self.target.schedulable and name not in self.fixed]
        seed, count = self.options.seed if seed is None else seed, count or TRAINING_PROBLEMS[self.options.level]
        recipes = self.recipes(count // 2, foci=foci_of_training(rule), seed=seed)
        moving = (as_in_training(recipe, names, self.fixed, k) for k, recipe in enumerate(recipes))
        return [self.expanded(self._taken(recipe)) for recipe in moving]

    def problems(self, per_focus: int | None = None, **constraints: Any) -> list[Problem]:
        """Problems for this target: `per_focus` of every focus, or as many as the level says."""
        count = PROBLEMS[self.options.level] if per_focus is None else per_focus
        return [self.expanded(recipe) for recipe in self.recipes(count, **constraints)]
