"""One optimizer in, one report out: what the command line and Python callers share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from stepgauge.properties.gauge.checks.options import Handling, Level, Options
from stepgauge.properties.gauge.errors import TargetError, UsageError, missing_extra
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.problems.problem import Dtype
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.targets.loading import Specification
from stepgauge.properties.gauge.targets.rules import infer_rule, known_rule
from stepgauge.properties.gauge.verdicts.report import Report, failed


def check_optimizer(
    optimizer: str | Callable[..., Any],
    rule: str | None = None,
    *,
    dialect: str = "auto",
    set: Mapping[str, Any] | None = None,  # noqa: A002  # the name of the command line's option
    rename: Mapping[str, str] | None = None,
    level: Level = "standard",
    device: str = "cpu",
    adapter: str | None = None,
    after_build: str = "",
    only: str = "*",
    skip: str = "",
    seed: int = 0,
    diagnosis: bool = True,
    dtype: Dtype | None = None,
) -> Report:
    """Check an optimizer against the rule it is named for, or the one given, as `stepgauge check` does.

    Args:
        optimizer: a class or factory that takes parameters first, or a target as the command line has it.
        rule: the name of the rule; inferred from the optimizer's name if None. "none" for the laws that need no rule.
        dialect: the dialect to hold it to, or "auto".
        set: hyperparameters of the rule to fix on both sides.
        rename: the optimizer's names for the rule's hyperparameters.
        level: how many problems.
        device: where a torch optimizer runs.
        adapter: what kind of target it is; found out if None.
        after_build: the method of a torch optimizer to call once it is built, such as "train" of schedule-free ones.
        only: globs of the checks to run, separated by commas.
        skip: globs of the checks to leave out, likewise.
        seed: draws other problems.
        diagnosis: whether to seek the cause of a divergence.
        dtype: the precision that decides; the finest that the optimizer steps if None.

    Returns:
        A report; true if the optimizer conforms. What the optimizer does wrong, or raises, is in it.

    Raises:
        ModuleNotFoundError: an extra is not installed, which it names.
        ValueError: there is no such rule, dialect or hyperparameter, or a value is out of range.

    >>> import torch
    >>> print(check_optimizer(torch.optim.SGD, level="quick").verdict)
    conforms
    """
    options = Options(level, seed, dialect, dict(set or {}), only, skip, diagnosis, dtype or "")
    try:
        return report_on(optimizer, rule, options, Handling(rename or {}, device, adapter, after_build))
    except UsageError as error:
        raise ValueError(str(error)) from error
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing_extra(error) or str(error), name=error.name) from error


def report_on(
    optimizer: str | Callable[..., Any],
    rule: str | None,
    options: Options,
    handling: Handling,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """The report on an optimizer, also on one that cannot be loaded or built.

    Raises:
        ModuleNotFoundError: the extra `check` is not installed.
        UsageError: see `check_optimizer`.
    """
    import hypothesis  # noqa: F401  # it draws the problems: if it is missing, that is said before any check fails for it

    asked = Asked.of(optimizer, rule)
    progress("loading")
    try:
        target = asked.built(handling)
    except TargetError as error:
        return failed(asked.name, asked.rule, str(error))
    mapped = target.names.mapped if target.names else {}
    progress("its first steps")
    return replace(examine(target, options, progress), inferred=rule is None, mapped=mapped)


class Asked(NamedTuple):
    """An optimizer as the user named or gave it, and the rule that it is held to."""

    name: str
    rule: str
    keywords: Mapping[str, Any]
    load: Callable[[], Callable[..., Any]]  # the factory; raises TargetError

    @classmethod
    def of(cls, optimizer: str | Callable[..., Any], rule: str | None) -> "Asked":
        """The rule is the one named, or the one that the optimizer goes by.

        Raises:
            UsageError: there is no such rule, or the text is no target.
        """
        if isinstance(optimizer, str):
            specification = Specification.parse(optimizer)
            chosen = infer_rule(specification.goes_by) if rule is None else known_rule(rule, or_none=True)
            return cls(optimizer, chosen, specification.keywords, cache(specification.load))
        name = getattr(optimizer, "__name__", repr(optimizer))
        return cls(name, infer_rule(name) if rule is None else known_rule(rule, or_none=True), {}, lambda: optimizer)

    def built(self, handling: Handling) -> Target:
        """The target around it.

        Raises:
            TargetError: it cannot be loaded or built.
            UsageError: a rename does not fit.
        """
        return make_target(self.name, self.load(), self.rule, keywords=self.keywords, **handling._asdict())
