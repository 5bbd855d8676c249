"""Numbers and arrays as symbols, in a form in which equal arithmetic looks equal.

A value is a rational function of atoms times divisors that may be zero. An atom is a symbol, or a function of which
nothing is known but what stands here (`sqrt`, `sum`, ...), of values in this form. SymPy expands and compares the
rational functions; it is given nothing else, so that none of its other rules can be wrong about arrays.

What is taken for the same holds for arrays of any shape, entry by entry:

- Rounding is left out: numbers are real, Python's floats the fractions that they are.
- A divisor that is not known to be nonzero stays a factor, over which nothing is distributed or cancelled: its
  quotients are infinite or NaN in the same places. Overflow, and the sign of a zero, are left out.
- An array has a shape, the set of those that are broadcast; a term that vanishes leaves its shape behind.
- A sum (and what else is linear) is taken apart only into terms of its own shape.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any, Literal

import sympy

Expression = Any  # of SymPy, which has no types
Shape = frozenset[Any]
Fact = Literal["nonnegative", "nonzero", "below one", "whole"]
POSITIVE: frozenset[Fact] = frozenset({"nonnegative", "nonzero"})
SCALAR: Shape = frozenset()
ARRAY = sympy.Function("array")
KEPT = sympy.Function("reduced, dimensions kept")
COUNT: frozenset[Fact] = frozenset({"nonnegative", "whole"})


@dataclass(frozen=True)
class Value:
    """A number or an array of them.

    Attributes:
        finite: a rational function of atoms.
        unsafe: what it is multiplied by that may be infinite or NaN, in canonical order.
        shape: of the array; empty for a number.
        facts: what is known of every entry.
        factors: those of a product, of which a square tells that it is not negative.
    """

    finite: Expression
    unsafe: tuple[Expression, ...] = ()
    shape: Shape = SCALAR
    facts: frozenset[Fact] = frozenset()
    factors: "tuple[Value, ...]" = ()

    @property
    def is_safe(self) -> bool:
        return not self.unsafe

    @property
    def canonical(self) -> Expression:
        """The expanded form, by which it is an argument of a function."""
        return expanded(self.finite) if self.is_safe else sympy.Function("times")(expanded(self.finite), *self.unsafe)

    def known(self, *facts: Fact) -> bool:
        return self.is_safe and self.facts.issuperset(facts)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of what is broadcast: what was reduced, and kept its dimensions, fits what it was reduced from."""
    whole = SCALAR.union(*shapes)
    return frozenset(shape for shape in whole if not (shape.func == KEPT and whole >= set(shape.args[0].args)))


def ordered(expressions: Iterable[Expression]) -> list[Expression]:
    return sorted(expressions, key=sympy.default_sort_key)


@lru_cache(maxsize=1 << 16)
def expanded(expression: Expression) -> Expression:
    return sympy.expand(expression)


def number(constant: float) -> Value:
    """A constant of the text."""
    true: dict[Fact, bool] = {
        "nonnegative": constant >= 0,
        "nonzero": constant != 0,
        "below one": constant < 1,
        "whole": constant == int(constant),
    }
    return Value(sympy.Rational(constant), facts=frozenset(fact for fact, holds in true.items() if holds))


def zeros(shape: Shape) -> Value:
    return replace(number(0), shape=shape)


def atom(expression: Expression, shape: Shape = SCALAR, facts: Iterable[Fact] = (), *, safe: bool = True) -> Value:
    """What nothing more is known of; an array's names its shape."""
    if shape:
        expression = ARRAY(expression, *ordered(shape))
    if safe:
        return Value(expression, shape=shape, facts=frozenset(facts))
    return Value(sympy.Integer(1), (expression,), shape)


def add(a: Value, b: Value) -> Value:
    shape = broadcast(a.shape, b.shape)
    if not (a.is_safe and b.is_safe):
        terms = ordered((*_terms(a), *_terms(b)))
        return atom(sympy.Function("plus")(*terms), shape, safe=False)
    facts: set[Fact] = _kept(a, b, "whole")
    if a.known("nonnegative") and b.known("nonnegative"):
        facts.add("nonnegative")
        facts |= POSITIVE & (a.facts | b.facts)
    return Value(a.finite + b.finite, shape=shape, facts=frozenset(facts))


def _kept(a: Value, b: Value, *facts: Fact) -> set[Fact]:
    """Those of some facts that hold for both."""
    return {*facts} & a.facts & b.facts


def _terms(value: Value) -> tuple[Expression, ...]:
    """The terms of a sum that may be infinite."""
    if value.finite == 1 and len(value.unsafe) == 1:
        (whole,) = value.unsafe
        named = whole.args[0] if whole.func == ARRAY else whole
        if named.func == sympy.Function("plus"):
            return tuple(named.args)
    return (value.canonical,)


def negative(a: Value) -> Value:
    return Value(-a.finite, a.unsafe, a.shape, a.facts & {"whole", "nonzero"})


def subtract(a: Value, b: Value) -> Value:
    difference = add(a, negative(b))
    if a.finite == 1 and b.known("below one"):
        difference = replace(difference, facts=difference.facts | POSITIVE)
    if a.finite == 1 and b.known(*POSITIVE):
        difference = replace(difference, facts=difference.facts | {"below one"})
    if b.finite == 1 and a.known("below one"):
        return replace(difference, facts=difference.facts | {"nonzero"})
    return difference


def multiply(a: Value, b: Value) -> Value:
    factors = (*(a.factors or (a,)), *(b.factors or (b,)))
    unsafe = tuple(ordered((*a.unsafe, *b.unsafe)))
    finite = a.finite * b.finite
    return Value(finite, unsafe, broadcast(a.shape, b.shape), _facts_of_product(factors), factors)


def _facts_of_product(factors: tuple[Value, ...]) -> frozenset[Fact]:
    found: set[Fact] = {fact for fact in ("whole", "nonzero") if all(f.known(fact) for f in factors)}
    odd: list[Value] = []  # the factors that are in no square
    for factor in factors:
        twin = next((x for x in odd if x.canonical == factor.canonical), None)
        odd = [x for x in odd if x is not twin] if twin else [*odd, factor]
    if all(f.known("nonnegative") for f in odd):
        found.add("nonnegative")
    if all(f.known("nonnegative", "below one") for f in factors):
        found.add("below one")
    return frozenset(found)


def divide(a: Value, b: Value, *, nonzero: bool = False) -> Value:
    """The quotient; `nonzero` if that is known of b from elsewhere."""
    shape = broadcast(a.shape, b.shape)
    if b.is_safe and (nonzero or b.known("nonzero")):
        inverse = Value(1 / expanded(b.finite), shape=b.shape, facts=b.facts & POSITIVE | {"nonzero"})
        return multiply(a, inverse)
    divisors = (sympy.Function("over")(x) for x in (*_factors_of(b.finite), *b.unsafe))
    unsafe = tuple(ordered((*a.unsafe, *divisors)))
    coefficient, _ = expanded(b.finite).as_coeff_Mul()
    return Value(a.finite / (coefficient or 1), unsafe, shape)


def _factors_of(finite: Expression) -> list[Expression]:
    """A divisor, without its rational coefficient, as factors that each may be zero."""
    coefficient, rest = expanded(finite).as_coeff_Mul()
    if coefficient == 0:
        return [sympy.Integer(0)]
    found: list[Expression] = []
    for factor in sympy.Mul.make_args(rest):
        base, exponent = factor.as_base_exp()
        found += [base] * int(exponent) if exponent.is_Integer and exponent > 0 else [factor]
    return [factor for factor in found if factor != 1]


def power(a: Value, b: Value) -> Value:
    exponent = expanded(b.finite) if b.is_safe and not b.shape else None
    if exponent is not None and exponent.is_Integer and 0 <= exponent <= 4:
        return reduce(multiply, [a] * int(exponent)) if exponent else replace(number(1), shape=a.shape)
    if exponent == sympy.Rational(1, 2):
        return sqrt(a)
    facts: set[Fact] = set()
    if a.known("nonnegative") and b.known("nonnegative"):
        facts |= POSITIVE & {"nonnegative", *a.facts}
        facts |= {"below one"} if a.known("below one") and b.known("nonzero") else set()
    return function("power", [a, b], broadcast(a.shape, b.shape), facts, safe="nonnegative" in facts)


def sqrt(a: Value) -> Value:
    safe = a.known("nonnegative")
    return function("sqrt", [a], a.shape, a.facts & {*POSITIVE, "below one"} if safe else (), safe=safe)


def absolute(a: Value) -> Value:
    """The absolute value: of x what it is of -x."""
    if a.known("nonnegative"):
        return a
    positive = signless(a)
    return function("abs", [positive], a.shape, ["nonnegative"], safe=a.is_safe)


def signless(a: Value) -> Value:
    """The one of a and -a whose form has no minus sign to take out."""
    finite = expanded(a.finite)
    return replace(a, finite=-finite if finite.could_extract_minus_sign() else finite)


def largest(a: Value, b: Value) -> Value:
    """The larger one, whichever comes first; NaN wherever one is."""
    for x, y in ((a, b), (b, a)):
        if x.finite == 0 and x.is_safe and y.known("nonnegative") and y.shape >= x.shape:
            return y
    return _chosen("maximum", a, b, any, all)


def smallest(a: Value, b: Value) -> Value:
    return _chosen("minimum", a, b, all, any)


def _chosen(name: str, a: Value, b: Value, above: Callable[..., bool], below: Callable[..., bool]) -> Value:
    pair = (a, b)
    facts: set[Fact] = set()
    if above(x.known("nonnegative") for x in pair):
        facts |= {"nonnegative"}
    if above(x.known(*POSITIVE) for x in pair):
        facts |= POSITIVE
    if below(x.known("below one") for x in pair):
        facts |= {"below one"}
    shape = broadcast(a.shape, b.shape)
    candidates = {candidate for x in pair for candidate in _candidates(name, x, shape)}
    if len(candidates) == 1 and a.shape == b.shape:
        return a
    return atom(sympy.Function(name)(*ordered(candidates)), shape, facts, safe=a.is_safe and b.is_safe)


def _candidates(name: str, a: Value, shape: Shape) -> tuple[Expression, ...]:
    """What the largest is taken of, if that is what it is."""
    named = a.canonical.args[0] if a.canonical.func == ARRAY else a.canonical
    return tuple(named.args) if named.func == sympy.Function(name) and a.shape == shape else (a.canonical,)


def floor_quotient(a: Value, b: Value, quotient: Value) -> Value:
    """The quotient of whole numbers rounded down; of others, rounding decides what that is."""
    if a.known("whole") and b.known("whole"):
        facts: frozenset[Fact] = COUNT if quotient.known("nonnegative") else frozenset({"whole"})
        return function("floor", [quotient], quotient.shape, facts, safe=quotient.is_safe)
    return function("floor of rounded", [a, b], quotient.shape, safe=False)


def where(condition: Expression, a: Value, b: Value, shape: Shape) -> Value:
    facts = a.facts & b.facts
    arguments = (condition, a.canonical, b.canonical)
    return atom(sympy.Function("where")(*arguments), shape, facts, safe=a.is_safe and b.is_safe)


def function(name: str, arguments: list[Value], shape: Shape, facts: Iterable[Fact] = (), *, safe: bool) -> Value:
    """A function of which only its value at equal arguments is known to be equal."""
    return atom(sympy.Function(name)(*(x.canonical for x in arguments)), shape, facts, safe=safe)


def linear(name: str, a: Value, shape: Shape, *further: Expression) -> Value:
    """A linear function of an array: sums are taken apart, and numbers out.

    Args:
        name: of the function.
        a: its argument.
        shape: of the result.
        further: arguments that are no numbers, such as axes.
    """
    held = sympy.Function("shape")(*ordered(a.shape))

    def applied(argument: Expression) -> Expression:
        called = sympy.Function(name)(argument, held, *further)
        return ARRAY(called, *ordered(shape)) if shape else called

    positive = signless(a)
    sign = sympy.Integer(1 if positive.finite == expanded(a.finite) else -1)
    if not a.is_safe:
        return Value(sign, (applied(positive.canonical),), shape)
    facts: frozenset[Fact] = a.facts & {"nonnegative"}
    terms = [split(term) for term in sympy.Add.make_args(expanded(a.finite))]
    if len(terms) == 1 or all(_shape(arrays) == a.shape for _, arrays in terms):
        parts = (scale * applied(arrays) for scale, arrays in terms)
        return Value(sympy.Add(*parts), shape=shape, facts=facts)
    return Value(sign * applied(positive.finite), shape=shape, facts=facts)


def split(term: Expression) -> tuple[Expression, Expression]:
    """The numbers and the arrays that a product consists of."""
    numbers: list[Expression] = []
    arrays: list[Expression] = []
    for factor in sympy.Mul.make_args(term):
        (arrays if _shape(factor) else numbers).append(factor)
    return sympy.Mul(*numbers), sympy.Mul(*arrays)


def _shape(expression: Expression) -> Shape:
    """The shape of sums and products of atoms."""
    if expression.func == ARRAY:
        return frozenset(expression.args[1:])
    if isinstance(expression, (sympy.Add, sympy.Mul, sympy.Pow)):
        return SCALAR.union(*map(_shape, expression.args))
    return SCALAR


def same(a: Value, b: Value) -> bool:
    """Whether two values are the same for every value of the symbols."""
    if a.unsafe != b.unsafe or a.shape != b.shape:
        return False
    difference = expanded(a.finite - b.finite)
    return bool(difference == 0 or (_has_quotients(difference) and sympy.cancel(sympy.together(difference)) == 0))


def _has_quotients(expression: Expression) -> bool:
    return any(power.exp.is_negative for power in expression.atoms(sympy.Pow))
