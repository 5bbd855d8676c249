"""A function's text executed on symbols, one path through its branches at a time.

It executes the part of Python that the reference is written in; anything else is `NotUnderstood`. What a text may raise
is kept beside what it returns, so that a computation that nobody uses counts where it could fail.
"""

import ast
import math
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from inspect import getattr_static
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import sympy

from stepgauge.properties.gauge.strength.symbolic import algebra
from stepgauge.properties.gauge.strength.symbolic.algebra import (
    ARRAY,
    COUNT,
    SCALAR,
    Expression,
    Shape,
    Value,
    atom,
    number,
    ordered,
)
from stepgauge.properties.gauge.strength.symbolic.values import (
    ANY_SHAPE,
    BOUND,
    Closure,
    Condition,
    Either,
    Extents,
    Items,
    Method,
    NotUnderstood,
    Precision,
    Raised,
    Record,
    Text,
    fields_of,
    frozen,
    opaque,
    part,
    symbol,
)

Names = Mapping[str, Any]
NO_RETURN = object()
CALL, LIST = sympy.Function("call"), sympy.Function("list")


class Path:
    """Which way every branch goes: as given, then wherever the condition is new, the way it is true."""

    def __init__(self, taken: Mapping[Expression, bool]) -> None:
        self.taken = dict(taken)
        self.chosen: list[Expression] = []

    def decide(self, condition: Condition) -> bool:
        if condition.shape or any(BOUND in s.name for s in condition.statement.free_symbols):
            raise NotUnderstood("a branch that differs from item to item")
        if condition.statement in (sympy.true, sympy.false):
            return bool(condition.statement) is not condition.negated
        if condition.statement not in self.taken:
            excluded = self._excluded(condition.statement)
            if not excluded:
                self.chosen.append(condition.statement)
            self.taken[condition.statement] = not excluded
        return self.taken[condition.statement] is not condition.negated

    def _excluded(self, statement: Expression) -> bool:
        """Whether it says that something is a text, or of a type, and another one is known."""
        if statement.func not in (sympy.Function("is"), sympy.Function("isinstance")):
            return False
        others = (s for s, holds in self.taken.items() if holds and s.func == statement.func)
        return any(other.args[0] == statement.args[0] for other in others)

    def open(self) -> list[dict[Expression, bool]]:
        """The paths that part from this one where it chose."""
        steps = list(self.taken.items())
        return [
            {**dict(steps[:k]), statement: False} for k, (statement, _) in enumerate(steps) if statement in self.chosen
        ]


class Following(NamedTuple):
    """Which calls execute the function that is called; any other call stands for its result.

    Attributes:
        needed: the names of those that have to be executed.
        others: whether all others are, too, as far as they are understood.
    """

    needed: Set[str]
    others: bool


class Execution:
    """A text executed along one path.

    Attributes:
        path: of its branches.
        trees: the functions' texts, by module and name.
        following: which calls are executed.
        failures: what was computed that may raise, each by what it depends on.
    """

    def __init__(self, path: Path, trees: Mapping[tuple[str, str], ast.FunctionDef], following: Following) -> None:
        self.path, self.trees, self.following = path, trees, following
        self.failures: set[Expression] = set()
        self.depth = 0

    # Functions and statements.

    def run(self, function: FunctionType, arguments: Sequence[Any], keywords: Names | None = None) -> Any:
        """What a function returns."""
        tree = self.trees[function.__module__, function.__qualname__]
        names = self._bound(tree, function, arguments, keywords or {})
        found = self._block(tree.body, names, function.__globals__)
        return None if found is NO_RETURN else found

    def _bound(
        self, tree: ast.FunctionDef, function: FunctionType, given: Sequence[Any], keywords: Names
    ) -> dict[str, Any]:
        parameters = [a.arg for a in tree.args.args]
        defaults = function.__defaults__ or ()
        names = dict(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))
        names |= dict(zip(parameters, given, strict=False)) | dict(keywords)
        if len(given) > len(parameters) or names.keys() != set(parameters):
            raise Raised("TypeError")
        return {name: self._lifted(value) for name, value in names.items()}

    def _block(self, body: Sequence[ast.stmt], names: dict[str, Any], module: Names) -> Any:
        for statement in body:
            execute = getattr(self, f"_do_{type(statement).__name__}", None)
            if execute is None:
                raise NotUnderstood(type(statement).__name__)
            found = execute(statement, names, module)
            if found is not NO_RETURN:
                return found
        return NO_RETURN

    def _do_Return(self, statement: ast.Return, names: dict[str, Any], module: Names) -> Any:
        return None if statement.value is None else self.value(statement.value, names, module)

    def _do_Assign(self, statement: ast.Assign, names: dict[str, Any], module: Names) -> Any:
        value = self.value(statement.value, names, module)
        for target in statement.targets:
            self._assign(target, value, names)
        return NO_RETURN

    def _do_If(self, statement: ast.If, names: dict[str, Any], module: Names) -> Any:
        taken = statement.body if self.true(self.value(statement.test, names, module)) else statement.orelse
        return self._block(taken, names, module)

    def _do_Assert(self, statement: ast.Assert, names: dict[str, Any], module: Names) -> Any:
        if not self.true(self.value(statement.test, names, module)):
            raise Raised("AssertionError")
        return NO_RETURN

    def _do_Raise(self, statement: ast.Raise, names: dict[str, Any], module: Names) -> Any:
        raise Raised(ast.unparse(statement))

    def _do_Pass(self, *_: Any) -> Any:
        return NO_RETURN

    def _do_Expr(self, statement: ast.Expr, names: dict[str, Any], module: Names) -> Any:
        before = set(self.failures)
        self.value(statement.value, names, module)
        for call in self.failures - before:
            if call.func == CALL:  # of what is not executed: it may change what it is given
                self._changed(statement.value, call, names)
        return NO_RETURN

    def _changed(self, node: ast.expr, call: Expression, names: dict[str, Any]) -> None:
        """A list after a call that may have changed it."""
        arguments = node.args if isinstance(node, ast.Call) else []
        if len(arguments) != 1 or not isinstance(arguments[0], ast.Name) or not is_list(names[arguments[0].id]):
            raise NotUnderstood("a call for its effect")
        changed = names[arguments[0].id]
        if sum(value is changed for value in names.values()) > 1:
            raise NotUnderstood("a list of two names")
        names[arguments[0].id] = Items(LIST(sympy.Function("changed")(changed.name, call)), changed.annotation)

    def _do_For(self, statement: ast.For, names: dict[str, Any], module: Names) -> Any:
        items = self.value(statement.iter, names, module)
        if not isinstance(items, tuple):
            return self._repeat(statement, items, names, module)
        for item in items:
            self._assign(statement.target, item, names)
            found = self._block(statement.body, names, module)
            if found is not NO_RETURN:
                return found
        return self._block(statement.orelse, names, module)

    def _repeat(self, statement: ast.For, items: Any, names: dict[str, Any], module: Names) -> Any:
        """A loop of unknown length: what it makes of the variables that it changes, from what they were."""
        stored = {
            n.id
            for s in statement.body
            for n in ast.walk(s)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        carried = sorted(stored & names.keys())
        inner = {**names, **{name: opaque(_bound_symbol(name)) for name in carried}}
        self._assign(statement.target, opaque(_bound_symbol("item")), inner)
        if self._block(statement.body, inner, module) is not NO_RETURN:
            raise NotUnderstood("a return from a loop")
        loop = [self.frozen(items)]
        loop += [
            sympy.Function("variable")(_bound_symbol(n), self.frozen(names[n]), self.frozen(inner[n])) for n in carried
        ]
        for name in stored:
            names.pop(name, None)
        for name in carried:
            names[name] = opaque(sympy.Function("loop")(_bound_symbol(name), *loop))
        return NO_RETURN

    def _assign(self, target: ast.expr, value: Any, names: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = self._unpacked(value, len(target.elts))
            for inner, item in zip(target.elts, parts, strict=True):
                self._assign(inner, item, names)
        else:
            raise NotUnderstood("an assignment to a part")

    def _unpacked(self, value: Any, length: int) -> Sequence[Any]:
        if isinstance(value, Record):
            value = tuple(value.values.values())
        if isinstance(value, tuple):
            if len(value) != length:
                raise Raised("ValueError")
            return value
        raise NotUnderstood("unpacking")

    # Expressions.

    def value(self, node: ast.expr, names: Names, module: Names) -> Any:
        evaluate = getattr(self, f"_of_{type(node).__name__}", None)
        if evaluate is None:
            raise NotUnderstood(type(node).__name__)
        return evaluate(node, names, module)

    def _lifted(self, value: Any) -> Any:
        """A Python number as a value."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not np.isfinite(value):
                raise NotUnderstood("a number that is not finite")
            return number(value)
        return value

    def _of_Constant(self, node: ast.Constant, names: Names, module: Names) -> Any:
        return self._lifted(node.value)

    def _of_Name(self, node: ast.Name, names: Names, module: Names) -> Any:
        builtins = module["__builtins__"]
        for scope in (names, module, builtins if isinstance(builtins, dict) else vars(builtins)):
            if node.id in scope:
                return self._lifted(scope[node.id])
        raise Raised("NameError")

    def _of_Tuple(self, node: ast.Tuple, names: Names, module: Names) -> Any:
        found: tuple[Any, ...] = ()
        parts: list[Any] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                parts += [found, self.value(item.value, names, module)]
                found = ()
            else:
                found = (*found, self.value(item, names, module))
        return self._joined([*parts, found])

    def _joined(self, parts: list[Any]) -> Any:
        """Tuples end to end."""
        if all(isinstance(x, tuple) for x in parts):
            return tuple(item for x in parts for item in x)
        if not all(isinstance(x, (tuple, Items)) for x in parts):
            raise NotUnderstood("a starred value")
        annotation = next(x.annotation for x in parts if isinstance(x, Items))
        return Items(sympy.Function("joined")(*(self.frozen(x) for x in parts if x != ())), annotation)

    def _of_List(self, node: ast.List, names: Names, module: Names) -> Any:
        return [self.value(item, names, module) for item in node.elts]

    def _of_Lambda(self, node: ast.Lambda, names: Names, module: Names) -> Any:
        return Closure(node, dict(names), module)

    def _of_IfExp(self, node: ast.IfExp, names: Names, module: Names) -> Any:
        return self.value(node.body if self.true(self.value(node.test, names, module)) else node.orelse, names, module)

    def _of_BoolOp(self, node: ast.BoolOp, names: Names, module: Names) -> Any:
        for operand in node.values[:-1]:
            value = self.value(operand, names, module)
            if self.true(value) is isinstance(node.op, ast.Or):
                return value
        return self.value(node.values[-1], names, module)

    def _of_UnaryOp(self, node: ast.UnaryOp, names: Names, module: Names) -> Any:
        value = self.value(node.operand, names, module)
        if isinstance(node.op, ast.Not):
            return not self.true(value)
        if isinstance(node.op, ast.USub):
            if isinstance(value, Record):
                return self.call(self.attribute(value, "__neg__"), [], {})
            return algebra.negative(self.numeric(value))
        raise NotUnderstood(type(node.op).__name__)

    def _of_BinOp(self, node: ast.BinOp, names: Names, module: Names) -> Any:
        a, b = self.value(node.left, names, module), self.value(node.right, names, module)
        if isinstance(node.op, ast.Mult) and isinstance(a, (tuple, Record, Items, Extents)):
            return self._repeated(a, self.numeric(b))
        return self.operate(type(node.op), a, b)

    def _repeated(self, items: Any, count: Value) -> Any:
        if isinstance(items, Record):
            items = tuple(items.values.values())
        if isinstance(items, tuple) and count.finite.is_Integer:
            return items * int(count.finite)
        raise NotUnderstood("a tuple repeated")

    def operate(self, operation: type[ast.operator], left: Any, right: Any) -> Value:
        if isinstance(left, Record) or isinstance(right, Record):
            raise NotUnderstood("an operation on records")
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
            return algebra.floor(self._quotient(a, b))
        if operation is ast.Pow:
            if not b.known("nonnegative"):
                self._may_fail("power", a, b)
            return algebra.power(a, b)
        if operation is ast.MatMult:
            return self._matrix_product(a, b)
        raise NotUnderstood(operation.__name__)

    def _quotient(self, a: Value, b: Value) -> Value:
        nonzero = not b.shape and self.path.taken.get(_is_zero(b).statement) is False
        is_array = any(shape.func != ANY_SHAPE for shape in a.shape | b.shape)
        if not is_array and not nonzero and not b.known("nonzero"):
            self._may_fail("over", b)  # Python's numbers raise where NumPy's do not
        return algebra.divide(a, b, nonzero=nonzero)

    def _matrix_product(self, a: Value, b: Value) -> Value:
        product = sympy.Function("product of shapes")
        shape = frozenset({product(self._shape(a.shape), self._shape(b.shape))})
        self._may_fail("matmul", a, b)
        scale, factors = sympy.Integer(1), []
        for x in (a, b):
            numbers, arrays = (
                algebra.split(algebra.expanded(x.finite)) if x.is_safe else (sympy.Integer(1), x.canonical)
            )
            scale *= numbers
            factors.append(ARRAY(arrays, *ordered(x.shape)))
        made = atom(sympy.Function("matmul")(*factors), shape, safe=a.is_safe and b.is_safe)
        return algebra.multiply(Value(scale), made)

    def _broadcast(self, *values: Value) -> None:
        """Arrays whose shapes do not fit raise."""
        shape = frozenset[Expression]().union(*(v.shape for v in values))
        if len(shape) > 1:
            self.failures.add(sympy.Function("broadcast")(*ordered(shape)))

    def _may_fail(self, what: str, *on: Any) -> None:
        self.failures.add(sympy.Function(what)(*(self.frozen(x) for x in on)))

    def _of_Compare(self, node: ast.Compare, names: Names, module: Names) -> Any:
        if len(node.ops) != 1:
            raise NotUnderstood("a chain of comparisons")
        a = self.value(node.left, names, module)
        b = self.value(node.comparators[0], names, module)
        return self.compare(node.ops[0], a, b)

    def compare(self, operation: ast.cmpop, a: Any, b: Any) -> Any:
        if isinstance(operation, (ast.Is, ast.IsNot)):
            return self._is_none(a, b) is isinstance(operation, ast.Is)
        if isinstance(operation, (ast.Eq, ast.NotEq)):
            return self._is_equal(a, b, negated=isinstance(operation, ast.NotEq))
        if isinstance(operation, ast.Lt) and isinstance(a, Record):
            return self.call(self.attribute(a, "__lt__"), [b], {})
        x, y = self.numeric(a), self.numeric(b)
        if isinstance(operation, (ast.Gt, ast.GtE)):
            x, y = y, x
        return _is_below(x, y, strictly=isinstance(operation, (ast.Lt, ast.Gt)))

    def _is_none(self, a: Any, b: Any) -> bool:
        if b is not None:
            raise NotUnderstood("is")
        if isinstance(a, Either) and type(None) in a.values:
            return self.path.decide(Condition(sympy.Function("is none")(a.name)))
        return a is None

    def _is_equal(self, a: Any, b: Any, *, negated: bool) -> Any:
        if isinstance(a, str) and isinstance(b, str):
            return (a == b) is not negated
        if isinstance(a, Text) and isinstance(b, str):
            return Condition(sympy.Function("is")(a.name, sympy.Symbol(repr(b))), negated)
        zero = _is_zero(algebra.subtract(self.numeric(a), self.numeric(b)))
        return Condition(zero.statement, negated, zero.shape)

    def true(self, value: Any) -> bool:
        """Whether a value is taken for true."""
        if isinstance(value, Condition):
            return self.path.decide(value)
        if isinstance(value, Value):
            if value.finite.is_Rational and value.is_safe and not value.shape:
                return bool(value.finite)
            return not self.path.decide(_is_zero(value))
        if isinstance(value, Either):
            return self.true(self.resolved(value))
        if isinstance(value, (bool, str, tuple, list)) or value is None:
            return bool(value)
        if isinstance(value, Items):
            return not self.path.decide(_is_zero(self._length(value)))
        if isinstance(value, Record):
            return "_fields" not in vars(value.kind) or bool(value.values)
        raise NotUnderstood("the truth of something")

    def resolved(self, value: Any) -> Any:
        """A value of the type that the path says it has."""
        while isinstance(value, Either):
            value = self._of_one_type(value)
        return value

    def _of_one_type(self, value: Either) -> Any:
        rest = [kind for kind in value.values if kind is not type(None)]
        if len(rest) < len(value.values) and self._is_none(value, None):
            return None
        for kind in rest[:-1]:
            if self.path.decide(self._has_type(value, kind)):
                return value.values[kind]
        return value.values[rest[-1]]

    def _has_type(self, value: Either, annotation: Any) -> Condition:
        return Condition(sympy.Function("isinstance")(value.name, sympy.Symbol(str(annotation))))

    def numeric(self, value: Any) -> Value:
        value = self.resolved(value)
        if isinstance(value, Value):
            return value
        if value is None or isinstance(value, (str, tuple, list, Record, Text)):
            raise Raised("TypeError")
        raise NotUnderstood(f"a number from a {type(value).__name__}")

    # Attributes and items.

    def _of_Attribute(self, node: ast.Attribute, names: Names, module: Names) -> Any:
        return self.attribute(self.value(node.value, names, module), node.attr)

    def attribute(self, owner: Any, name: str) -> Any:
        owner = self.resolved(owner)
        if isinstance(owner, (ModuleType, type)):
            return self._lifted(getattr(owner, name))
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
            return Method(_replaced, owner)
        try:
            found = getattr_static(owner.kind, name)
        except AttributeError:
            raise Raised("AttributeError") from None
        if isinstance(found, property):
            return self.call(Method(found.fget, owner), [], {})
        return Method(found, owner) if isinstance(found, FunctionType) else self._lifted(found)

    def _of_array(self, array: Value, name: str) -> Any:
        if name == "shape":
            return self._extents(array.shape)
        if name in ("ndim", "size"):
            return (
                atom(sympy.Function(name)(*ordered(array.shape)), facts=COUNT)
                if array.shape
                else number(name == "size")
            )
        if name == "T":
            transposed = frozenset({sympy.Function("transposed")(self._shape(array.shape))})
            return algebra.linear("T", array, transposed) if array.shape else array
        if name == "dtype":
            return Precision()
        if name == "reshape":
            return Method(_reshaped, array)
        self._may_fail("attribute", array, name)
        return opaque(part(self.frozen(array), name))

    def _extents(self, shape: Shape) -> Any:
        """The shape of an array: a tuple if its dimensions are known."""
        if not shape:
            return ()
        view = next(iter(shape))
        if len(shape) == 1 and view.func == sympy.Function("reshaped"):
            return tuple(self._extent(shape, k) for k in range(len(view.args[1].args)))
        return Extents(shape)

    def _extent(self, shape: Shape, k: int) -> Value:
        return atom(sympy.Function("extent")(self._shape(shape), k), facts=COUNT)

    def _shape(self, shape: Shape) -> Expression:
        return sympy.Function("extents")(*ordered(shape))

    def _of_Subscript(self, node: ast.Subscript, names: Names, module: Names) -> Any:
        owner = self.value(node.value, names, module)
        if isinstance(owner, Mapping):
            return owner[self.value(node.slice, names, module)]
        index = self._index(node.slice, names, module)
        if isinstance(owner, Record) and hasattr(owner.kind, "_fields"):
            owner = tuple(owner.values.values())
        if isinstance(owner, tuple):
            return self._item(owner, index)
        if isinstance(owner, Extents) and index.is_Integer and index >= 0:
            self._may_fail("index", owner, index)
            return self._extent(owner.of, int(index))
        if isinstance(owner, Items):
            self._may_fail("index", owner, index)
            name = sympy.Function("item")(owner.name, index)
            return (
                Items(name, owner.annotation) if isinstance(node.slice, ast.Slice) else symbol(owner.annotation, name)
            )
        if isinstance(owner, Value):
            self._may_fail("index", owner, index)
            return algebra.linear(
                "item", owner, frozenset({sympy.Function("indexed")(self._shape(owner.shape), index)}), index
            )
        raise NotUnderstood("an item")

    def _index(self, node: ast.expr, names: Names, module: Names) -> Expression:
        if isinstance(node, ast.Slice):
            bounds = (None if b is None else self.value(b, names, module) for b in (node.lower, node.upper, node.step))
            return sympy.Function("slice")(*(self.frozen(b) for b in bounds))
        if isinstance(node, ast.Tuple):
            return sympy.Function("tuple")(*(self._index(x, names, module) for x in node.elts))
        return self.frozen(self.value(node, names, module))

    def _item(self, items: tuple[Any, ...], index: Expression) -> Any:
        if not index.is_Integer:
            raise NotUnderstood("an item of a tuple")
        if not -len(items) <= index < len(items):
            raise Raised("IndexError")
        return items[int(index)]

    def _of_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp, names: Names, module: Names) -> Any:
        """What is made of every item of a tuple of unknown length."""
        (loop,) = node.generators
        items = self.value(loop.iter, names, module)
        if not isinstance(items, Items):
            raise NotUnderstood("a comprehension")
        inner = dict(names)
        self._assign(loop.target, symbol(items.annotation, _bound_symbol("item")), inner)
        kept = [self.frozen(self.value(test, inner, module)) for test in loop.ifs]
        made = self.frozen(self.value(node.elt, inner, module))
        return Items(sympy.Function("each")(made, items.name, *kept), self._annotation(node.elt, items))

    def _of_ListComp(self, node: ast.ListComp, names: Names, module: Names) -> Any:
        made = self._of_GeneratorExp(node, names, module)
        return Items(LIST(made.name), made.annotation)

    def _annotation(self, made: ast.expr, items: Items) -> Any:
        return items.annotation if isinstance(made, ast.Name) else Any

    # Calls.

    def _of_Call(self, node: ast.Call, names: Names, module: Names) -> Any:
        function = self.value(node.func, names, module)
        arguments = [self.value(a, names, module) for a in node.args]
        keywords = {k.arg: self.value(k.value, names, module) for k in node.keywords if k.arg}
        return self.call(function, arguments, keywords)

    def call(self, function: Any, arguments: Sequence[Any], keywords: Names) -> Any:
        if isinstance(function, Method):
            return self.call(function.function, [function.owner, *arguments], keywords)
        if isinstance(function, Closure):
            return self._apply(function, arguments)
        if function in (_replaced, _reshaped):
            return function(self, *arguments, **keywords)
        if isinstance(function, type) and hasattr(function, "__annotations__"):
            return self._made(function, arguments, keywords)
        known = next((name for f, name in KNOWN if f is function), None)
        if known:
            return getattr(self, f"_call_{known}")(*arguments, **keywords)
        if isinstance(function, FunctionType) and self._has_text(function):
            if function.__name__ in self.following.needed:
                return self._followed(function, arguments, keywords)
            if self.following.others:
                with suppress(NotUnderstood):
                    return self._followed(function, arguments, keywords)
        return self._unfollowed(function, arguments, keywords)

    def _has_text(self, function: FunctionType) -> bool:
        return (function.__module__, function.__qualname__) in self.trees

    def _followed(self, function: FunctionType, arguments: Sequence[Any], keywords: Names) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotUnderstood("a function that calls itself")
        try:
            return self.run(function, arguments, keywords)
        finally:
            self.depth -= 1

    def _unfollowed(self, function: Any, arguments: Sequence[Any], keywords: Names) -> Any:
        """A call that stands for its result; where nobody uses that, it may still raise."""
        named = (sympy.Function("keyword")(sympy.Symbol(k), self.frozen(v)) for k, v in sorted(keywords.items()))
        name = CALL(self.frozen(function), *(self.frozen(x) for x in arguments), *named)
        self.failures.add(name)
        hints = get_type_hints(function) if isinstance(function, FunctionType) else {}
        return symbol(hints.get("return"), name)

    def _made(self, kind: Any, arguments: Sequence[Any], keywords: Names) -> Any:
        """An instance of a named tuple or a dataclass."""
        names = fields_of(kind)
        values = dict(zip(names, arguments, strict=False)) | dict(keywords)
        defaults = getattr(kind, "_field_defaults", None)
        if defaults is None:
            defaults = {name: getattr(kind, name) for name in names if hasattr(kind, name)}
            values.setdefault("dialect", kind.dialects[0])
        values = {name: values[name] if name in values else defaults.get(name, NO_RETURN) for name in names}
        if len(arguments) > len(names) or NO_RETURN in values.values() or not keywords.keys() <= set(names):
            raise Raised("TypeError")
        return Record(kind, {name: self._lifted(value) for name, value in values.items()})

    def _apply(self, closure: Closure, arguments: Sequence[Any]) -> Any:
        parameters = [a.arg for a in closure.function.args.args]
        if len(parameters) != len(arguments):
            raise Raised("TypeError")
        return self.value(
            closure.function.body, {**closure.names, **dict(zip(parameters, arguments, strict=True))}, closure.module
        )

    def frozen(self, value: Any) -> Expression:
        return frozen(value, self._of_symbols)

    def _of_symbols(self, closure: Closure) -> Expression:
        """A lambda, by what it makes of symbols."""
        arguments = [opaque(_bound_symbol(f"argument {k}")) for k, _ in enumerate(closure.function.args.args)]
        return sympy.Function("lambda")(self.frozen(self._apply(closure, arguments)))

    # Functions of NumPy and of Python.

    def _call_sqrt(self, x: Any) -> Value:
        return algebra.sqrt(self.numeric(x))

    def _call_abs(self, x: Any) -> Value:
        return algebra.absolute(self.numeric(x))

    def _call_maximum(self, x: Any, y: Any) -> Value:
        return algebra.largest(self.numeric(x), self.numeric(y))

    def _call_minimum(self, x: Any, y: Any) -> Value:
        return algebra.smallest(self.numeric(x), self.numeric(y))

    def _call_clip(self, x: Any, low: Any, high: Any) -> Value:
        return self._call_minimum(self._call_maximum(x, low), high)

    def _call_zeros_like(self, x: Any) -> Value:
        return algebra.zeros(self.numeric(x).shape)

    def _call_ones_like(self, x: Any) -> Value:
        return algebra.add(self._call_zeros_like(x), number(1))

    def _call_where(self, test: Any, x: Any, y: Any) -> Value:
        a, b = self.numeric(x), self.numeric(y)
        if not isinstance(test, Condition):
            raise NotUnderstood("a choice by numbers")
        shape = test.shape | a.shape | b.shape
        return algebra.where(self.frozen(test), a, b, shape)

    def _call_sum(self, x: Any, axis: Any = None, keepdims: Any = False) -> Value:
        array = self.numeric(x)
        if not array.shape and axis is None:
            return array
        return algebra.linear("sum", array, *self._reduced(array, axis, keepdims))

    def _call_mean(self, x: Any, axis: Any = None, keepdims: Any = False) -> Value:
        array = self.numeric(x)
        if not array.shape and axis is None:
            return array
        return algebra.linear("mean", array, *self._reduced(array, axis, keepdims))

    def _reduced(self, array: Value, axis: Any, keepdims: Any) -> tuple[Shape, Expression, Expression]:
        """The shape that is left of an array, and the arguments that say so."""
        if axis is None and not keepdims:
            return SCALAR, sympy.Symbol("None"), sympy.Symbol("False")
        over, kept = self.frozen(axis), self.frozen(keepdims)
        dimensions = self._extents(array.shape)
        if isinstance(dimensions, tuple) and over.is_Integer:
            over = over % len(dimensions) if -len(dimensions) <= over < len(dimensions) else over
        self._may_fail("axis", self._shape(array.shape), over)
        return frozenset({sympy.Function("reduced")(self._shape(array.shape), over, kept)}), over, kept

    def _call_max(self, x: Any, axis: Any = None, keepdims: Any = False) -> Any:
        if isinstance(x, (type, FunctionType)):
            return x  # of an object NumPy makes an array of one
        return self._extreme("max", x, axis, keepdims)

    def _call_min(self, x: Any, axis: Any = None, keepdims: Any = False) -> Value:
        return self._extreme("min", x, axis, keepdims)

    def _extreme(self, name: str, x: Any, axis: Any, keepdims: Any) -> Value:
        array = self.numeric(x)
        if not array.shape and axis is None:
            return array
        shape, *further = self._reduced(array, axis, keepdims)
        self._may_fail("max", array)  # of nothing
        facts = array.facts if array.is_safe else ()
        return atom(sympy.Function(name)(self.frozen(array), *further), shape, facts, safe=array.is_safe)

    def _call_diag(self, x: Any) -> Value:
        array = self.numeric(x)
        self._may_fail("diag", array)
        shape = frozenset({sympy.Function("diagonal")(self._shape(array.shape))})
        return replace(algebra.linear("diag", array, shape), facts=array.facts & {"nonnegative"})

    def _call_asarray(self, x: Any) -> Value:
        return self.numeric(x)

    def _call_argmin(self, x: Any) -> Value:
        self._may_fail("argmin", x)  # of nothing
        return atom(sympy.Function("argmin")(self.frozen(x)), facts=COUNT)

    def _call_isfinite(self, x: Any) -> Condition:
        return Condition(sympy.Function("isfinite")(self.numeric(x).canonical))

    def _call_float(self, x: Any) -> Value:
        if (value := self.numeric(x)).shape:
            raise NotUnderstood("a number from an array")
        return value

    def _call_int(self, x: Any) -> Value:
        if "whole" not in (value := self._call_float(x)).facts:
            raise NotUnderstood("a number cut to an integer")
        return value

    def _call_len(self, x: Any) -> Value:
        return self._length(x)

    def _length(self, x: Any) -> Value:
        if isinstance(x, (tuple, list)):
            return number(len(x))
        if isinstance(x, Items):
            return atom(sympy.Function("len")(x.name), facts=COUNT)
        if isinstance(x, Value) and x.shape:
            self._may_fail("len", x)
            return self._extent(x.shape, 0)
        raise NotUnderstood("a length")

    def _call_tuple(self, x: Any) -> Any:
        return (
            x
            if isinstance(x, (tuple, Items)) and not is_list(x)
            else tuple(x)
            if isinstance(x, list)
            else self._unknown(x)
        )

    def _unknown(self, x: Any) -> Any:
        return self._unfollowed(tuple, [x], {})

    def _call_isinstance(self, x: Any, kind: Any) -> Any:
        if isinstance(x, Either) and kind in x.values:
            return self._has_type(x, kind)
        if isinstance(x, Record):
            return issubclass(x.kind, kind)
        return Condition(sympy.Function("isinstance")(self.frozen(x), self.frozen(kind)))

    def _call_type(self, x: Any) -> Any:
        if isinstance(x, Record):
            return x.kind
        raise NotUnderstood("a type")


DEEPEST = 20
ALL = Following(frozenset(), others=True)
KNOWN: Sequence[tuple[Any, str]] = (
    *((getattr(np, name), name) for name in (
        "abs", "argmin", "asarray", "clip", "diag", "max", "maximum", "mean", "min", "minimum", "ones_like", "sqrt",
        "sum", "where", "zeros_like",
    )),
    (math.isfinite, "isfinite"), (float, "float"), (int, "int"), (isinstance, "isinstance"), (len, "len"),
    (tuple, "tuple"), (type, "type"),
)  # fmt: skip


def is_list(items: Any) -> bool:
    return isinstance(items, Items) and items.name.func == LIST


def _replaced(_: Execution, record: Record, **values: Any) -> Record:
    return replace(record, values={**record.values, **values})


def _reshaped(run: Execution, array: Value, *view: Any) -> Value:
    """Reshaped once more, an array is as if it had been only then."""
    sizes = view[0] if len(view) == 1 else tuple(view)
    before = next(iter(array.shape), None)
    owner = run._shape(array.shape)
    if before is not None and len(array.shape) == 1 and before.func == sympy.Function("reshaped"):
        owner = before.args[0]
    run._may_fail("reshape", owner, sizes)
    view_of = sympy.Function("reshaped")(owner, run.frozen(sizes))
    shape = frozenset(owner.args if run.frozen(sizes) == owner else (view_of,))
    return array if shape == array.shape else algebra.linear("reshape", array, shape)


def _bound_symbol(name: str) -> Expression:
    return sympy.Symbol(BOUND + name)


def _is_zero(a: Value) -> Condition:
    if a.known("nonzero"):
        return Condition(sympy.false, shape=a.shape)
    if not a.is_safe:
        return Condition(sympy.Function("is zero")(a.canonical), shape=a.shape)
    coefficient, monic = algebra.expanded(a.finite).as_coeff_Mul()
    if monic == 1:
        return Condition(sympy.true if coefficient == 0 else sympy.false, shape=a.shape)
    sign = -1 if monic.could_extract_minus_sign() else 1
    return Condition(sympy.Function("is zero")(algebra.expanded(sign * monic)), shape=a.shape)


def _is_below(a: Value, b: Value, *, strictly: bool) -> Condition:
    """Whether a < b, or a <= b; the one is not the negation of the other, because of NaN."""
    above, shape = algebra.subtract(b, a), a.shape | b.shape
    name = sympy.Function("less" if strictly else "at most")
    if not above.is_safe:
        return Condition(name(a.canonical, b.canonical), shape=shape)
    if above.known("nonnegative", *(("nonzero",) if strictly else ())):
        return Condition(sympy.true, shape=shape)
    if algebra.subtract(a, b).known("nonnegative", *(() if strictly else ("nonzero",))):
        return Condition(sympy.false, shape=shape)
    coefficient, rest = algebra.expanded(above.finite).as_coeff_Mul()
    if rest == 1:
        return Condition(
            sympy.true if coefficient > 0 or (coefficient == 0 and not strictly) else sympy.false, shape=shape
        )
    return Condition(name(0, rest if coefficient > 0 else -rest), shape=shape)
