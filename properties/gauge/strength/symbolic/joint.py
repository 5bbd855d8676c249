"""Two texts of a function executed side by side, along every path through either."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import sympy

from stepgauge.properties.gauge.strength.symbolic import algebra
from stepgauge.properties.gauge.strength.symbolic.algebra import Expression, Value
from stepgauge.properties.gauge.strength.symbolic.execution import Execution, Trees
from stepgauge.properties.gauge.strength.symbolic.operations import Following
from stepgauge.properties.gauge.strength.symbolic.path import IS_ZERO, Path
from stepgauge.properties.gauge.strength.symbolic.values import Broken, NotUnderstood, Record, Refused

Decisions = Mapping[Expression, bool]
Known = Mapping[Expression, Expression]  # what symbols are
MOST_PATHS = 2000  # beyond, nothing is said
OVER, BROADCAST = map(sympy.Function, ("over", "broadcast"))


@dataclass
class Run:
    """What a text returns or raises along a path."""

    execution: Execution
    function: FunctionType
    arguments: Sequence[Any]
    outcome: Any = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.outcome = self.execution.run(self.function, self.arguments)
        except Refused as refused:
            self.outcome = f"raises {refused}"
        except Broken as broken:
            raise NotUnderstood(str(broken)) from None

    def failures(self, known: Known) -> set[Expression]:
        """What may raise on the way."""
        found = {algebra.expanded(f.subs(known)) if known else f for f in self.execution.failures}
        broadcast = [set(f.args) for f in found if f.func == BROADCAST]
        implied = {f for f in found if f.func == BROADCAST and any(set(f.args) < shapes for shapes in broadcast)}
        return {f for f in found - implied if not _is_number(f)}


@dataclass(frozen=True)
class Case:
    """A path, and what two texts come to along it."""

    path: Path
    before: Run
    after: Run

    def agree(self) -> bool:
        known = self.known
        same_failures = self.before.failures(known) == self.after.failures(known)
        return same_failures and self.equal(self.before.outcome, self.after.outcome)

    @property
    def known(self) -> Known:
        """What the path says that symbols are."""
        known: dict[Expression, Expression] = {}
        for statement, holds in self.path.taken.items():
            if holds and statement.func == IS_ZERO:
                constant, rest = statement.args[0].as_coeff_Add()
                if rest.is_Symbol:
                    known[rest] = -constant
        return known

    def equal(self, a: Any, b: Any) -> bool:
        """Whether two results are the same on this path."""
        execution = self.before.execution
        a, b = execution.resolved(a), execution.resolved(b)
        if isinstance(a, Value) and isinstance(b, Value):
            return algebra.same(a, b) or algebra.same(simplified(a, self.known), simplified(b, self.known))
        if isinstance(a, Record) and isinstance(b, Record):
            return a.kind is b.kind and all(self.equal(x, b.values[name]) for name, x in a.values.items())
        if isinstance(a, (tuple, list)) and type(a) is type(b):
            return len(a) == len(b) and all(map(self.equal, a, b))
        return type(a) is type(b) and bool(execution.frozen(a) == execution.frozen(b))


def cases(
    texts: tuple[Trees, Trees], function: FunctionType, arguments: Sequence[Any], following: Following, given: Decisions
) -> Iterator[Case]:
    """Every path through either text on which the given decisions are taken.

    Raises:
        NotUnderstood: of a text, or because there are too many paths.
    """
    pending = [dict(given)]
    for _ in range(MOST_PATHS):
        if not pending:
            return
        path = Path(pending.pop())
        before, after = (Run(Execution(path, trees, following), function, arguments) for trees in texts)
        yield Case(path, before, after)
        pending += path.open()  # asked for after the caller, who may have gone further along the path
    raise NotUnderstood("a text of so many paths")


def simplified(value: Value, known: Known) -> Value:
    """The value where some symbols are known."""
    if not known:
        return value
    finite, unsafe = sympy.expand(value.finite.subs(known)), []
    for factor in (sympy.expand(x.subs(known)) for x in value.unsafe):
        if _is_number(factor):
            finite = finite / factor.args[0]
        else:
            unsafe.append(factor)
    return Value(finite, tuple(algebra.ordered(unsafe)), value.shape)


def _is_number(factor: Expression) -> bool:
    """Whether it is the inverse of a number that is not zero."""
    return factor.func == OVER and bool(factor.args[0].is_Rational) and factor.args[0] != 0
