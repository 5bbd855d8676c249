"""Small edits of the reference's text, of what a problem executes: its statements, and their expressions.

An edit is a change of a syntax tree, made and undone in place. What becomes of an expression by itself is in
`expression_edits`; here are statements, and what moves from one to another.

A statement is a tree of `ast` nodes as an expression is: `y = a + b` is `Assign([y], a + b)`. A function and an `if`
hold blocks, which are lists of statements: `If(c, body, orelse)`. `ast.walk` visits a node and all within it.

>>> (function,) = ast.parse("def f(a, b): a = a - b; return a").body
>>> everything = Coverage({position_of(node) for node in ast.walk(function)})
>>> edits = list(changes(function, Scope((), ()), everything))
>>> for change in edits[:4]:
...     with change:
...         print(*map(ast.unparse, function.body), sep="; ")
return a
a = a - b; a = a - b; return a
return a; a = a - b
a = a + b; return a
"""

import ast
import dataclasses
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from stepgauge.properties.gauge.edits.expression_edits import (
    KINDS,
    SELF,
    SHAPED,
    STEPS,
    Place,
    Scope,
    is_value_read,
    names,
)

Position = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Change:
    """A node of a text and what to put in its place; `beside` is a second change, of something that moves."""

    statement: ast.stmt
    parent: ast.AST
    field: str
    index: int | None
    new: Any
    beside: "Change | None" = None
    old: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        held = getattr(self.parent, self.field)
        object.__setattr__(self, "old", held if self.index is None else held[self.index])

    def put(self, node: Any) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node

    def __enter__(self) -> "Change":
        if self.beside:
            self.beside.put(self.beside.new)
        self.put(self.new)
        return self

    def __exit__(self, *_: object) -> None:
        self.put(self.old)
        if self.beside:
            self.beside.put(self.beside.old)


@dataclass(frozen=True)
class Coverage:
    """Which places of a text were executed, each as (first line, last line, first column, last column)."""

    places: Set[Position]

    def executed(self, statement: ast.stmt) -> bool:
        """Whether a statement was reached."""
        body = getattr(statement, "body", None)
        end = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
        return not self._lines.isdisjoint(range(statement.lineno, end + 1))

    @cached_property
    def _lines(self) -> set[int]:
        return {place[0] for place in self.places}

    def evaluated(self, node: ast.AST) -> bool:
        """Whether an expression was: one that only chooses has no instruction of its own."""
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            return any(map(self.evaluated, ast.iter_child_nodes(node)))
        return position_of(node) in self.places


def position_of(node: ast.AST) -> Position:
    """Where a node stands; zeros for one that has no place of its own, such as `+`."""
    first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return first, last, getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)


def changes(function: ast.FunctionDef, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """Every small edit of what a function executes."""
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(node, ast.stmt) and isinstance(block, list) and block:
                yield from _of_block(node, name, block, coverage)
    for statement in _statements(function):
        # An assertion computes nothing: it tells those who check types.
        if coverage.executed(statement) and not isinstance(statement, ast.Assert):
            yield from _of_expressions(statement, scope, coverage)
    yield from _of_moves(function, scope, coverage)
    yield from _of_storage(function, coverage)


def _of_moves(function: ast.FunctionDef, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """A factor or a term of one statement in another: the decay, say, in the gradient instead of the step."""
    places = list(_computed(function, scope, coverage))
    terms = []
    for place, node in places:
        if place.is_term and isinstance(node, (ast.Name, ast.BinOp)) and is_value_read(node):
            terms.append((place, node))
    for source, node in places:
        # Either operand of a product or a sum can move, on either side of another expression.
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add)):
            for left, moved in ((node.left, node.right), (node.right, node.left)):
                out = Change(source.statement, source.parent, source.field, source.index, left)
                for place, term in terms:
                    if place.statement is not source.statement:
                        new = _located(ast.BinOp(term, node.op, moved), term)
                        yield Change(place.statement, place.parent, place.field, place.index, new, beside=out)


def _computed(function: ast.FunctionDef, scope: Scope, coverage: Coverage) -> Iterator[tuple[Place, ast.expr]]:
    """The expressions of what a function assigns and returns, with their places."""
    for statement in _statements(function):
        if coverage.executed(statement) and isinstance(statement, (ast.Assign, ast.Return)):
            for parent, name, index, node in _held(statement, coverage):
                yield Place(statement, parent, name, index, scope), node


def _of_storage(function: ast.FunctionDef, coverage: Coverage) -> Iterator[Change]:
    """Something else stored: what a function computes on its way, as if an operation were in place."""
    computed: dict[str, ast.expr] = {}
    for statement in _statements(function):
        if isinstance(statement, ast.Assign) and coverage.executed(statement):
            for _, _, _, node in _held(statement, coverage):
                if isinstance(node, (ast.BinOp, ast.Call)):
                    computed[ast.unparse(node)] = node
    for statement in _statements(function):
        if not isinstance(statement, ast.Return):
            continue
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == f"{SELF}.State":
                for k in range(len(call.args)):
                    for new in computed.values():
                        yield Change(statement, call, "args", k, new)
                yield from _corrected(statement, call, [e for e in computed.values() if _is_correction(e)])


def _corrected(statement: ast.stmt, state: ast.Call, corrections: Sequence[ast.expr]) -> Iterator[Change]:
    """Corrections for bias written back into what is stored: into one field, or into two of them."""
    single = []
    for k, stored in enumerate(state.args):
        for correction in corrections:
            divided = _located(ast.BinOp(stored, ast.Div(), correction), stored)
            single.append((k, ast.unparse(correction), Change(statement, state, "args", k, divided)))
    yield from (change for _, _, change in single)
    for (k, one, first), (other_k, other, second) in combinations(single, 2):
        if k != other_k and one != other:
            yield dataclasses.replace(first, beside=second)


def _is_correction(node: ast.expr) -> bool:
    """Whether it is 1 minus a weight to the power of the steps."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and isinstance(node.right, ast.BinOp)
        and isinstance(node.right.op, ast.Pow)
        and ast.unparse(node.right.right) == STEPS
    )


def _statements(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    """The statements of a function, those within others too, that compute something."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    for outer in body:
        if not _refuses(outer):
            for node in ast.walk(outer):
                if isinstance(node, ast.stmt):
                    yield node


def _refuses(statement: ast.stmt) -> bool:
    """Whether all that a statement does is to raise, which computes nothing."""
    return isinstance(statement, ast.If) and all(isinstance(inner, ast.Raise) for inner in statement.body)


def _of_block(parent: ast.stmt, name: str, block: list[ast.stmt], coverage: Coverage) -> Iterator[Change]:
    """Statements left out, said twice, elsewhere in their block, or without their condition."""
    first = 1 if isinstance(parent, ast.FunctionDef) and ast.get_docstring(parent) else 0
    for k in range(first, len(block)):
        statement = block[k]
        fixed = isinstance(statement, (ast.Return, ast.Assert)) or _refuses(statement)
        if fixed or not coverage.executed(statement):
            continue
        before, after = block[:k], block[k + 1 :]
        blocks = [[*before, *after] or [ast.Pass(lineno=statement.lineno, col_offset=0)]]
        if _reads(statement) & _writes(statement):  # otherwise the second time changes nothing
            blocks.append([*before, statement, statement, *after])
        # One place up it need not move: the statement before it moves one place down.
        others = [to for to in range(first, len(block)) if to not in (k - 1, k)]
        blocks += [_moved(block, k, to) for to in others if _depend(statement, _passed(block, k, to))]
        if isinstance(statement, ast.If):
            blocks.append([*before, *statement.body, *after])
        for new in blocks:
            yield Change(statement, parent, name, None, new)


def _passed(block: list[ast.stmt], k: int, to: int) -> list[ast.stmt]:
    """The statements that number k goes past on its way to another index."""
    return block[to:k] if to < k else block[k + 1 : to + 1]


def _depend(statement: ast.stmt, others: Sequence[ast.stmt]) -> bool:
    """Whether the order of a statement and others matters: one writes what the other reads or writes, or returns.

    >>> statement, *others = ast.parse("a = b; c = d; d = a").body
    >>> _depend(statement, others[:1]), _depend(statement, others)
    (False, True)
    """
    reads, writes = _reads(statement), _writes(statement)
    for other in others:
        if writes & (_reads(other) | _writes(other)) or reads & _writes(other):
            return True
    return any(isinstance(node, ast.Return) for other in (statement, *others) for node in ast.walk(other))


def _reads(statement: ast.stmt) -> set[str]:
    """The variables that a statement reads.

    >>> sorted(_reads(ast.parse("a[i] = b + c").body[0]))
    ['a', 'b', 'c', 'i']
    """
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _writes(statement: ast.stmt) -> set[str]:
    """The variables that a statement writes, as a whole or an entry of them.

    >>> sorted(_writes(ast.parse("a[i], b = c").body[0]))
    ['a', 'b']
    """
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found.add(ast.unparse(node.value))
    return found


def _moved(block: list[ast.stmt], k: int, to: int) -> list[ast.stmt]:
    """A block with its statement k where the one of index `to` was."""
    rest = [*block[:k], *block[k + 1 :]]
    return [*rest[:to], block[k], *rest[to:]]


def _of_expressions(statement: ast.stmt, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """Edits of the expressions that a statement itself holds, and not of those in statements within it."""
    for parent, name, index, node in _held(statement, coverage):
        place = Place(statement, parent, name, index, scope)
        seen = {ast.dump(node)}  # several kinds of edits may come to the same
        # Of the edits of `a` in `a.b`, only another name can have a field b.
        for kind in (names,) if isinstance(parent, ast.Attribute) else KINDS:
            for new in kind(node, place):
                tree = ast.dump(new)
                if tree not in seen:
                    seen.add(tree)
                    yield Change(statement, parent, name, index, _located(new, node))


def _located(new: ast.expr, old: ast.expr) -> ast.expr:
    """What replaces a node stands where that stood; a part of it keeps its own place, where it was covered."""
    return ast.fix_missing_locations(new if hasattr(new, "lineno") else ast.copy_location(new, old))


Held = tuple[ast.AST, str, int | None, ast.expr]  # a node, its field, the index if that is a list, what is there


def _held(parent: ast.AST, coverage: Coverage) -> Iterator[Held]:
    """The expressions under a node that were evaluated, and where each stands: outer ones before inner ones."""
    if isinstance(parent, ast.Call) and ast.unparse(parent.func) in SHAPED:
        return  # the values of the argument do not matter
    for name, value in ast.iter_fields(parent):
        # Types compute nothing. Of what is called, only an attribute is the value of something: x.T.dot, but not f.
        if name in ("annotation", "returns", "func") and not isinstance(value, ast.Attribute):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(parent, ast.IfExp) and not coverage.evaluated(node):
                continue  # the branch that is never taken
            if isinstance(node, ast.expr):
                if name != "func":
                    yield parent, name, index, node
                yield from _held(node, coverage)
            elif isinstance(node, (ast.keyword, ast.comprehension)):
                yield from _held(node, coverage)
