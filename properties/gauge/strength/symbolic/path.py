"""A path through the branches of a text."""

from collections.abc import Mapping

import sympy

from stepgauge.properties.gauge.strength.symbolic import algebra
from stepgauge.properties.gauge.strength.symbolic.algebra import Expression, Value
from stepgauge.properties.gauge.strength.symbolic.values import BOUND, Condition, NotUnderstood

EXCLUSIVE = (sympy.Function("is"), sympy.Function("isinstance"))  # what holds of one text or type alone
IS_ZERO = sympy.Function("is zero")


class Path:
    """Which way every branch goes: as given, then wherever a condition is new, the way it is true.

    Attributes:
        taken: the decisions, in order.
        chosen: those that might have been the opposite.
    """

    def __init__(self, taken: Mapping[Expression, bool]) -> None:
        self.taken = dict(taken)
        self.chosen: set[Expression] = set()

    def decide(self, condition: Condition) -> bool:
        """Whether a condition holds.

        Raises:
            NotUnderstood: it may hold for some items or entries, and not for others.
        """
        statement = condition.statement
        if statement in (sympy.true, sympy.false):
            return bool(statement) is not condition.negated
        if condition.shape or any(symbol.name.startswith(BOUND) for symbol in statement.free_symbols):
            raise NotUnderstood("a branch that differs from item to item")
        if statement not in self.taken:
            self.taken[statement] = not self._is_excluded(statement)
            if self.taken[statement]:
                self.chosen.add(statement)
        return self.taken[statement] is not condition.negated

    def _is_excluded(self, statement: Expression) -> bool:
        """Whether it says that something is a text, or of a type, and it is known to be another."""
        if statement.func not in EXCLUSIVE:
            return False
        alike = (other for other, holds in self.taken.items() if holds and other.func == statement.func)
        return any(other.args[0] == statement.args[0] for other in alike)

    def open(self) -> list[dict[Expression, bool]]:
        """The paths that part from this one, each where it chose."""
        steps = list(self.taken.items())
        return [{**dict(steps[:k]), chosen: False} for k, (chosen, _) in enumerate(steps) if chosen in self.chosen]


def is_zero(a: Value) -> Condition:
    if a.known("nonzero"):
        return Condition(sympy.false, shape=a.shape)
    if not a.is_safe:
        return Condition(IS_ZERO(a.canonical), shape=a.shape)
    if not (a.known("whole") or _terms(a) <= 2):  # a difference of two numbers is zero only if they are equal
        return Condition(IS_ZERO(sympy.Function("rounded")(a.canonical)), shape=a.shape)
    coefficient, monic = algebra.expanded(a.finite).as_coeff_Mul()
    if monic == 1:
        return Condition(sympy.true if coefficient == 0 else sympy.false, shape=a.shape)
    sign = -1 if monic.could_extract_minus_sign() else 1
    return Condition(IS_ZERO(algebra.expanded(sign * monic)), shape=a.shape)


def is_equal(a: Value, b: Value) -> Condition:
    """Whether a == b; where a sum is compared, which may be rounded, nothing is taken to its other side."""
    difference = algebra.subtract(a, b)
    if difference.known("whole") or (a.is_safe and b.is_safe and _terms(a) == 1 == _terms(b)):
        return is_zero(difference)
    return Condition(sympy.Function("equal")(*algebra.ordered((a.canonical, b.canonical))), shape=difference.shape)


def _terms(a: Value) -> int:
    return len(sympy.Add.make_args(algebra.expanded(a.finite)))


def is_below(a: Value, b: Value, *, strictly: bool) -> Condition:
    """Whether a < b, or a <= b: which are not the negations of each other, because of NaN."""
    shape = algebra.broadcast(a.shape, b.shape)
    relation = sympy.Function("less" if strictly else "at most")
    difference = algebra.subtract(b, a)
    if not difference.is_safe:
        return Condition(relation(a.canonical, b.canonical), shape=shape)
    if difference.known(*(algebra.POSITIVE if strictly else {"nonnegative"})):
        return Condition(sympy.true, shape=shape)
    if algebra.subtract(a, b).known(*({"nonnegative"} if strictly else algebra.POSITIVE)):
        return Condition(sympy.false, shape=shape)
    coefficient, rest = algebra.expanded(difference.finite).as_coeff_Mul()
    if rest == 1:
        holds = coefficient > 0 or (coefficient == 0 and not strictly)
        return Condition(sympy.true if holds else sympy.false, shape=shape)
    return Condition(relation(0, rest if coefficient > 0 else -rest), shape=shape)
