"""Misreadings that no small edit expresses, by name: `known_misreadings.toml` says what each writes into the text."""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import getattr_static
from pathlib import Path
from typing import Any, NamedTuple

from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, Piece
from stepgauge.properties.gauge.edits.statement_edits import Change


class Misreading(NamedTuple):
    """A way to read a rule otherwise, with a name if it is known; `link` points at a port that does."""

    edits: tuple[Edit, ...]
    name: str = ""
    link: str = ""


@cache
def entries() -> list[dict[str, Any]]:
    """The table as it is written, what is replaced as Python prints it."""
    listed: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["misreading"]
    for entry in listed:
        entry["edits"] = {_normal(before): after for before, after in entry["edits"]}
    return listed


def _normal(text: str) -> str:
    return text if text.startswith("def ") else ast.unparse(ast.parse(text)).strip()


@cache
def misreadings_of(source: EditableSource) -> list[Misreading]:
    """The entries that hold for a rule, as edits of its text."""
    return list(_applied(source))


def _applied(source: EditableSource) -> Iterator[Misreading]:
    functions = {piece: _stands_in(piece, source) for piece in source.pieces if isinstance(piece.node, ast.FunctionDef)}
    everything = frozenset[str]().union(*functions.values())
    for entry in entries():
        if entry["edits"].keys() <= everything:  # a misreading of this rule, and not of another
            edits = [_edit(piece, entry["edits"]) for piece, has in functions.items() if has & entry["edits"].keys()]
            yield Misreading(tuple(edits), entry["name"], entry.get("link", ""))


def _stands_in(piece: Piece, source: EditableSource) -> frozenset[str]:
    """What stands in a function: its expressions, its statements, and its name if the rule calls it by that."""
    assert isinstance(piece.node, ast.FunctionDef)
    called = getattr_static(source.rule, piece.node.name, piece.live)
    found = {f"def {piece.node.name}"} if called is piece.live else set()
    for statement in piece.node.body:
        found |= {ast.unparse(node) for node in ast.walk(statement) if isinstance(node, (ast.expr, ast.stmt))}
    return frozenset(found)


def _edit(piece: Piece, edits: Mapping[str, str]) -> Edit:
    """The edit of one function: its body anew."""
    function = piece.node
    assert isinstance(function, ast.FunctionDef)
    anew = _Replacement(edits).visit(ast.parse(ast.unparse(function)).body[0])
    opening = ast.parse(edits.get(f"def {function.name}", "")).body
    body = [*opening, *anew.body]
    for statement in body:
        for node in ast.walk(statement):
            ast.copy_location(node, function)
    return Edit(piece, Change(function, function, "body", None, body))


class _Replacement(ast.NodeTransformer):
    """Puts one text in place of another, wherever it stands."""

    def __init__(self, edits: Mapping[str, str]) -> None:
        self.edits = edits

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, (ast.expr, ast.stmt)) and (before := ast.unparse(node)) in self.edits:
            after = ast.parse(self.edits[before]).body
            return after if isinstance(node, ast.stmt) else after[0].value  # type: ignore[attr-defined]  # an expression's statement
        return self.generic_visit(node)
