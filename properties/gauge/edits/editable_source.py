"""A copy of a rule's text that can be edited function by function, and runs at the reference's speed.

An edit compiles one function and puts its code in place of the old: no module is executed again, so that thousands of
edits are tried in a second.
"""

import ast
import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple, get_args

import numpy as np

from stepgauge.properties.gauge.edits.expression_edits import POOLED, SELF, STATE, Scope
from stepgauge.properties.gauge.edits.file_text import FileText
from stepgauge.properties.gauge.edits.statement_edits import Change, Coverage, Position, changes
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS
from stepgauge.properties.gauge.problems.problem import Problem, trajectory
from stepgauge.properties.gauge.tolerance.envelope import Envelope, Reference, amplitude_of, every_continuation
from stepgauge.properties.gauge.tolerance.reference_copies import FEEDING, copy_modules, file_of, source_of
from stepgauge.properties.gauge.tolerance.side_by_side import side_by_side
from stepgauge.properties.gauge.tolerance.stochastic import AnyArithmetic, instrument
from stepgauge.reference import RULES, Array, Rule
from stepgauge.reference.layers import LayerGradient

DRIVER, NETWORK, LAYERS = FEEDING
DRIVEN = ("_step", "_pool", "_opposite")  # functions; the rest of the driver is not part of what is published
POOLS_OVER = "pools_over"  # the only constant of a rule that is part of what is published
(_POOLINGS,) = get_args(Rule.__annotations__[POOLS_OVER])  # ClassVar[Literal["nothing", ...]]
RECORDED = [name for name, kind in LayerGradient.__annotations__.items() if kind == Array]  # of what a layer saw


class Hunk(NamedTuple):
    """Lines of a file that an edit replaces, as they stand there; either text may be empty.

    `line` is the number of the first of them, or of the line before which others are added.
    """

    file: str
    line: int
    before: str
    after: str


class CanonicalHunk(NamedTuple):
    """The same as `ast.unparse` prints it, whatever the layout of the file: what tables of edits name."""

    before: str
    after: str


@dataclass(eq=False)
class Piece:
    """A function of the text, or a constant of one of its classes.

    Attributes:
        module: where it stands.
        node: its tree, part of the module's.
        live: the function, or the class that has the constant.
        scope: what a function can name.
    """

    module: str
    node: ast.FunctionDef | ast.AnnAssign
    live: Any
    scope: Scope

    @cached_property
    def text(self) -> FileText:
        """Its text in the file: of a tree of its own, because this one may be edited as it stands."""
        source = source_of(self.module)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, type(self.node)) and node.lineno == self.node.lineno:
                return FileText(source, node)
        raise AssertionError(f"{self.module} has no such statement")

    @cached_property
    def canonical(self) -> list[str]:
        """The unedited lines as `ast.unparse` prints them."""
        return _canonical(self.text.statement)

    def install(self) -> None:
        """Put the tree, as it stands, into force."""
        if isinstance(self.node, ast.FunctionDef):
            self.live.__code__ = _code(self.node, file_of(self.module))
        else:
            assert isinstance(self.node.target, ast.Name)
            assert self.node.value is not None
            setattr(self.live, self.node.target.id, ast.literal_eval(self.node.value))

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Whatever is installed meanwhile is undone."""
        before = self.live.__code__ if isinstance(self.live, FunctionType) else None
        try:
            yield
        finally:
            if before is not None:
                self.live.__code__ = before
            else:
                self.install()

    def changes(self, coverage: Coverage) -> Iterator[Change]:
        """Every small edit of it that can matter if no more is executed."""
        if isinstance(self.node, ast.FunctionDef):
            yield from changes(self.node, self.scope, coverage)
        else:
            for pooling in get_args(_POOLINGS):
                yield Change(self.node, self.node, "value", None, ast.Constant(pooling, lineno=1, col_offset=0))


class Edit(NamedTuple):
    """A piece of a text and a change of it."""

    piece: Piece
    change: Change


class EditableSource:
    """An editable copy of a rule's text, and of what feeds it: the driver, and the unfolding of layers."""

    def __init__(self, rule: type[Rule]) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.modules = copy_modules([rule.__module__, DRIVER], self._kept)
        self.rule: type[Rule] = getattr(self.modules[rule.__module__], rule.__name__)

    def _kept(self, module: str, tree: ast.Module) -> ast.Module:
        self.trees[module] = tree
        return tree

    @cached_property
    def pieces(self) -> list[Piece]:
        found: list[Piece] = []
        for module in self.trees:
            if self.rule.sees_layers or module not in (NETWORK, LAYERS):
                found += self._pieces_of(module)
        return found

    @cached_property
    def own(self) -> list[Piece]:
        """The pieces of the rule and of the parts that it uses."""
        return [piece for piece in self.pieces if piece.module not in FEEDING]

    @cached_property
    def feeding(self) -> list[Piece]:
        """The pieces of what feeds it."""
        return [piece for piece in self.pieces if piece.module in FEEDING]

    def _pieces_of(self, module: str) -> Iterator[Piece]:
        for node in self.trees[module].body:
            if isinstance(node, ast.FunctionDef) and _computes(module, node):
                yield _function(module, node, getattr(self.modules[module], node.name))
            elif isinstance(node, ast.ClassDef) and module != DRIVER:
                yield from self._pieces_of_class(module, node)

    def _pieces_of_class(self, module: str, tree: ast.ClassDef) -> Iterator[Piece]:
        owner = getattr(self.modules[module], tree.name)
        # What a rule inherits names the hyperparameters of the rule, which may be more than those of its base.
        seen_by = self.rule if issubclass(self.rule, owner) else owner
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and _computes(module, node):
                live = vars(owner)[node.name]
                yield _function(module, node, live.fget if isinstance(live, property) else live, seen_by)
            elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == POOLS_OVER:
                yield Piece(module, node, owner, Scope((), ()))

    def groups(self, problem: Problem, dialect: str) -> list[Any]:
        return problem.rule_groups(self.rule, dialect)

    def trajectory(self, problem: Problem, groups: Sequence[Any]) -> Iterator[Array]:
        """The parameters after each step, as the text stands."""
        return trajectory(problem, groups, self.modules[DRIVER])

    def coverage(self, problems: Iterable[Problem], dialect: str) -> dict[str, Coverage]:
        """What problems execute of each module."""
        places: dict[str, set[Position]] = {module: set() for module in self.trees}
        files = {file_of(module): module for module in self.trees}
        known: dict[CodeType, list[Any]] = {}

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            code = frame.f_code
            if code.co_filename not in files:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                if code not in known:
                    known[code] = list(code.co_positions())
                places[files[code.co_filename]].add(known[code][frame.f_lasti // 2])  # instructions take two bytes
            return trace

        with np.errstate(all="ignore"), traced(trace):
            for problem in problems:
                with suppress(*FOREIGN_ERRORS):  # an edited text may raise; what it executed until then counts
                    list(self.trajectory(problem, self.groups(problem, dialect)))
        return {module: Coverage(found) for module, found in places.items()}

    @contextmanager
    def edited(self, edits: Sequence[Edit]) -> Iterator[None]:
        """The text with some edits in force."""
        with ExitStack() as stack:
            for piece in dict.fromkeys(edit.piece for edit in edits):
                stack.enter_context(piece.restored())
            for edit in edits:
                stack.enter_context(edit.change)
                edit.piece.install()
            yield

    def envelopes(
        self, problem: Problem, dialect: str, edits: Sequence[Edit], dtype: str = "float64"
    ) -> list[Envelope]:
        """What rounding in `dtype` may do to the edited text on a problem."""
        arithmetic = AnyArithmetic()
        with self.edited(edits), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            original, fed = RULES[problem.rule], {module: self.modules[module] for module in FEEDING}
            rule, _ = instrument(original, self._tree, arithmetic, fed)
            together = side_by_side(original, dialect, self._tree, fed)
            amplitude = amplitude_of(problem.rule, dtype)
            groups = problem.rule_groups(rule, dialect)
            reference = Reference(problem, groups, arithmetic, amplitude, self.modules[DRIVER], together)
            return every_continuation(reference, *reference.envelope(), dtype)

    def _tree(self, module: str, _: ast.Module) -> ast.Module:
        """A module's tree as the edits in force have it."""
        return deepcopy(self.trees[module])

    def hunks(self, edits: Sequence[Edit]) -> list[Hunk]:
        """The edits as replaced lines of the files."""
        found = []
        with made(edits) as pieces:
            for piece in pieces:
                for start, before, after in _differences(piece.text.unedited, piece.text.edited(piece.node)):
                    line = piece.node.lineno + start
                    found.append(Hunk(short(piece.module), line, "\n".join(before), "\n".join(after)))
        return found

    def canonical_hunks(self, edits: Sequence[Edit]) -> list[CanonicalHunk]:
        """The edits as replaced lines of what `ast.unparse` prints."""
        found = []
        with made(edits) as pieces:
            for piece in pieces:
                for _, before, after in _differences(piece.canonical, _canonical(piece.node)):
                    found.append(CanonicalHunk("\n".join(before), "\n".join(after)))
        return found


@contextmanager
def made(edits: Sequence[Edit]) -> Iterator[Iterable[Piece]]:
    """The edited pieces, with the edits in their trees but not in force."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit.change)
        yield dict.fromkeys(edit.piece for edit in edits)


@contextmanager
def traced(trace: Any) -> Iterator[None]:
    """Whatever runs here is traced, and a debugger or a coverage tool afterwards traces on."""
    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(outer)


def _computes(module: str, function: ast.FunctionDef) -> bool:
    """Whether a function is part of what is published: in a pure text, one that returns nothing can only refuse."""
    if module == DRIVER:
        return function.name in DRIVEN
    return function.returns is None or ast.unparse(function.returns) != "None"


def _function(module: str, node: ast.FunctionDef, live: Any, owner: type | None = None) -> Piece:
    return Piece(module, node, live, scope_of(node, owner))


def scope_of(function: ast.FunctionDef, owner: type | None) -> Scope:
    """What can be named in a function: its arguments, variables, hyperparameters, and the state's fields it reads.

    >>> (f,) = ast.parse("def f(p, g, s): t = s.step + 1; m = s.exp_avg + g; return m / t").body
    >>> scope_of(f, None).values
    ['p', 'g', 't', 'm', 's.exp_avg', 's.step']
    """
    arguments = [a.arg for a in function.args.args if a.arg not in (SELF, STATE, POOLED)]
    assigned = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    numbers, switches = _hyperparameters(owner) if is_dataclass(owner) else ([], [])
    aliases = _unpacked(function)
    # A hyperparameter that goes by a shorter name is known by that only.
    numbers = [n for n in numbers if not {n, n.partition("[")[0]} & set(aliases.values())]
    values = [*arguments, *assigned, *_fields_read(function), *numbers, *switches]
    if f"{POOLED}.mean" in _attributes_read(function):
        values.append(f"{POOLED}.mean")
    unpacked = [name for name in assigned if name in aliases]
    assignments = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    definitions = {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in assignments}
    return Scope(
        _unique(values), _unique([*unpacked, *numbers]), _steps(assignments), definitions, _kept(function, owner)
    )


def _kept(function: ast.FunctionDef, owner: Any) -> dict[str, str]:
    """The variables that a function stores whole, and their fields; none if the state counts no steps."""
    fields_of = getattr(getattr(owner, "State", None), "_fields", ())
    if "step" not in fields_of:
        return {}
    found: dict[str, str] = {}
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == f"{SELF}.State" and len(call.args) == len(fields_of):
            stored = zip(call.args, fields_of, strict=True)
            found |= {x.id: name for x, name in stored if isinstance(x, ast.Name) and name != "step"}
    return found


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _attributes_read(function: ast.FunctionDef) -> set[str]:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(ast.unparse(node))
    return found


def _fields_read(function: ast.FunctionDef) -> list[str]:
    """The fields of the state that a function reads, and those of every record of a layer that it is given."""
    found = [name for name in _attributes_read(function) if name.startswith(f"{STATE}.") and name.count(".") == 1]
    found.sort()
    for argument in sorted(function.args.args, key=lambda argument: argument.arg):
        if argument.annotation and "Layer" in ast.unparse(argument.annotation):
            found += [f"{argument.arg}.{name}" for name in RECORDED]
    return found


def _steps(assignments: Sequence[ast.Assign]) -> list[str]:
    """What a function computes on its way: the operations and calls that its assignments are made of."""
    found: list[str] = []
    for node in assignments:
        found += [ast.unparse(part) for part in ast.walk(node.value) if isinstance(part, (ast.BinOp, ast.Call))]
    return _unique(found)


def _hyperparameters(rule: Any) -> tuple[list[str], list[str]]:
    """The numbers and the switches among a rule's hyperparameters, as its text names them."""
    numbers, switches = [], []
    for f in fields(rule):
        if f.type in (float, int):
            numbers.append(f"self.{f.name}")
        elif f.type is bool:
            switches.append(f"self.{f.name}")
        elif str(f.type).startswith("tuple"):
            numbers += [f"self.{f.name}[0]", f"self.{f.name}[1]"]
    return numbers, switches


def _unpacked(function: ast.FunctionDef) -> dict[str, str]:
    """Variables that are hyperparameters under a shorter name, and those.

    >>> (f,) = ast.parse("def f(self): lr, (beta1, beta2) = self.lr, self.betas").body
    >>> _unpacked(f)
    {'lr': 'self.lr', 'beta1': 'self.betas', 'beta2': 'self.betas'}
    """
    found: dict[str, str] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or not _is_hyperparameters(node.value):
            continue
        (target,) = node.targets
        if isinstance(node.value, ast.Tuple) and isinstance(target, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=True))
        else:
            pairs = [(target, node.value)]
        for aliases, value in pairs:
            for name in ast.walk(aliases):
                if isinstance(name, ast.Name):
                    found[name.id] = ast.unparse(value)
    return found


def _is_hyperparameters(node: ast.expr) -> bool:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    read = (ast.Attribute, ast.Subscript)  # and not computed with them
    return all(isinstance(part, read) and ast.unparse(part).startswith(f"{SELF}.") for part in parts)


def short(module: str) -> str:
    """The file of a module of the package, from the repository's root."""
    return "/".join(Path(file_of(module)).parts[-2:])


def _code(node: ast.FunctionDef, file: str) -> CodeType:
    """The code of a function, without its decorators and defaults, which no edit changes."""
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(a.arg, lineno=1, col_offset=0) for a in node.args.args],
        kwonlyargs=[ast.arg(a.arg, lineno=1, col_offset=0) for a in node.args.kwonlyargs],
        vararg=None,
        kwarg=None,
        kw_defaults=[None for _ in node.args.kwonlyargs],
        defaults=[],
    )
    parts = {name: getattr(node, name) for name in node._fields}
    bare = ast.FunctionDef(**{**parts, "args": arguments, "decorator_list": [], "returns": None})
    ast.copy_location(bare, node)
    constants = compile(ast.Module([bare], []), file, "exec").co_consts
    return next(c for c in constants if isinstance(c, CodeType))


def _canonical(node: ast.stmt) -> list[str]:
    return [line.strip() for line in ast.unparse(node).splitlines()]


def _differences(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[int, Sequence[str], Sequence[str]]]:
    """Where two texts differ: the index of the first line there, and the lines of each."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            yield a, before[a:b], after[c:d]


@cache
def editable_source(rule: str) -> EditableSource:
    """The editable text of a rule, made once."""
    return EditableSource(RULES[rule])
