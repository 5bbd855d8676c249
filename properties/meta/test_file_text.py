"""A cause is printed as lines of its file: as they stand there, and as they would with the edit."""

import ast
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import pytest

from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, editable_source, made
from stepgauge.properties.gauge.edits.file_text import FileText
from stepgauge.properties.gauge.edits.known_misreadings import misreadings_of
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.tolerance.reference_copies import file_of
from stepgauge.reference import RULES, driver

PACKAGE = Path(file_of(driver.__name__)).parents[1]
SAMPLE = 331  # one of so many edits of every rule for every commit; all of them take minutes


def small_edits(rule: str) -> Iterator[Edit]:
    """Every small edit of a rule's text, of what feeds it, and of all that some problems execute of them."""
    text = editable_source(rule)
    problems = [expand(recipe) for recipe in problems_of(rule, 2, 0, fixed={}, maximize=True)]
    coverage = text.coverage(problems, RULES[rule].dialects[0])
    for piece in text.pieces:
        for change in piece.changes(coverage[piece.module]):
            yield Edit(piece, change)


def require_lines_of_the_file(text: EditableSource, edits: Sequence[Edit]) -> None:
    with made(edits) as pieces:
        for piece in pieces:
            if has_text(piece.node):
                lines = piece.text.edited(piece.node)
                assert tree("\n".join(lines)) == ast.dump(bare(piece.node)), "\n".join(lines)
    for hunk in text.hunks(edits):
        lines = (PACKAGE / hunk.file).read_text().split("\n")[hunk.line - 1 :]
        before = hunk.before.split("\n") if hunk.before else []
        assert lines[: len(before)] == before


def has_text(node: ast.stmt) -> bool:
    """Whether it can be written: a slice that an edit moved out of its brackets cannot."""
    try:
        return bool(ast.parse(ast.unparse(node)))
    except SyntaxError:
        return False


def tree(text: str) -> str:
    # Not dedented, which would change the docstring.
    outer = ast.parse(f"if True:\n{text}" if text.startswith(" ") else text)
    (statement,) = outer.body[0].body if text.startswith(" ") else outer.body  # type: ignore[attr-defined]  # of the if
    return ast.dump(bare(statement))


def bare(statement: ast.stmt) -> ast.stmt:
    """A statement without what its text does not say as the tree of an edit does.

    Decorators stand above the text, -1 is an operation on 1 there, and what is assigned to is told by its place.
    """
    copy: ast.stmt = _Folded().visit(deepcopy(statement))
    for node in ast.walk(copy):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
        if hasattr(node, "ctx"):
            node.ctx = ast.Load()
    return copy


class _Folded(ast.NodeTransformer):
    """Makes a number of a minus before a number."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        number = node.operand.value if isinstance(node.operand, ast.Constant) else None
        return ast.Constant(-number) if isinstance(node.op, ast.USub) and isinstance(number, (int, float)) else node


@pytest.mark.parametrize("rule", RULES)
def test_an_edit_is_printed_in_lines_of_the_file(rule: str) -> None:
    for edit in list(small_edits(rule))[::SAMPLE]:
        require_lines_of_the_file(editable_source(rule), [edit])


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_edit_is_printed_in_lines_of_the_file(rule: str) -> None:
    for edit in small_edits(rule):
        require_lines_of_the_file(editable_source(rule), [edit])


@pytest.mark.parametrize("rule", RULES)
def test_a_known_misreading_is_printed_in_lines_of_the_file(rule: str) -> None:
    for misreading in misreadings_of(editable_source(rule)):
        require_lines_of_the_file(editable_source(rule), misreading.edits)


@pytest.mark.parametrize("rule", ["sgdp", "frog"])
def test_several_edits_of_a_function_are_printed_in_lines_of_the_file(rule: str) -> None:
    """Each together with the next that changes another statement, so that neither is lost."""
    sample = list(small_edits(rule))[::SAMPLE]
    for first, second in pairwise(sample):
        if first.piece is second.piece and first.change.statement is not second.change.statement:
            require_lines_of_the_file(editable_source(rule), [first, second])


SOURCE = '''\
def f(self, x, y):
    """What it does."""
    # The first.
    a = (x + y) * 2  # twice
    b = self.call(
        x,  # here
        "one",
        key=x**2,
    )
    for i in range(3):
        if i == 1 or not x:
            a = a + 1
        elif i == 2:
            # Nothing.
            b = -b
        else:
            raise ValueError(f"no {x!r} of 'y'")
    # Done.
    return a, b
'''
LINES = SOURCE.splitlines()


def edited(old: str, new: str) -> list[str]:
    """What becomes of the function's lines if its tree is that of a text in which something else stands."""
    assert SOURCE.count(old) == 1
    (before,), (after,) = ast.parse(SOURCE).body, ast.parse(SOURCE.replace(old, new)).body
    return FileText(SOURCE, before).edited(after)


def test_what_is_not_edited_stands_as_it_does() -> None:
    assert edited("def f", "def f") == LINES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(x + y) * 2", "(x - y) * 2"),
        ("(x + y) * 2", "x * 2"),
        ("(x + y) * 2", "((x + y) * 2) ** 3"),
        ("x**2", "x**3"),
        ('"one"', '"two"'),
        ("i == 1 or not x", "i == 1"),
        ("range(3)", "range(4)"),
        ("return a, b", "return b, a"),
        ("return a, b", "return (a, b) * 2"),
        ("    a = (x + y) * 2  # twice\n", ""),
        ("            a = a + 1\n", "            a = a + 1\n            a = a + 1\n"),
        ("            a = a + 1\n", "            pass\n"),
        ("    # Done.\n", "    b = a\n    # Done.\n"),
    ],
)
def test_an_edit_changes_its_own_columns(old: str, new: str) -> None:
    assert edited(old, new) == SOURCE.replace(old, new).splitlines()


def test_a_statement_moves_with_the_comment_behind_it() -> None:
    moved = "    a = (x + y) * 2  # twice\n"
    after = SOURCE.replace(moved, "").replace("    # Done.\n", f"{moved}    # Done.\n")
    (statement,) = ast.parse(SOURCE).body
    assert FileText(SOURCE, statement).edited(ast.parse(after).body[0]) == after.splitlines()


def test_a_block_without_its_condition_is_indented_less() -> None:
    source = "def f(x):\n    if x:\n        y = g(\n            x,\n        )  # so\n    return y\n"
    after = "def f(x):\n    y = g(\n        x,\n    )  # so\n    return y\n"
    (statement,), (edited,) = ast.parse(source).body, ast.parse(after).body
    assert FileText(source, statement).edited(edited) == after.splitlines()


@pytest.mark.parametrize(("old", "new"), [("i == 2", "i == 3"), ("no {x!r}", "a {x!r}"), ("b = -b", "b = b")])
def test_what_cannot_be_spliced_is_written_anew(old: str, new: str) -> None:
    """In an `elif`, whose test is no statement's; what stands before it stays."""
    lines = edited(old, new)
    assert lines[:9] == LINES[:9]
    assert tree("\n".join(lines)) == tree(SOURCE.replace(old, new))
