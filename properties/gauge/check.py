"""Checks: one function each, with an id, a category, and a docstring that is its documentation.

`trajectory` (the published rule) and `law` (what follows from it) decide the verdict. `convention` (where papers are
silent), `interface` (names, defaults) and `contract` (what torch promises) are scores beside it. `found` is what a
target without a rule turns out to obey (see `laws_alone`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stepgauge.properties.gauge.judge import Outcome
from stepgauge.properties.gauge.target import NO_RULE, Target

if TYPE_CHECKING:
    from stepgauge.properties.gauge.examination import Examination

Category = Literal["trajectory", "law", "convention", "interface", "contract", "found"]
Status = Literal["pass", "fail", "inconclusive", "not-applicable", "error"]
NO_NUMBER = "reaches NaN or infinity along ordinary gradients"
DECIDING: tuple[Category, ...] = ("trajectory", "law")


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


Body = Callable[["Examination"], Finding | None]


@dataclass(frozen=True)
class Check:
    """A check: `body` returns what it found, or raises `Failed`, `NotApplicable` or `Inconclusive`.

    A law that only some dialects of its rule obey names those; empty for all.
    """

    id: str
    category: Category
    body: Body
    applies: Callable[[Target], bool]
    dialects: tuple[str, ...] = ()


CHECKS: dict[str, Check] = {}


def has_rule(target: Target) -> bool:
    """Whether there is a reference to compare the target with."""
    return target.rule != NO_RULE


def of_any(_: Target) -> bool:
    return True


def check(
    id: str,  # noqa: A002  # the word of the report
    category: Category,
    applies: Callable[[Target], bool] = has_rule,
) -> Callable[[Body], Body]:
    """Register a check; `applies` tells the targets that it can be asked of."""

    def register(body: Body) -> Body:
        CHECKS[id] = Check(id, category, body, applies)
        return body

    return register
