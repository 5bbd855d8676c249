"""Checks: one function each, with an id, a category, and a docstring that is its documentation.

`trajectory` (the published rule) and `law` (what follows from it) decide the verdict. `convention` (where papers are
silent), `interface` (names, defaults) and `contract` (what torch promises) are scores beside it. `found` is what a
target without a rule turns out to obey (see `metamorphic`).

Checks register when their module is imported. Which modules these are is told by entry points of the group
`stepgauge.checks`, this package's own and anybody else's.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.results import Category, Finding
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.base import NO_RULE, Subject

GROUP = "stepgauge.checks"
ORDER = list(Category)

Body = Callable[[Context], Finding | None]


@dataclass(frozen=True)
class Check:
    """A check: `body` returns what it found, or raises `Failed`, `NotApplicable` or `Inconclusive`.

    Attributes:
        id: the category, and what is asked in words.
        applies: tells whether it can be asked of a target, or of those of a rule.
        dialects: those whose law it is; empty for all.
        rules: those whose law it is; None where that is not for the rule to say.
        formerly: an id that it had.
    """

    id: str
    body: Body
    applies: Callable[[Subject], bool]
    dialects: tuple[str, ...] = ()
    rules: tuple[str, ...] | None = None
    formerly: str = ""

    @property
    def category(self) -> Category:
        return Category(self.id.partition("/")[0])

    @property
    def file(self) -> str:
        """Where it is written."""
        return inspect.getsourcefile(inspect.unwrap(self.body)) or ""

    @property
    def says(self) -> str:
        """What it asks, which is the docstring of its body."""
        return " ".join((self.body.__doc__ or "").split())


CHECKS: dict[str, Check] = {}


def has_rule(target: Subject) -> bool:
    """Whether there is a reference to compare the target with."""
    return target.rule != NO_RULE


def has_no_rule(target: Subject) -> bool:
    return not has_rule(target)


def of_any(_: Subject) -> bool:
    return True


def register(check: Check) -> None:
    """Add a check to the registry.

    Raises:
        ValueError: another one has its id.
    """
    known = CHECKS.get(check.id, check)
    if known.file != check.file:  # pytest imports a file once more, under a name of its own
        raise ValueError(f"two checks are called {check.id!r}, in {known.file} and {check.file}")
    CHECKS[check.id] = check


def check(
    id: str,  # noqa: A002  # the word of the report
    applies: Callable[[Subject], bool] = has_rule,
) -> Callable[[Body], Body]:
    """Register a check; `applies` tells the targets that it can be asked of."""

    def made(body: Body) -> Body:
        register(Check(id, body, applies))
        return body

    return made


@cache
def _import_modules() -> None:
    """Import every module that registers checks."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        entry.load()


def load_checks() -> list[Check]:
    """All checks, in the order in which they run: trajectories first, laws, then the scores."""
    _import_modules()
    return sorted(CHECKS.values(), key=lambda check: ORDER.index(check.category))


def present_id(former: str) -> str:
    """The id of the check that had this one, or empty."""
    return next((check.id for check in load_checks() if check.formerly == former), "")


def check_named(id_: str) -> Check:
    """The check of this id.

    Raises:
        UsageError: there is none; one that has been renamed is named.
    """
    known = {check.id: check for check in load_checks()}
    if id_ in known:
        return known[id_]
    now = present_id(id_)
    raise UsageError(f"no check is called {id_!r}" + (f": it is {now!r} now" if now else ""))
