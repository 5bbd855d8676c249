"""The resolution of the gauge: the smallest relative error, as a power of ten, that each check sees.

The target is the reference itself with one known error built in: a hyperparameter, or the displacement of the first
entry of every parameter, is too small by a factor 1 - e. (Smaller, so that fractions stay below 1.) In float32 the
reference computes in float32, and the error comes on top of its rounding.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from stepgauge.properties.gauge.cache.run import run_cache
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.checks.registry import CHECKS, Check
from stepgauge.properties.gauge.checks.results import DECIDING
from stepgauge.properties.gauge.checks.runner import Runner, run_check
from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, ParameterGroup, Recipe
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.gauge.verdicts.conclusion import conclude
from stepgauge.properties.gauge.verdicts.record import Verdict
from stepgauge.reference import RULES, Array, Rule

POWERS = range(-16, 0)  # of ten: from below roundoff to a tenth
COORDINATE = "one coordinate"  # beside the names of hyperparameters
EVERYWHERE = ("lr", COORDINATE)  # the errors that every check is tried with


@dataclass(frozen=True)
class Resolution:
    """The smallest error that shows in one dialect of a rule, None where a tenth does not.

    Attributes:
        checks: by the id of the check, and by what is wrong: lr, or one coordinate.
        hyperparameters: of every real number among the hyperparameters but lr, in `trajectory/float64`.
    """

    rule: str
    dialect: str
    checks: Mapping[str, Mapping[str, float | None]]
    hyperparameters: Mapping[str, float | None]


class Distorted(RuleTarget):
    """The reference with a known error."""

    wrong: str = COORDINATE
    error: float = 0.0

    def init(self, params: Any, groups: Any, layers: Any = (), **more: bool) -> Any:
        if self.wrong != COORDINATE:
            groups = [ParameterGroup(reduced(h, self.wrong, self.error), members) for h, members in groups]
        return super().init(params, groups, layers, **more)

    def step(self, grads: Any, state: Any, moved: Moved = UNMOVED, seen: Any = None) -> list[Array]:
        before = state["params"]
        after = super().step(grads, state, moved, seen)
        if self.wrong == COORDINATE:
            for p, old in zip(after, before, strict=True):
                p.flat[:1] -= self.error * (p.flat[:1] - old.flat[:1])
            state["params"] = [p.copy() for p in after]
        return after


class Series(Context):
    """The context of checks that are repeated, on problems that are drawn once."""

    def __init__(self, target: Distorted, options: Options) -> None:
        super().__init__(target, options)
        assert isinstance(self.target, Distorted)  # in the precision that decides: a copy of what was given
        self.distorted = self.target
        self._drawn: dict[str, list[Recipe]] = {}

    def recipes(self, per_focus: int, **constraints: Any) -> list[Recipe]:
        key = repr((per_focus, constraints))
        if key not in self._drawn:
            self._drawn[key] = super().recipes(per_focus, **constraints)
        return self._drawn[key]

    def smallest(self, check: Check, wrong: str) -> float | None:
        """The smallest error that the check sees; it is taken to see every larger one, too."""
        self.distorted.wrong = wrong
        at = bisect_left(POWERS, True, key=lambda power: self._sees(check, 10.0**power))
        return 10.0 ** POWERS[at] if at < len(POWERS) else None

    def _sees(self, check: Check, error: float) -> bool:
        self.distorted.error = error
        return conclude(self, [run_check(self, check)]).verdict is Verdict.DIVERGES


def resolution_of(
    rule: str, dialect: str, level: Level = "standard", progress: Callable[[str], None] = lambda _: None
) -> Resolution:
    """Try every check that decides with errors of every size, telling `progress` its id before it starts."""
    with run_cache():
        return _resolution_of(rule, dialect, level, progress)


def _resolution_of(rule: str, dialect: str, level: Level, progress: Callable[[str], None]) -> Resolution:
    record = RULES[rule]
    series = Series(distorted(rule, dialect), Options(level=level, dialect=dialect))
    checks = {}
    for check in Runner(series).selected():
        if check.category in DECIDING and dialect in (check.dialects or record.dialects):
            progress(check.id)
            checks[check.id] = {wrong: series.smallest(check, wrong) for wrong in EVERYWHERE}
    progress("hyperparameters")
    float64 = CHECKS["trajectory/float64"]
    numbers = {name: series.smallest(float64, name) for name in numbers_of(record) if name not in EVERYWHERE}
    return Resolution(rule, dialect, checks, numbers)


def distorted(rule: str, dialect: str) -> Distorted:
    """The reference in one dialect, without an error yet."""
    record = RULES[rule]
    alone = type(record.__name__, (record,), {"dialects": (dialect,), "same_as": {}, "foreign": ()})
    return Distorted(rule, alone, rule, {})


def numbers_of(record: type[Rule]) -> Iterator[str]:
    """The real numbers among the hyperparameters; betas.0 for an item of a tuple."""
    for field in fields(record):
        if field.type is float:
            yield field.name
        yield from (f"{field.name}.{k}" for k, kind in enumerate(get_args(field.type)) if kind is float)


def reduced(hyperparameters: Hyperparameters, name: str, error: float) -> Hyperparameters:
    """The hyperparameters with one number, named as by `numbers_of`, too small by a relative error.

    >>> reduced({"lr": 1.0, "betas": (0.5, 0.25)}, "betas.1", 0.5)
    {'lr': 1.0, 'betas': (0.5, 0.125)}
    """
    name, _, item = name.partition(".")
    value = hyperparameters[name]
    if not item:
        return {**hyperparameters, name: value * (1 - error)}
    items = tuple(x * (1 - error) if k == int(item) else x for k, x in enumerate(value))
    return {**hyperparameters, name: items}
