"""Small edits of the reference's text, of what a problem executes: its statements, and their expressions.

An edit is a change of a syntax tree, made and undone in place. What becomes of an expression by itself is in
`expressions`; here are statements, and what moves from one to another.
"""

import ast
import dataclasses
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepgauge.properties.gauge.edits.expression_edits import KINDS, SHAPED, Place, Scope, is_value_read, names

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
        own = (getattr(node, name, 0) for name in ("lineno", "end_lineno", "col_offset", "end_col_offset"))
        return tuple(own) in self.places


def changes(function: ast.FunctionDef, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """Every small edit of what a function executes."""
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(node, ast.stmt):
                yield from _of_block(node, name, block, coverage)
    for statement in _statements(function):
        if coverage.executed(statement) and not isinstance(statement, ast.Assert):
            yield from _of_expressions(statement, scope, coverage)
    yield from _of_moves(function, scope, coverage)
    yield from _of_storage(function, coverage)


def _of_moves(function: ast.FunctionDef, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """A factor or a term of one statement in another."""
    places = [
        (Place(statement, parent, name, index, scope), node)
        for statement in _statements(function)
        if coverage.executed(statement) and isinstance(statement, (ast.Assign, ast.Return))
        for parent, name, index, node in _held(statement, coverage)
    ]
    terms = [(place, node) for place, node in places if place.is_term and isinstance(node, (ast.Name, ast.BinOp))]
    for source, node in places:
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Mult, ast.Add)):
            continue
        for left, moved in ((node.left, node.right), (node.right, node.left)):
            out = Change(source.statement, source.parent, source.field, source.index, left)
            for place, term in terms:
                if place.statement is not source.statement and is_value_read(term):
                    new = _located(ast.BinOp(term, node.op, moved), term)
                    yield Change(place.statement, place.parent, place.field, place.index, new, beside=out)


def _of_storage(function: ast.FunctionDef, coverage: Coverage) -> Iterator[Change]:
    """Something else stored: what a function computes on its way, as if an operation were in place."""
    expressions = {
        ast.unparse(node): node
        for statement in _statements(function)
        if isinstance(statement, ast.Assign) and coverage.executed(statement)
        for _, _, _, node in _held(statement, coverage)
        if isinstance(node, (ast.BinOp, ast.Call))
    }
    for statement in _statements(function):
        for node in ast.walk(statement) if isinstance(statement, ast.Return) else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "self.State":
                for k in range(len(node.args)):
                    yield from (Change(statement, node, "args", k, new) for new in expressions.values())


def _statements(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    for outer in body:
        if not _refuses(outer):
            yield from (node for node in ast.walk(outer) if isinstance(node, ast.stmt))


def _refuses(statement: ast.stmt) -> bool:
    """Whether all that a statement does is to raise, which computes nothing."""
    return isinstance(statement, ast.If) and all(isinstance(inner, ast.Raise) for inner in statement.body)


def _of_block(parent: ast.stmt, name: str, block: list[ast.stmt], coverage: Coverage) -> Iterator[Change]:
    """Statements left out, said twice, elsewhere in their block, or without their condition."""
    first = 1 if isinstance(parent, ast.FunctionDef) and ast.get_docstring(parent) else 0
    for k in range(first, len(block)):
        if not coverage.executed(block[k]) or isinstance(block[k], (ast.Return, ast.Assert)) or _refuses(block[k]):
            continue
        before, after = block[:k], block[k + 1 :]
        texts = [[*before, *after] or [ast.Pass(lineno=block[k].lineno, col_offset=0)]]
        if _reads(block[k]) & _writes(block[k]):
            texts.append([*before, block[k], *block[k:]])
        texts += [
            _moved(block, k, to)
            for to in range(first, len(block))
            if to not in (k - 1, k) and _depend(block[k], block[min(k + 1, to) : max(k, to + 1)])
        ]
        if isinstance(statement := block[k], ast.If):
            texts.append([*before, *statement.body, *after])
        for text in texts:
            yield Change(block[k], parent, name, None, text)


def _depend(statement: ast.stmt, others: Sequence[ast.stmt]) -> bool:
    """Whether the order of a statement and others matters: one writes what the other reads or writes, or returns."""
    reads, writes = _reads(statement), _writes(statement)
    returns = any(isinstance(node, ast.Return) for other in (statement, *others) for node in ast.walk(other))
    return returns or any(writes & (_reads(o) | _writes(o)) or reads & _writes(o) for o in others)


def _reads(statement: ast.stmt) -> set[str]:
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _writes(statement: ast.stmt) -> set[str]:
    stored = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    entries = (n for n in ast.walk(statement) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store))
    return stored | {ast.unparse(n.value) for n in entries}


def _moved(block: list[ast.stmt], k: int, to: int) -> list[ast.stmt]:
    rest = [*block[:k], *block[k + 1 :]]
    return [*rest[:to], block[k], *rest[to:]]


def _of_expressions(statement: ast.stmt, scope: Scope, coverage: Coverage) -> Iterator[Change]:
    """Edits of the expressions that a statement itself holds, and not of those in statements within it."""
    for parent, name, index, node in _held(statement, coverage):
        place = Place(statement, parent, name, index, scope)
        seen = {ast.dump(node)}
        for kind in (names,) if isinstance(parent, ast.Attribute) else KINDS:
            for new in kind(node, place):
                text = ast.dump(new)
                if text not in seen:
                    seen.add(text)
                    yield Change(statement, parent, name, index, _located(new, node))


def _located(new: ast.expr, old: ast.expr) -> ast.expr:
    """What replaces a node stands where that stood; a part of it keeps its own place, where it was covered."""
    return ast.fix_missing_locations(new if hasattr(new, "lineno") else ast.copy_location(new, old))


def _held(parent: ast.AST, coverage: Coverage) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """The expressions under a node that were evaluated, and where each stands."""
    if isinstance(parent, ast.Call) and ast.unparse(parent.func) in SHAPED:
        return
    for name, value in ast.iter_fields(parent):
        if name in ("annotation", "returns", "func") and not isinstance(value, ast.Attribute):
            continue
        held = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, node in held:
            if isinstance(parent, ast.IfExp) and not coverage.evaluated(node):
                continue  # the branch that is never taken
            if isinstance(node, ast.expr):
                if name != "func":
                    yield parent, name, index, node
                yield from _held(node, coverage)
            elif isinstance(node, (ast.keyword, ast.comprehension)):
                yield from _held(node, coverage)
