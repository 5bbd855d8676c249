"""A function's text executed on symbols, one path through its branches at a time.

It executes the part of Python that the reference is written in; anything else is `NotUnderstood`. What a text may raise
is kept beside what it returns, so that a computation that nobody uses counts where it could fail.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import signature
from types import FunctionType
from typing import Any, get_type_hints

import sympy

from stepgauge.properties.gauge.strength.symbolic.algebra import Expression
from stepgauge.properties.gauge.strength.symbolic.functions import KNOWN
from stepgauge.properties.gauge.strength.symbolic.operations import (
    LIST,
    Following,
    Function,
    Operations,
    bound_symbol,
    named,
)
from stepgauge.properties.gauge.strength.symbolic.path import Path
from stepgauge.properties.gauge.strength.symbolic.values import (
    Broken,
    Closure,
    Items,
    Method,
    NotUnderstood,
    Record,
    Refused,
    fields_of,
    opaque,
    symbol,
)  # fmt: skip

Names = Mapping[str, Any]
Trees = Mapping[Function, ast.FunctionDef]
CALL = sympy.Function("call")
DEEPEST = 20  # calls within calls
UNKNOWN = object()  # a variable that may have no value
GOES_ON = object()  # what a statement comes to that does not return


class Execution(Operations):
    """The execution of functions along one path."""

    def __init__(self, path: Path, trees: Trees, following: Following) -> None:
        super().__init__(path, following)
        self.trees, self.depth = trees, 0

    def run(self, function: FunctionType, arguments: Sequence[Any], keywords: Names | None = None) -> Any:
        """What a function returns.

        Raises:
            Refused: the text raises an exception.
            Broken: Python would.
            NotUnderstood: the text does something of which it is not known what it computes.
        """
        if self.depth == DEEPEST:
            raise NotUnderstood("a function that calls itself")
        self.depth += 1
        try:
            tree = self.trees[named(function)]
            found = Frame(self, self._named(tree, function, arguments, keywords or {}), function.__globals__).block(
                tree.body
            )
        finally:
            self.depth -= 1
        return None if found is GOES_ON else found

    def _named(
        self, tree: ast.FunctionDef, function: FunctionType, given: Sequence[Any], keywords: Names
    ) -> dict[str, Any]:
        """The arguments of a call, by the names of the parameters."""
        parameters = [a.arg for a in tree.args.args]
        defaults = function.__defaults__ or ()
        names = dict(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))
        names |= dict(zip(parameters, given, strict=False)) | dict(keywords)
        if len(given) > len(parameters) or names.keys() != set(parameters):
            raise Broken("other arguments")
        return {name: self.lifted(value) for name, value in names.items()}

    def call(self, function: Any, arguments: Sequence[Any], keywords: Names) -> Any:
        if isinstance(function, Method):
            return self.call(function.function, [function.owner, *arguments], keywords)
        if isinstance(function, Closure):
            return self._apply(function, arguments)
        for known, compute in KNOWN:
            if function is known:
                return self._computed(compute, arguments, keywords)
        if isinstance(function, type) and hasattr(function, "__annotations__"):
            return self._made(function, arguments, keywords)
        if isinstance(function, FunctionType):
            if named(function) in self.following.needed:
                return self.run(function, arguments, keywords)
            if named(function) in self.following.others:
                with suppress(NotUnderstood):
                    return self.run(function, arguments, keywords)
        return self._stand_in(function, arguments, keywords)

    def _computed(self, compute: Callable[..., Any], arguments: Sequence[Any], keywords: Names) -> Any:
        try:
            given = signature(compute).bind(self, *arguments, **keywords)
        except TypeError:
            raise NotUnderstood("arguments that are not foreseen") from None
        return compute(*given.args, **given.kwargs)

    def _apply(self, closure: Closure, arguments: Sequence[Any]) -> Any:
        parameters = [a.arg for a in closure.function.args.args]
        if len(parameters) != len(arguments):
            raise Broken("other arguments")
        names = {**closure.names, **dict(zip(parameters, arguments, strict=True))}
        return Frame(self, names, closure.module).visit(closure.function.body)

    def _made(self, kind: Any, arguments: Sequence[Any], keywords: Names) -> Record:
        """An instance of a named tuple or a dataclass."""
        names = fields_of(kind)
        values = dict(zip(names, arguments, strict=False)) | dict(keywords)
        defaults = getattr(kind, "_field_defaults", None)
        if defaults is None:
            defaults = {name: getattr(kind, name) for name in names if hasattr(kind, name)}
            values.setdefault("dialect", kind.dialects[0])
        values = {**defaults, **values}
        if len(arguments) > len(names) or values.keys() != set(names):
            raise Broken("other fields")
        return Record(kind, {name: self.lifted(values[name]) for name in names})

    def _stand_in(self, function: Any, arguments: Sequence[Any], keywords: Names) -> Any:
        """A call for its result; where nobody uses that, it may still raise."""
        named = (sympy.Function("keyword")(self.frozen(k), self.frozen(v)) for k, v in sorted(keywords.items()))
        name = CALL(self.frozen(function), *map(self.frozen, arguments), *named)
        self.failures.add(name)
        hints = get_type_hints(function) if isinstance(function, FunctionType) else {}
        return symbol(hints.get("return"), name)


class Frame(ast.NodeVisitor):
    """The execution of a function's statements; each comes to what it returns, an expression to its value."""

    def __init__(self, run: Execution, names: dict[str, Any], module: Names) -> None:
        self.run, self.names, self.module = run, names, module

    def generic_visit(self, node: ast.AST) -> Any:
        raise NotUnderstood(type(node).__name__)

    def block(self, body: Sequence[ast.stmt]) -> Any:
        for statement in body:
            found = self.visit(statement)
            if found is not GOES_ON:
                return found
        return GOES_ON

    def visit_Return(self, node: ast.Return) -> Any:
        return None if node.value is None else self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        for target in node.targets:
            self._assign(target, value)
        return GOES_ON

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            items = tuple(value.values.values()) if isinstance(value, Record) else value
            if not isinstance(items, tuple):
                raise NotUnderstood("unpacking")
            if len(items) != len(target.elts):
                raise Broken("as many values")
            for inner, item in zip(target.elts, items, strict=True):
                self._assign(inner, item)
        else:
            raise NotUnderstood("an assignment to a part")

    def visit_If(self, node: ast.If) -> Any:
        return self.block(node.body if self.run.is_true(self.visit(node.test)) else node.orelse)

    def visit_Assert(self, node: ast.Assert) -> Any:
        if not self.run.is_true(self.visit(node.test)):
            raise Refused("assert")
        return GOES_ON

    def visit_Raise(self, node: ast.Raise) -> Any:
        raise Refused(ast.unparse(node))

    def visit_Pass(self, node: ast.Pass) -> Any:
        return GOES_ON

    def visit_Expr(self, node: ast.Expr) -> Any:
        """A docstring, or a call for its effect."""
        before = set(self.run.failures)
        self.visit(node.value)
        for call in self.run.failures - before:
            if call.func == CALL:
                self._change(node.value, call)
        return GOES_ON

    def _change(self, node: ast.expr, call: Expression) -> None:
        """A list after a call that is not executed, and may have changed it."""
        arguments = node.args if isinstance(node, ast.Call) else []
        name = arguments[0].id if len(arguments) == 1 and isinstance(arguments[0], ast.Name) else ""
        held = self.names.get(name)
        if not isinstance(held, Items) or held.name.func != LIST:
            raise NotUnderstood("a call for its effect")
        if sum(value is held for value in self.names.values()) > 1:
            raise NotUnderstood("a list of two names")
        self.names[name] = Items(LIST(sympy.Function("changed")(held.name, call)), held.annotation)

    def visit_For(self, node: ast.For) -> Any:
        items = self.visit(node.iter)
        if not isinstance(items, tuple):
            return self._repeat(node, items)
        for item in items:
            self._assign(node.target, item)
            found = self.block(node.body)
            if found is not GOES_ON:
                return found
        return self.block(node.orelse)

    def _repeat(self, node: ast.For, items: Any) -> Any:
        """A loop of unknown length: what it makes of the variables that it changes, from what they were."""
        stored = {name for statement in node.body for name in _stored(statement)}
        carried = sorted(stored & self.names.keys())
        inner = Frame(self.run, {**self.names, **{name: opaque(bound_symbol(name)) for name in carried}}, self.module)
        inner._assign(node.target, opaque(bound_symbol("item")))
        if inner.block(node.body) is not GOES_ON or node.orelse:
            raise NotUnderstood("a return from a loop")
        changes = [
            sympy.Function("changes")(bound_symbol(n), *map(self.run.frozen, (self.names[n], inner.names[n])))
            for n in carried
        ]
        loop = sympy.Function("loop")(self.run.frozen(items), *changes)
        self.names |= dict.fromkeys(stored, UNKNOWN)  # there may have been no iteration
        self.names |= {name: opaque(sympy.Function("after")(bound_symbol(name), loop)) for name in carried}
        return GOES_ON

    def visit_Constant(self, node: ast.Constant) -> Any:
        return self.run.lifted(node.value)

    def visit_Name(self, node: ast.Name) -> Any:
        builtins = self.module["__builtins__"]
        for scope in (self.names, self.module, builtins if isinstance(builtins, dict) else vars(builtins)):
            if scope.get(node.id) is UNKNOWN:
                raise NotUnderstood("a variable that may have no value")
            if node.id in scope:
                return self.run.lifted(scope[node.id])
        raise Broken("no such name")

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        parts = [self.visit(e.value) if isinstance(e, ast.Starred) else (self.visit(e),) for e in node.elts]
        if all(isinstance(x, tuple) for x in parts):
            return tuple(item for x in parts for item in x)
        if not all(isinstance(x, (tuple, Items)) for x in parts):
            raise NotUnderstood("a starred value")
        annotation = next(x.annotation for x in parts if isinstance(x, Items))
        return Items(sympy.Function("joined")(*map(self.run.frozen, parts)), annotation)

    def visit_List(self, node: ast.List) -> Any:
        return [self.visit(item) for item in node.elts]

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return Closure(node, dict(self.names), self.module)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.run.is_true(self.visit(node.test)) else node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        for operand in node.values[:-1]:
            value = self.visit(operand)
            if self.run.is_true(value) is isinstance(node.op, ast.Or):
                return value
        return self.visit(node.values[-1])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return not self.run.is_true(value)
        if isinstance(node.op, ast.USub):
            return self.run.negative(value)
        raise NotUnderstood(type(node.op).__name__)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return self.run.operate(type(node.op), self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1:
            raise NotUnderstood("a chain of comparisons")
        return self.run.compare(node.ops[0], self.visit(node.left), self.visit(node.comparators[0]))

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        return self.run.attribute(self.visit(node.value), node.attr)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        owner, index = self.visit(node.value), self.visit(node.slice)
        return self.run.item(owner, index, is_slice=isinstance(node.slice, ast.Slice))

    def visit_Slice(self, node: ast.Slice) -> slice:
        return slice(*(None if bound is None else self.visit(bound) for bound in (node.lower, node.upper, node.step)))

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp) -> Any:
        """What is made of every item of a tuple of unknown length."""
        items = self.visit(node.generators[0].iter)
        if not isinstance(items, Items) or len(node.generators) > 1:
            raise NotUnderstood("a comprehension")
        inner = Frame(self.run, dict(self.names), self.module)
        inner._assign(node.generators[0].target, symbol(items.annotation, bound_symbol("item")))
        made, *kept = (self.run.frozen(inner.visit(part)) for part in (node.elt, *node.generators[0].ifs))
        annotation = items.annotation if isinstance(node.elt, ast.Name) else Any
        return Items(sympy.Function("each")(made, items.name, *kept), annotation)

    def visit_ListComp(self, node: ast.ListComp) -> Any:
        made = self.visit_GeneratorExp(node)
        return Items(LIST(made.name), made.annotation)

    def visit_Call(self, node: ast.Call) -> Any:
        function = self.visit(node.func)
        arguments = [self.visit(a) for a in node.args]
        return self.run.call(function, arguments, {k.arg: self.visit(k.value) for k in node.keywords if k.arg})


def _stored(statement: ast.stmt) -> set[str]:
    """The variables that a statement assigns to."""
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
