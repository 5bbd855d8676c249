"""Results: what came of a target, from one problem to the report.

Outcome     one problem in one precision: follows or leaves each dialect        (`comparison`)
Finding     what the body of a check returns; or it raises `Failed`, `NotApplicable`, `Inconclusive`
Result      one check: its finding or failure, with status, error and message
Report      one target: the results, the verdict concluded from them            (`verdicts.report`)
Diagnosis   the cause of a divergence, as an edit of the reference              (`verdicts.report`)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepgauge.properties.gauge.checks.comparison import Outcome


class Category(StrEnum):
    """What a check is about, which is the first word of its id; in the order in which checks run."""

    TRAJECTORY = "trajectory"
    LAW = "law"
    CONVENTION = "convention"
    INTERFACE = "interface"
    CONTRACT = "contract"
    FOUND = "found"


class Status(StrEnum):
    """What came of a check."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"


NO_NUMBER = "reaches NaN or infinity along ordinary gradients"
DECIDING = (Category.TRAJECTORY, Category.LAW)
FAILING = (Status.FAIL, Status.ERROR)
SCORES = (Category.CONVENTION, Category.INTERFACE, Category.CONTRACT)


class Failed(Exception):
    """The target does not do what the check asks for; the message says what it does instead."""

    def __init__(self, message: str, error: float | None = None, allowed: float | None = None) -> None:
        super().__init__(message)
        self.error, self.allowed = error, allowed


class NotApplicable(Exception):
    """The check asks for something that the target or its rule does not have."""


class Inconclusive(Exception):
    """Rounding could decide the check either way."""


@dataclass(frozen=True)
class Finding:
    """What a check found where it did not fail: the worst error and what was allowed there, outcomes, a remark."""

    error: float | None = None
    allowed: float | None = None
    message: str = ""
    outcomes: Sequence[Outcome] = ()


@dataclass(frozen=True)
class Result:
    """A check's outcome as it is reported."""

    id: str
    category: Category
    status: Status
    error: float | None = None
    allowed: float | None = None
    message: str = ""
    outcomes: Sequence[Outcome] = ()
