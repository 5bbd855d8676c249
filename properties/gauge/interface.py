"""Checks of names, defaults and validation."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.check import Failed, Finding, NotApplicable, check
from stepgauge.properties.gauge.examination import Examination
from stepgauge.properties.gauge.problem import Settings
from stepgauge.properties.gauge.target import STRANGERS
from stepgauge.reference import Rule

# Values that a rule refuses, as a rule; one that does not is not asked.
OUT_OF_RANGE: dict[str, Any] = {
    "lr": -1.0,
    "weight_decay": -1.0,
    "eps": -1.0,
    "betas": (1.5, 0.9),
    "alpha": -1.0,
    "momentum": -1.0,
    "v_coefficient": -1.0,
    "n_stages": 0,
    "sigma": 0,
    "c_scaling": -1.0,
    "wd_ratio": -1.0,
}


@check("interface/hyperparameters", "interface")
def hyperparameters(exam: Examination) -> Finding:
    """Every hyperparameter of the rule can be set, under the rule's name or one given with --rename."""
    missing = [n for n in exam.not_offered if n not in exam.target.pinned]
    if missing:
        raise Failed(f"not offered: {', '.join(missing)}")
    extra = exam.target.extra
    return Finding(message=f"beyond the rule, left at their defaults: {', '.join(extra)}" if extra else "")


@check("interface/defaults", "interface")
def defaults(exam: Examination) -> None:
    """The default hyperparameters are the rule's."""
    theirs, ours = exam.target.defaults, exam.target.record.defaults()
    apart = [f"{n} is {theirs[n]}, not {ours[n]}" for n in ours if n in theirs and not _same(theirs[n], ours[n])]
    if apart:
        raise Failed("; ".join(apart))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(b, tuple) and tuple(a) == b)


def _refused(record: type[Rule], name: str, value: Any) -> bool:
    try:
        record.checked(name, value)
    except ValueError:
        return True
    return False


@check("interface/validation", "interface")
def validation(exam: Examination) -> None:
    """A hyperparameter that no reading of the rule allows is refused at construction with a ValueError."""
    tried = {n: v for n, v in OUT_OF_RANGE.items() if n in exam.target.offers and _refused(exam.target.record, n, v)}
    if not tried:
        raise NotApplicable("offers no hyperparameter to refuse")
    accepted, odd = [], []
    for name, value in tried.items():
        try:
            exam.target.init([np.zeros((2, 2))], [Settings({**exam.example, name: value}, (0,))], maximize=False)
            accepted.append(f"{name}={value}")
        except ValueError:
            pass
        except STRANGERS as error:
            odd.append(f"{name}={value} raises {type(error).__name__}")
    if accepted or odd:
        raise Failed("; ".join([*(["accepts " + ", ".join(accepted)] if accepted else []), *odd]))
