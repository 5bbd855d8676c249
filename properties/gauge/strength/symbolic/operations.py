"""What Python's operators, and the attributes and items of arrays, make of symbolic values."""

import ast
from collections.abc import Mapping, Sequence, Set
from inspect import getattr_static
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import sympy

from stepgauge.properties.gauge.strength.symbolic import algebra
from stepgauge.properties.gauge.strength.symbolic.algebra import (
    ARRAY,
    COUNT,
    Expression,
    Shape,
    Value,
    atom,
    number,
    ordered,
)  # fmt: skip
from stepgauge.properties.gauge.strength.symbolic.path import Path, is_below, is_equal, is_zero
from stepgauge.properties.gauge.strength.symbolic.values import (
    ANY_SHAPE,
    BOUND,
    Broken,
    Closure,
    Condition,
    Either,
    Extents,
    Items,
    Method,
    NotUnderstood,
    Precision,
    Record,
    Text,
    opaque,
    part,
    symbol,
)  # fmt: skip

EXTENTS, RESHAPED, LIST = map(sympy.Function, ("extents", "reshaped", "list"))


class Following(NamedTuple):
    """Which calls execute the function that is called; any other call stands for its result.

    Attributes:
        needed: the names of those that have to be executed.
        others: whether all others are, too, as far as they are understood.
    """

    needed: Set[str]
    others: bool


class Operations:
    """Operations along one path.

    Attributes:
        path: of the branches.
        following: which calls are executed.
        failures: what was computed that may raise, each by what it depends on.
    """

    def __init__(self, path: Path, following: Following) -> None:
        self.path, self.following = path, following
        self.failures: set[Expression] = set()

    def call(self, function: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def lifted(self, value: Any) -> Any:
        """A number of Python as a value; anything else as it is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if not np.isfinite(value):
            raise NotUnderstood("a number that is not finite")
        return number(value)

    def may_fail(self, what: str, *on: Any) -> None:
        self.failures.add(sympy.Function(what)(*map(self.frozen, on)))

    # Values of some kind.

    def resolved(self, value: Any) -> Any:
        """A value of the type that the path says it has."""
        while isinstance(value, Either):
            value = self._of_one_type(value)
        return value

    def _of_one_type(self, value: Either) -> Any:
        kinds = [kind for kind in value.values if kind is not type(None)]
        if len(kinds) < len(value.values) and self.is_none(value):
            return None
        for kind in kinds[:-1]:
            if self.path.decide(has_type(value, kind)):
                return value.values[kind]
        return value.values[kinds[-1]]

    def is_none(self, value: Any) -> bool:
        if isinstance(value, Either) and type(None) in value.values:
            return self.path.decide(Condition(sympy.Function("is none")(value.name)))
        return value is None

    def numeric(self, value: Any) -> Value:
        value = self.resolved(value)
        if isinstance(value, Value):
            return value
        if value is None or isinstance(value, (str, tuple, list, Record, Text)):
            raise Broken("no number")
        raise NotUnderstood(f"a number from a {type(value).__name__}")

    def scalar(self, value: Any) -> Value:
        found = self.numeric(value)
        if found.shape:
            raise NotUnderstood("a number from an array")
        return found

    def is_true(self, value: Any) -> bool:
        """Whether a value is taken for true."""
        value = self.resolved(value)
        if isinstance(value, Condition):
            return self.path.decide(value)
        if isinstance(value, Value):
            return not self.path.decide(is_zero(value))
        if isinstance(value, Items):
            return not self.path.decide(is_zero(self.length(value)))
        if isinstance(value, Record):
            return bool(value.values)
        if isinstance(value, (bool, str, tuple, list, type, FunctionType)) or value is None:
            return bool(value)
        raise NotUnderstood("the truth of something")

    def length(self, value: Any) -> Value:
        if isinstance(value, (tuple, list)):
            return number(len(value))
        if isinstance(value, Items):
            return atom(sympy.Function("len")(value.name), facts=COUNT)
        if isinstance(value, Value) and value.shape:
            self.may_fail("len", extents(value.shape))
            return self._extent(value.shape, 0)
        raise NotUnderstood("a length")

    # Operators.

    def operate(self, operation: type[ast.operator], left: Any, right: Any) -> Any:
        if operation is ast.Mult and isinstance(left, (tuple, Record)):
            return self._repeated(left, self.numeric(right))
        a, b = self.numeric(left), self.numeric(right)
        self._broadcast(a, b)
        if operation is ast.Add:
            return algebra.add(a, b)
        if operation is ast.Sub:
            return algebra.subtract(a, b)
        if operation is ast.Mult:
            return algebra.multiply(a, b)
        if operation is ast.Div:
            return self._quotient(a, b)
        if operation is ast.FloorDiv:
            return algebra.floor_quotient(a, b, self._quotient(a, b))
        if operation is ast.Pow:
            return self._power(a, b)
        if operation is ast.MatMult:
            return self._matrix_product(a, b)
        raise NotUnderstood(operation.__name__)

    def _repeated(self, items: Any, count: Value) -> tuple[Any, ...]:
        held = tuple(items.values.values()) if isinstance(items, Record) else items
        if not count.finite.is_Integer:
            raise NotUnderstood("a tuple repeated")
        return held * int(count.finite)

    def _broadcast(self, a: Value, b: Value) -> None:
        """Arrays whose shapes do not fit raise."""
        if len(shape := algebra.broadcast(a.shape, b.shape)) > 1:
            self.failures.add(sympy.Function("broadcast")(*ordered(shape)))

    def _quotient(self, a: Value, b: Value) -> Value:
        is_nonzero = not b.shape and self.path.taken.get(is_zero(b).statement) is False
        is_array = any(shape.func != ANY_SHAPE for shape in a.shape | b.shape)
        if not (is_array or is_nonzero or b.known("nonzero")):
            self.may_fail("over", b)  # Python's numbers raise where NumPy's do not
        return algebra.divide(a, b, nonzero=is_nonzero)

    def _power(self, a: Value, b: Value) -> Value:
        if not b.known("nonnegative"):
            self.may_fail("power", a, b)  # of zero
        return algebra.power(a, b)

    def _matrix_product(self, a: Value, b: Value) -> Value:
        """A product of matrices, bilinear: the numbers among the factors are taken out."""
        self.may_fail("matmul", extents(a.shape), extents(b.shape))
        scale, matrices = sympy.Integer(1), []
        for x in (a, b):
            numbers, arrays = algebra.split(algebra.expanded(x.finite)) if x.is_safe else (1, x.canonical)
            scale *= numbers
            matrices.append(ARRAY(arrays, *ordered(x.shape)))
        shape = frozenset({sympy.Function("matrices")(extents(a.shape), extents(b.shape))})
        product = atom(sympy.Function("matmul")(*matrices), shape, safe=a.is_safe and b.is_safe)
        return algebra.multiply(Value(scale), product)

    def negative(self, value: Any) -> Any:
        if isinstance(value, Record):
            return self.call(self.attribute(value, "__neg__"), [], {})
        return algebra.negative(self.numeric(value))

    def compare(self, operation: ast.cmpop, a: Any, b: Any) -> Any:
        if isinstance(operation, (ast.Is, ast.IsNot)):
            if b is not None:
                raise NotUnderstood("is")
            return self.is_none(a) is isinstance(operation, ast.Is)
        if isinstance(operation, (ast.Eq, ast.NotEq)):
            return self._is_equal(a, b, negated=isinstance(operation, ast.NotEq))
        if isinstance(operation, ast.Lt) and isinstance(a, Record):
            return self.call(self.attribute(a, "__lt__"), [b], {})
        x, y = self.numeric(a), self.numeric(b)
        if isinstance(operation, (ast.Gt, ast.GtE)):
            x, y = y, x
        return is_below(x, y, strictly=isinstance(operation, (ast.Lt, ast.Gt)))

    def _is_equal(self, a: Any, b: Any, *, negated: bool) -> Any:
        if isinstance(a, str) and isinstance(b, str):
            return (a == b) is not negated
        if isinstance(a, Text) and isinstance(b, str):
            return Condition(sympy.Function("is")(a.name, self.frozen(b)), negated)
        equal = is_equal(self.numeric(a), self.numeric(b))
        return Condition(equal.statement, negated, equal.shape)

    # Attributes and items.

    def attribute(self, owner: Any, name: str) -> Any:
        owner = self.resolved(owner)
        if isinstance(owner, (ModuleType, type)):
            return self.lifted(getattr(owner, name))
        if isinstance(owner, Record):
            return self._member(owner, name)
        if isinstance(owner, Value):
            return self._of_array(owner, name)
        if isinstance(owner, Precision) and name == "type":
            return float  # but for rounding
        raise NotUnderstood(f"an attribute of a {type(owner).__name__}")

    def _member(self, owner: Record, name: str) -> Any:
        if name in owner.values:
            return owner.values[name]
        if name == "_replace":
            return Method(replaced, owner)
        found = getattr_static(owner.kind, name, None)
        if found is None:
            raise Broken("no such attribute")
        if isinstance(found, property):
            return self.call(Method(found.fget, owner), [], {})
        return Method(found, owner) if isinstance(found, FunctionType) else self.lifted(found)

    def _of_array(self, array: Value, name: str) -> Any:
        if name == "shape":
            return self.extents(array.shape)
        if name == "ndim" and not array.shape:
            return number(0)
        if name == "size" and not array.shape:
            return number(1)
        if name in ("ndim", "size"):
            return atom(sympy.Function(name)(extents(array.shape)), facts=COUNT)
        if name == "T":
            return algebra.linear("T", array, frozenset({sympy.Function("transposed")(extents(array.shape))}))
        if name == "dtype":
            return Precision()
        if name == "reshape":
            return Method(reshaped, array)
        self.may_fail("attribute", array, name)
        return opaque(part(self.frozen(array), name))

    def extents(self, shape: Shape) -> Any:
        """The shape of an array: a tuple if it is known how many dimensions it has."""
        if not shape:
            return ()
        if len(shape) > 1 or (made := next(iter(shape))).func != RESHAPED:
            return Extents(shape)
        return tuple(self._extent(shape, k) for k in range(len(made.args[1].args)))

    def _extent(self, shape: Shape, dimension: int) -> Value:
        return atom(sympy.Function("extent")(extents(shape), dimension), facts=COUNT)

    def item(self, owner: Any, index: Any, *, is_slice: bool) -> Any:
        if isinstance(owner, Mapping):
            if not isinstance(index, str) or index not in owner:
                raise Broken("no such key")
            return owner[index]
        at = self.frozen(index)
        if isinstance(owner, Record) and hasattr(owner.kind, "_fields"):
            owner = tuple(owner.values.values())
        if isinstance(owner, tuple):
            return self._item_of_tuple(owner, at)
        if not isinstance(owner, (Extents, Items, Value)):
            raise NotUnderstood("an item")
        self.may_fail("index", extents(owner.shape) if isinstance(owner, Value) else owner, at)
        if isinstance(owner, Items):
            name = sympy.Function("item")(owner.name, at)
            return Items(name, owner.annotation) if is_slice else symbol(owner.annotation, name)
        if isinstance(owner, Value):
            shape = frozenset({sympy.Function("indexed")(extents(owner.shape), at)})
            return algebra.linear("item", owner, shape, at)
        if not at.is_Integer or at < 0:
            raise NotUnderstood("an extent counted from the last")
        return self._extent(owner.of, int(at))

    def _item_of_tuple(self, items: tuple[Any, ...], at: Expression) -> Any:
        if not at.is_Integer:
            raise NotUnderstood("an item of a tuple")
        if not -len(items) <= at < len(items):
            raise Broken("no such item")
        return items[int(at)]

    # Values as arguments of functions of which nothing is known.

    def frozen(self, value: Any) -> Expression:
        if isinstance(value, Value):
            return ARRAY(value.canonical, *ordered(value.shape)) if value.shape else value.canonical
        if isinstance(value, Condition):
            return sympy.Function("not")(value.statement) if value.negated else value.statement
        if isinstance(value, Record):
            return sympy.Function(value.kind.__qualname__)(*map(self.frozen, value.values.values()))
        if isinstance(value, (tuple, list)):
            return sympy.Function(type(value).__name__)(*map(self.frozen, value))
        if isinstance(value, slice):
            return sympy.Function("slice")(*map(self.frozen, (value.start, value.stop, value.step)))
        if isinstance(value, Closure):
            return self._frozen_closure(value)
        if isinstance(value, Extents):
            return extents(value.of)
        if isinstance(value, Method):
            return sympy.Function("method")(self.frozen(value.owner), self.frozen(value.function))
        if isinstance(value, (Text, Items, Either)):
            return value.name
        if isinstance(value, sympy.Basic):
            return value
        return self._frozen_constant(value)

    def _frozen_closure(self, closure: Closure) -> Expression:
        """A lambda, by what it makes of symbols."""
        arguments = [opaque(bound_symbol(f"argument {k}")) for k, _ in enumerate(closure.function.args.args)]
        return sympy.Function("lambda")(self.frozen(self.call(closure, arguments, {})))

    def _frozen_constant(self, value: Any) -> Expression:
        if isinstance(value, (str, bool)) or value is None:
            return sympy.Symbol(repr(value))
        if isinstance(value, FunctionType) and value.__name__ in self.following.needed:
            raise NotUnderstood("a call of what is called here without executing it")
        if hasattr(value, "__qualname__"):
            return sympy.Symbol(f"{value.__module__}.{value.__qualname__}")
        raise NotUnderstood(f"a {type(value).__name__}")


def extents(shape: Shape) -> Expression:
    """A shape as an argument of a function."""
    return EXTENTS(*ordered(shape))


def has_type(value: Either, kind: Any) -> Condition:
    return Condition(sympy.Function("isinstance")(value.name, sympy.Symbol(str(kind))))


def bound_symbol(name: str) -> Expression:
    """A symbol for an item of a loop, an argument of a lambda."""
    return sympy.Symbol(BOUND + name)


def replaced(_: Operations, record: Record, **values: Any) -> Record:
    """A named tuple's `_replace`."""
    return Record(record.kind, {**record.values, **values})


def reshaped(run: Operations, array: Value, *view: Any) -> Value:
    """An array's `reshape`: done twice, it is as if it had been done once."""
    sizes = run.frozen(view[0] if len(view) == 1 else view)
    whole = extents(array.shape)
    if len(array.shape) == 1 and (made := next(iter(array.shape))).func == RESHAPED:
        whole = made.args[0]
    run.may_fail("reshape", whole, sizes)
    shape = frozenset(whole.args if sizes == whole else (RESHAPED(whole, sizes),))
    return array if shape == array.shape else algebra.linear("reshape", array, shape)
