"""Checks of names, defaults and validation."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.registry import check
from stepgauge.properties.gauge.checks.results import Failed, Finding, NotApplicable
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import carrier_of
from stepgauge.reference import Rule


@check("interface/hyperparameters")
def hyperparameters(context: Context) -> Finding:
    """Every hyperparameter of the rule can be set, under the rule's name or one given with --rename."""
    missing = [n for n in context.not_offered if n not in context.target.pinned]
    if missing:
        raise Failed(f"not offered: {', '.join(missing)}")
    extra = context.target.extra
    return Finding(message=f"beyond the rule, left at their defaults: {', '.join(extra)}" if extra else "")


@check("interface/defaults")
def defaults(context: Context) -> None:
    """The default hyperparameters are the rule's."""
    theirs, ours = context.target.defaults, context.target.record.defaults()
    apart = [f"{n} is {theirs[n]}, not {ours[n]}" for n in ours if n in theirs and not _same(theirs[n], ours[n])]
    if apart:
        raise Failed("; ".join(apart))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(b, tuple) and tuple(a) == b)


def _refuses(record: type[Rule], name: str, value: Any) -> bool:
    try:
        record.checked(name, value)
    except ValueError:
        return True
    return False


@check("interface/validation")
def validation(context: Context) -> None:
    """A hyperparameter that no reading of the rule allows is refused at construction with a ValueError."""
    record = context.target.record
    offered = [n for n in record.hyperparameter_names() if n in context.target.offers]
    tried = {n: v for n in offered if (v := record.hyperparameter(n).refused) is not None and _refuses(record, n, v)}
    if not tried:
        raise NotApplicable("offers no hyperparameter to refuse")
    accepted, odd = [], []
    for name, value in tried.items():
        try:
            context.target.init(
                [np.zeros((2, 2), dtype=carrier_of(context.dtype))],
                [ParameterGroup({**context.example, name: value}, (0,))],
                maximize=False,
            )
            accepted.append(f"{name}={value}")
        except ValueError:
            pass
        except FOREIGN_ERRORS as error:
            odd.append(f"{name}={value} raises {type(error).__name__}")
    if accepted or odd:
        raise Failed("; ".join([*(["accepts " + ", ".join(accepted)] if accepted else []), *odd]))
