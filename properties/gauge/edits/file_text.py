"""An edited statement as its file would have it: what no edit touches stands as it does there.

`ast.unparse` knows neither the quotes nor the parentheses, line breaks and comments of a file, so that what it prints
is not found there. Here the file's own text is kept, and what an edit changes is spliced in at its columns.

Python decides how: of several ways to write an expression, with parentheses and without, the first is taken that is
parsed as the tree. So no table of precedences is needed, and what comes out is the edited tree.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from difflib import SequenceMatcher
from functools import cached_property
from itertools import accumulate, zip_longest
from textwrap import dedent, indent
from typing import Any

DEPENDENT = (ast.keyword, ast.comprehension, ast.Slice, ast.Starred)  # nodes that cannot stand by themselves
ATOMS = (ast.Attribute, ast.Call, ast.Constant, ast.Name, ast.Subscript)  # expressions that need no parentheses


class FileText:
    r"""The text of one statement of a file, such as a function, in which no two statements share a line.

    >>> source = "def f(x):\n    y = 2*x  # twice\n    return abs( y )\n"
    >>> (function,) = ast.parse(source).body
    >>> (edited,) = ast.parse("def f(x): y = 2 * x * (x + 1); return abs(y)").body
    >>> print(*FileText(source, function).edited(edited), sep="\n")
    def f(x):
        y = 2*x*(x + 1)  # twice
        return abs( y )
    """

    def __init__(self, source: str, statement: ast.stmt) -> None:
        """Take a statement of the tree of `source`; whoever edits a tree edits a copy of it."""
        self.statement = statement
        self._lines = source.split("\n")
        self._bytes = source.encode()  # the columns of a tree count bytes
        self._starts = [0, *accumulate(len(line) for line in self._bytes.splitlines(keepends=True))]

    @cached_property
    def unedited(self) -> list[str]:
        """The lines of the statement as they stand in the file."""
        return self._lines_of(self.statement)

    def edited(self, statement: ast.stmt) -> list[str]:
        """The lines that would stand there for an edited statement."""
        return self._statement(statement, self.statement, self.statement.col_offset)

    @cached_property
    def _statements(self) -> dict[str, str]:
        """The text of every statement in it, by its tree."""
        found = {}
        for node in ast.walk(self.statement):
            if isinstance(node, ast.stmt):
                found[ast.dump(node)] = dedent("\n".join(self._lines_of(node)))
        return found

    @cached_property
    def _expressions(self) -> dict[str, str]:
        """The text of every expression in it, by its tree."""
        found = {}
        for statement in ast.walk(self.statement):
            if isinstance(statement, ast.stmt):
                for node in _descendants(statement):
                    found[ast.dump(node)] = self._between(*self._span(node))
        return found

    def _lines_of(self, node: ast.stmt) -> list[str]:
        """The lines of a statement, and so a comment behind it."""
        return self._lines[node.lineno - 1 : node.end_lineno]

    def _span(self, node: Any) -> tuple[int, int]:
        """Where an expression begins and ends in the file, in bytes."""
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _between(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode()

    def _statement(self, new: ast.stmt, old: ast.stmt | None, column: int) -> list[str]:
        """The lines of a statement that begins at a column, in place of another if there was one."""
        text = self._statements.get(ast.dump(new))
        if text is None and old is not None and _is_alike(_head(new), _head(old)):
            text = self._spliced(new, old)
        if text is None:
            text = ast.unparse(new) if _blocks(new) else self._anew(new)
        return indent(text, " " * column).split("\n")

    def _spliced(self, new: ast.stmt, old: ast.stmt) -> str | None:
        """The text of a statement with what is new in it; None if it does not come to be by splicing."""
        blocks, edited = _blocks(old), _blocks(new)
        if len(blocks) != len(edited) or any(map(self._has_edited_elif, blocks, edited)):
            return None
        start, end = self._starts[old.lineno - 1], blocks[0][0].lineno - 1 if blocks else _last_line(old)
        # A head without its block is not parsed, so it has another one for a while.
        filler = f"{' ' * blocks[0][0].col_offset}pass" if blocks else ""
        head = self._refilled(_head(new), _head(old), start, self._starts[end], filler)
        if head is None:
            return None
        lines = head.removesuffix(filler).removesuffix("\n").split("\n")
        for before, after in zip(blocks, edited, strict=True):
            lines += self._lines[end : before[0].lineno - 1]  # comments, or `else:`
            lines += self._block(after, before)
            end = _last_line(before[-1])
        return dedent("\n".join(lines))

    def _has_edited_elif(self, old: Sequence[ast.stmt], new: Sequence[ast.stmt]) -> bool:
        """Whether a block is a branch that stands only behind an `if`, and comes to be another one."""
        is_elif = self._lines_of(old[0])[0].lstrip().startswith("elif ")
        return is_elif and list(map(ast.dump, old)) != list(map(ast.dump, new))

    def _block(self, new: Sequence[ast.stmt], old: Sequence[ast.stmt]) -> list[str]:
        """The lines of a block, from its first statement to its last; a comment between statements stays."""
        lines: list[str] = []
        end = old[0].lineno - 1
        matcher = SequenceMatcher(None, [ast.dump(x) for x in old], [ast.dump(x) for x in new], autojunk=False)
        for _, a, b, c, d in matcher.get_opcodes():
            for before, after in zip_longest(old[a:b], new[c:d]):
                if before is not None:
                    lines += self._lines[end : before.lineno - 1]
                    end = _last_line(before)
                if after is not None:
                    lines += self._statement(after, before, old[0].col_offset)
        return lines

    def _expression(self, new: ast.expr, old: ast.expr | None = None) -> str:
        """The text of an expression, in place of another if there was one."""
        text = self._expressions.get(ast.dump(new))
        if text is None and old is not None and _is_alike(new, old):
            text = self._refilled(new, old, *self._span(old))
        return self._anew(new) if text is None else text

    def _refilled(self, new: ast.AST, old: ast.AST, start: int, end: int, filler: str = "") -> str | None:
        """The text of `old`, from `start` to `end`, where `new` differs from it only in expressions that it holds."""
        template = self._bytes[start:end]
        fillings: dict[str, tuple[ast.expr, str]] = {}
        # From the last to the first, so that the columns of those to come still hold.
        for before, after in sorted(zip(_children(old), _children(new), strict=True), key=self._last_first):
            if ast.dump(before) != ast.dump(after):
                mark = _mark(len(fillings))
                first, last = self._span(before)
                template = template[: first - start] + mark.encode() + template[last - start :]
                fillings[mark] = (after, self._expression(after, before))
        return _filled(template.decode() + filler, new, fillings)

    def _last_first(self, pair: tuple[ast.expr, ast.expr]) -> int:
        return -self._span(pair[0])[0]

    def _anew(self, new: ast.expr | ast.stmt) -> str:
        """The text of what does not stand in the file, though parts of it may."""
        if isinstance(new, ast.Constant) and isinstance(new.value, str):
            return json.dumps(new.value)  # in double quotes, as the files have them
        fillings = {_mark(k): (child, self._expression(child)) for k, child in enumerate(_children(new))}
        return _filled(ast.unparse(_marked(new, fillings)), new, fillings) or ast.unparse(new)


Fillings = Mapping[str, tuple[ast.expr, str]]  # what each mark in a template stands for, and its text


def _filled(template: str, new: ast.AST, fillings: Fillings) -> str | None:
    """A template with every mark replaced, so that it is parsed as `new`; None if it cannot be."""
    left = dict(fillings)
    for mark, (child, text) in fillings.items():
        ways = [template.replace(mark, text), template.replace(mark, f"({text})")]
        if isinstance(child, ATOMS):
            # (a + b) * c becomes a * c rather than (a) * c.
            ways.insert(0, re.sub(rf"\( *{mark} *\)", lambda _: text, template))  # noqa: B023  # used at once
        del left[mark]
        meant = _tree(ast.unparse(_Signed().visit(_marked(new, left))), new)
        found = next((way for way in ways if _tree(way, new) == meant), None)
        if meant is None or found is None:
            return None
        template = found
    return template


def _mark(k: int) -> str:
    """A name that stands for an expression for a while."""
    return f"__{k}__"


def _marked(node: ast.AST, fillings: Fillings) -> ast.AST:
    """A copy of a node with marks in place of expressions in it."""
    marks = {id(child): ast.Name(mark, ast.Load()) for mark, (child, _) in fillings.items()}
    return deepcopy(node, marks)


def _is_alike(a: ast.AST, b: ast.AST) -> bool:
    """Whether two nodes differ only in expressions that they hold."""
    a, b = (_marked(node, {_mark(k): (child, "") for k, child in enumerate(_children(node))}) for node in (a, b))
    return ast.dump(a) == ast.dump(b)


def _tree(text: str, like: ast.AST) -> str | None:
    """How Python parses a text in which an expression or a statement is expected; None if it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, at odd texts
            tree = ast.parse(f"(\n{text}\n)" if isinstance(like, ast.expr) else dedent(text))
    except SyntaxError:
        return None
    return ast.dump(tree)


class _Signed(ast.NodeTransformer):
    """Writes a negative number as the negation that Python has for it, which `ast.unparse` does not see."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, (int, float)) and node.value < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-node.value))
        return node


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of statements in it; none if it is simple."""
    blocks = (getattr(statement, name, []) for name in ("body", "orelse"))
    return [block for block in blocks if block]


def _last_line(statement: ast.stmt) -> int:
    assert statement.end_lineno is not None
    return statement.end_lineno


def _head(statement: ast.stmt) -> ast.stmt:
    """It without its blocks, as in `if x: pass`."""
    if not _blocks(statement):
        return statement
    head: Any = copy(statement)
    head.body = [ast.Pass()]
    if hasattr(head, "orelse"):
        head.orelse = []
    return head


def _children(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions right within a node that could stand by themselves."""
    if isinstance(node, ast.JoinedStr):
        return  # before Python 3.12, the parts of an f-string have no columns of their own
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not isinstance(child, DEPENDENT):
            yield child
        elif isinstance(child, DEPENDENT):
            yield from _children(child)


def _descendants(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions within a node, at any depth."""
    for child in _children(node):
        yield child
        yield from _descendants(child)
