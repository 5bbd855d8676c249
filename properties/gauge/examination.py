"""An examination: one target, all checks, one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from stepgauge.properties.gauge.activity import LayerRecipe, Shape
from stepgauge.properties.gauge.check import (
    CHECKS,
    Check,
    Failed,
    Finding,
    Inconclusive,
    NotApplicable,
    Result,
    has_rule,
)
from stepgauge.properties.gauge.problem import Hyperparameters, Problem, Settings
from stepgauge.properties.gauge.recipe import Recipe, expand
from stepgauge.properties.gauge.target import STRANGERS, StepError, Target, TargetError, UsageError, described
from stepgauge.properties.gauge.tolerance import allowance
from stepgauge.reference import Array

Level = Literal["quick", "standard", "deep"]

# Problems of each focus, and of each law.
PROBLEMS: Mapping[Level, int] = {"quick": 2, "standard": 10, "deep": 60}
LAW_PROBLEMS: Mapping[Level, int] = {"quick": 1, "standard": 4, "deep": 30}
LONG_STEPS: Mapping[Level, int] = {"quick": 110, "standard": 2000, "deep": 5000}

# A hyperparameter that a target lacks is held at its neutral value; where none is named here, at the rule's default.
NEUTRAL = {"weight_decay": 0.0}

# Values at which no part of a rule is idle for hundreds of steps; stages are uneven, and passed in a few.
LIVELY = {
    "lr": 0.05,
    "betas": (0.87, 0.999),
    "momentum": 0.9,
    "weight_decay": 0.02,
    "dampening": 0.0,
    "n_stages": 3,
    "sigma": 7,
}

Absent = Mapping[int, tuple[int, ...]]
NEVER: Absent = MappingProxyType({})

SHAPES: tuple[Shape, ...] = ((2, 3, 2, 2), (4, 3), (5,))  # a small bench: one parameter of each common dimension

CHECK_MODULES = ("trajectories", "interface", "conventions", "contract", "laws_alone")
LAW_MODULES = (
    "test_projection_orthogonality",
    "test_scale_invariance",
    "test_reductions",
    "test_norm_growth",
    "test_frequency_response",
    "test_adaptive_inertia",
    "test_critical_gradients",
    "test_fisher_steps",
    "test_superposition",
    "test_equivariance",
)


@dataclass(frozen=True)
class Options:
    """What the user may choose, as the command line has it."""

    level: Level = "standard"
    seed: int = 0
    dialect: str = "auto"
    set: Hyperparameters = field(default_factory=dict)
    only: str = "*"
    skip: str = ""
    diagnosis: bool = True  # whether the cause of a divergence is sought


def load_checks() -> list[Check]:
    """All checks, in the order in which they run: trajectories first, laws, then the scores."""
    for module in CHECK_MODULES:
        import_module(f"stepgauge.properties.gauge.{module}")
    for module in LAW_MODULES:
        import_module(f"stepgauge.properties.{module}")
    order = ("trajectory", "law", "convention", "interface", "contract", "found")
    return sorted(CHECKS.values(), key=lambda check: order.index(check.category))


def examination(target: Target, options: Options) -> "Examination":
    """The examination of a target, with a rule or without."""
    if has_rule(target):
        return Examination(target, options)
    from stepgauge.properties.gauge.lone_examination import LoneExamination

    return LoneExamination(target, options)


class Examination:
    """A target under examination; what its checks share."""

    def __init__(self, target: Target, options: Options) -> None:
        self.target, self.options = target, options
        self._validate()

    def _validate(self) -> None:
        """Refuse options that ask for nothing, or for what the rule does not have.

        Raises:
            UsageError: see there.
        """
        if self.options.level not in PROBLEMS:
            raise UsageError(f"unknown level {self.options.level!r}: the levels are {', '.join(PROBLEMS)}")
        if not (isinstance(self.options.seed, int) and self.options.seed >= 0):
            raise UsageError(f"seed {self.options.seed!r} must be a whole number, at least 0")
        for given in (self.options.only, self.options.skip):
            if not isinstance(given, str):
                raise UsageError(f"{given!r:.40} must be a text, with commas between several globs")
        known = [check.id for check in load_checks()]
        for glob in (*_globs(self.options.only), *_globs(self.options.skip)):
            if not any(fnmatchcase(id_, glob) for id_ in known):
                raise UsageError(f"no check is called {glob!r}")
        if not any(self.selected()):
            but = f" but --skip {self.options.skip!r}" if self.options.skip else ""
            raise UsageError(f"--only {self.options.only!r}{but} leaves no check that this target can be asked")
        self._validate_settings()

    def _validate_settings(self) -> None:
        """Refuse settings that the rule does not have or allow.

        Raises:
            UsageError: --set or --dialect names something that the rule lacks, or a value out of range.
        """
        names = self.target.record.hyperparameter_names()
        try:
            self.target.record.canonical_dialect("" if self.options.dialect == "auto" else self.options.dialect)
            for name in self.target.pinned.keys() & self.options.set.keys():
                raise UsageError(f"--set {name}: the target's own keywords give it already")
            for name, value in {**self.target.pinned, **self.options.set}.items():
                if name not in names:
                    raise UsageError(f"{self.target.rule} has no hyperparameter {name!r}: it has {', '.join(names)}")
                self.target.record.checked(name, value)
        except ValueError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects to compare with: the one asked for, or all."""
        if self.options.dialect == "auto":
            return self.target.record.dialects
        return (self.target.record.canonical_dialect(self.options.dialect),)

    @cached_property
    def not_offered(self) -> tuple[str, ...]:
        return tuple(n for n in self.target.record.hyperparameter_names() if n not in self.target.offers)

    @cached_property
    def fixed(self) -> Hyperparameters:
        """The hyperparameters that are not drawn: set by the user, pinned in the target's keywords, or lacking there.

        Raises:
            TargetError: the target lacks one that has no default.
        """
        defaults = self.target.record.defaults()
        known = {**defaults, **NEUTRAL, **self.target.pinned, **self.options.set}
        missing = [n for n in self.not_offered if n not in known]
        if missing:
            raise TargetError(f"does not offer {missing[0]}, which has no default; say --set {missing[0]}=VALUE")
        return {n: known[n] for n in known if n in self.not_offered or n in self.options.set}

    def lively(self, *, options: bool) -> Hyperparameters:
        """Hyperparameters under which every part of the rule matters, its switches all on or all off.

        Of what the target lets us choose; a switch that does not go with the rest stays off.
        """
        chosen = {n: v for n, v in LIVELY.items() if n in self.target.offers and n not in self.options.set}
        record = self.target.record
        for name in self.target.offers - self.fixed.keys():
            if isinstance(record.defaults().get(name), bool):
                chosen[name] = options and self._legal({**chosen, name: True})
        return chosen

    @cached_property
    def example(self) -> Hyperparameters:
        """Hyperparameters for the checks that need a single, lively setting."""
        (problem,) = self.problems(1, only={"random"}, fixed=self.lively(options=True))
        return problem.groups[0].hyperparameters

    @cached_property
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
            (Settings({**self.example, **changes}, tuple(range(sum(counts)))),),
            tuple(shapes),
            absent=tuple(absent.get(unit, ()) for unit, count in enumerate(counts) for _ in range(count)),
            steps=steps,
            seed=self.options.seed,
            layers=tuple(layers),
        )
        return expand(recipe)

    def allowance(self, problem: Problem) -> Array:
        """How far rounding may move a legal trajectory of this problem in float64, shape (steps, size)."""
        return allowance(problem)

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

    def recipes(self, per_focus: int, **constraints: Any) -> list[Any]:
        from stepgauge.properties.gauge.drawing import problems_of

        fixed = {**self.fixed, **constraints.pop("fixed", {})}
        maximize = self.target.takes_maximize
        return problems_of(
            self.target.rule, per_focus, self.options.seed, fixed=fixed, maximize=maximize, **constraints
        )

    def problems(self, per_focus: int | None = None, **constraints: Any) -> list[Problem]:
        """Problems for this target: `per_focus` of every focus, or as many as the level says."""
        count = PROBLEMS[self.options.level] if per_focus is None else per_focus
        return [expand(recipe) for recipe in self.recipes(count, **constraints)]

    def selected(self) -> Iterator[Check]:
        """The checks to run."""
        for check in load_checks():
            wanted = any(fnmatchcase(check.id, glob) for glob in _globs(self.options.only))
            skipped = any(fnmatchcase(check.id, glob) for glob in _globs(self.options.skip))
            if wanted and not skipped and check.applies(self.target):
                yield check

    def run(self, check: Check) -> Result:
        """Run one check; whatever it raises becomes a result."""
        try:
            finding = check.body(self) or Finding()
        except UsageError:
            raise
        except Failed as failure:
            return Result(check.id, check.category, "fail", failure.error, failure.allowed, str(failure))
        except NotApplicable as reason:
            return Result(check.id, check.category, "not-applicable", message=str(reason))
        except Inconclusive as reason:
            return Result(check.id, check.category, "inconclusive", message=str(reason))
        except StepError as error:
            return Result(check.id, check.category, "error", message=str(error))
        except STRANGERS as error:
            return Result(check.id, check.category, "error", message=described(error))
        return Result(
            check.id, check.category, "pass", finding.error, finding.allowed, finding.message, finding.outcomes
        )

    def run_all(self, progress: Callable[[str], None] = lambda _: None) -> list[Result]:
        """Run the selected checks, telling `progress` the id of each before it starts."""
        results = []
        for check in self.selected():
            progress(check.id)
            results.append(self.run(check))
        return results


def _globs(text: str) -> list[str]:
    """The globs in a list that is separated by commas."""
    return [glob for part in text.split(",") if (glob := part.strip())]
