"""Small edits of expressions: what somebody who ported a rule might have read instead.

Each kind of edit is a function from an expression, and where it stands, to what could stand there in its place. They
are generic: none knows of any rule. Edits of statements are in `edits`, and misreadings that no small edit expresses in
`catalogue`.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any

Nodes = Iterator[ast.expr]
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
NEGATIONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is
}  # fmt: skip
SYMMETRIC = ("np.maximum", "np.minimum")
SHAPED = ("np.zeros_like", "np.ones_like")  # of their argument the shape alone matters
FIXED_EPS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 1e-15, 1e-16)  # that somebody may have fixed
SIMILAR = (
    ("max", "mean", "min", "sum", "median"),
    ("maximum", "minimum", "add"),
    ("zeros_like", "ones_like"),
    ("argmin", "argmax"),
)  # functions of NumPy that are taken for each other


@dataclass(frozen=True)
class Scope:
    """What can be named in a function: values of any kind, and the numbers among them that are no arrays.

    `steps` are what it computes on its way, each a part of what it assigns; `definitions` what each variable is.
    """

    values: Sequence[str]
    scalars: Sequence[str]
    steps: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Place:
    """Where an expression stands: `statement` is the line it is part of, `parent.field` (at `index`) holds it."""

    statement: ast.stmt
    parent: ast.AST
    field: str
    index: int | None
    scope: Scope

    @property
    def is_term(self) -> bool:
        """Whether it is added to something, stored, returned or passed on, rather than a factor."""
        operand = isinstance(self.parent, ast.BinOp)
        return not operand or isinstance(getattr(self.parent, "op", None), (ast.Add, ast.Sub))

    @property
    def is_divisor(self) -> bool:
        division = isinstance(self.parent, ast.BinOp) and isinstance(self.parent.op, (ast.Div, ast.FloorDiv, ast.Mod))
        return division and self.field == "right"

    @property
    def is_counted(self) -> bool:
        """Whether one more or less may be meant: an exponent, a range, part of a whole division, or compared."""
        power = isinstance(self.parent, ast.BinOp) and isinstance(self.parent.op, ast.Pow) and self.field == "right"
        whole = isinstance(self.parent, ast.BinOp) and isinstance(self.parent.op, (ast.FloorDiv, ast.Mod))
        repeated = isinstance(self.parent, ast.Call) and ast.unparse(self.parent.func) == "range"
        return power or whole or repeated or isinstance(self.parent, ast.Compare)

    @property
    def is_tested(self) -> bool:
        """Whether it is a condition, or compared for equality: then its sign and size do not matter."""
        if isinstance(self.parent, ast.Compare):
            return not isinstance(self.parent.ops[0], ORDERINGS)
        return self.field == "test" or isinstance(self.parent, (ast.BoolOp, ast.UnaryOp))

    @property
    def is_whole(self) -> bool:
        """Whether it is all that its statement assigns or returns."""
        return self.parent is self.statement


def operators(node: ast.expr, _: Place) -> Nodes:
    """Another operation on the same operands."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
        yield from (ast.BinOp(node.left, op(), node.right) for op in ARITHMETIC if not isinstance(node.op, op))
        if isinstance(node.op, ast.Add):
            yield _numpy("maximum", node.left, node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield ast.BinOp(node.left, ast.Mult(), node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        yield ast.BinOp(node.left, ast.Div(), node.right)
        yield ast.Call(ast.Name("round", ast.Load()), [ast.BinOp(node.left, ast.Div(), node.right)], [])
        up = ast.BinOp(ast.UnaryOp(ast.USub(), node.left), ast.FloorDiv(), node.right)
        yield ast.UnaryOp(ast.USub(), up)
        yield _parsed("(2 * ({0}) + {1}) // (2 * ({1}))".format(*map(ast.unparse, (node.left, node.right))))  # half: up
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ORDERINGS):
        yield from (ast.Compare(node.left, [op()], node.comparators) for op in ORDERINGS)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in NEGATIONS:
        yield ast.Compare(node.left, [NEGATIONS[type(node.ops[0])]()], node.comparators)


def parts(node: ast.expr, place: Place) -> Nodes:
    """One of its operands, arguments, branches or elements alone; operands in the other order."""
    if isinstance(node, ast.BinOp):
        yield from (node.left, node.right)
        if not isinstance(node.op, (ast.Add, ast.Mult)):
            yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield from node.values
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse, ast.IfExp(_not(node.test), node.body, node.orelse))
    elif isinstance(node, ast.Call):
        yield from (argument for argument in node.args if not isinstance(argument, ast.Lambda))
    elif isinstance(node, (ast.Tuple, ast.List)) and isinstance(place.parent, (ast.For, ast.comprehension)):
        yield from (type(node)([e for e in node.elts if e is not left], node.ctx) for left in node.elts)


def orders(node: ast.expr, _: Place) -> Nodes:
    """Arguments or elements in another order."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) not in SYMMETRIC:
        for i, j in combinations(range(len(node.args)), 2):
            yield ast.Call(node.func, _exchanged(node.args, i, j), node.keywords)
    elif isinstance(node, ast.Tuple):
        for elements in list(permutations(node.elts))[1:6]:
            yield ast.Tuple(list(elements), node.ctx)


def groupings(node: ast.expr, _: Place) -> Nodes:
    """(a op b) op c as a op (b op c) or (a op c) op b, and the reverse."""
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(left := node.left, ast.BinOp) and not _associate(left.op, node.op):
        yield ast.BinOp(left.left, left.op, ast.BinOp(left.right, node.op, node.right))
        yield ast.BinOp(ast.BinOp(left.left, node.op, node.right), left.op, left.right)
    if isinstance(right := node.right, ast.BinOp) and not _associate(node.op, right.op):
        yield ast.BinOp(ast.BinOp(node.left, node.op, right.left), right.op, right.right)


def moves(node: ast.expr, _: Place) -> Nodes:
    """A term or factor moved into, or out of, a function or a power."""
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Name):
        for part in ast.walk(node.args[0]):  # the function of a part alone
            if isinstance(part, ast.expr) and part is not node.args[0] and is_value_read(part):
                yield _replaced(node.args[0], part, lambda x: ast.Call(node.func, [x, *node.args[1:]], node.keywords))
    if not isinstance(node, ast.BinOp):
        if _is_function(node) and isinstance(inner := _argument(node), ast.BinOp):
            yield ast.BinOp(_with_argument(node, inner.left), inner.op, inner.right)
            yield ast.BinOp(inner.left, inner.op, _with_argument(node, inner.right))
        return
    for inside, outside, left in ((node.left, node.right, True), (node.right, node.left, False)):
        for function in ast.walk(inside):
            if isinstance(function, ast.expr) and _is_function(function) and not isinstance(outside, ast.Constant):
                yield _replaced(inside, function, lambda f: _with_argument(f, _joined(_argument(f), node.op, outside)))  # noqa: B023  # used at once
                hollow = _replaced(inside, function, _argument)
                yield _with_argument(function, _joined(hollow, node.op, outside, left=left))
            elif isinstance(function, ast.Call) and len(function.args) > 1:  # of several arguments, the first moves
                hollow = _replaced(inside, function, lambda f: f.args[0])
                whole = _joined(hollow, node.op, outside, left=left)
                yield ast.Call(function.func, [whole, *function.args[1:]], function.keywords)


def constants(node: ast.expr, place: Place) -> Nodes:
    """Another number or truth value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        c = node.value
        yield from (ast.Constant(value) for value in dict.fromkeys((c + 1, c - 1, 0, 1, 2 * c, c / 2)))
        if c and not place.is_tested:
            yield ast.UnaryOp(ast.USub(), node)
    elif isinstance(node, (ast.Compare, ast.BoolOp)):
        yield from (ast.Constant(value=True), ast.Constant(value=False))


def names(node: ast.expr, place: Place) -> Nodes:
    """Another value that is at hand, or 0 or 1: what is left of a value that is ignored."""
    if not isinstance(getattr(node, "ctx", None), ast.Load) or ast.unparse(node) not in place.scope.values:
        return
    yield from (_parsed(value) for value in place.scope.values)
    yield from (ast.Constant(0), ast.Constant(1))
    if isinstance(node, ast.Name):
        yield from (_parsed(step) for step in place.scope.steps if step != place.scope.definitions.get(node.id))
    if ast.unparse(node).endswith("eps"):
        yield from (ast.Constant(eps) for eps in FIXED_EPS)
    if ast.unparse(node) in place.scope.scalars:
        yield ast.BinOp(ast.Constant(1), ast.Sub(), node)
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
    if "decay" in ast.unparse(node) and "p" in place.scope.values:
        yield from (_parsed(f"({ast.unparse(node)} if p.ndim {op} 1 else 0)") for op in (">", "!="))


def exchanges(node: ast.expr, place: Place) -> Nodes:
    """Two values for each other wherever a statement has them."""
    if not place.is_whole or not is_value_read(node):
        return
    leaves = (ast.unparse(leaf) for leaf in ast.walk(node) if isinstance(leaf, (ast.Name, ast.Attribute)))
    present = [name for name in dict.fromkeys(leaves) if name in place.scope.values]
    for a, b in combinations(present, 2):
        yield _renamed(node, {a: _parsed(b), b: _parsed(a)})


def renames(node: ast.expr, place: Place) -> Nodes:
    """One value for another wherever a statement has it; a weight for its complement to 1, and the reverse."""
    if not place.is_whole or not is_value_read(node):
        return
    leaves = [ast.unparse(leaf) for leaf in ast.walk(node) if isinstance(leaf, (ast.Name, ast.Attribute))]
    for name in dict.fromkeys(leaves):
        if leaves.count(name) > 1 and name in place.scope.values:
            others = [other for other in place.scope.values if other != name]
            others += [f"(1 - {name})"] if name in place.scope.scalars else []
            yield from (_renamed(node, {name: _parsed(other)}) for other in others)


def functions(node: ast.expr, place: Place) -> Nodes:
    """A similar function, one more root, mean or square, other axes; the length for the size."""
    if isinstance(node, ast.Attribute) and node.attr == "size":
        yield ast.Call(ast.Name("len", ast.Load()), [node.value], [])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        for alike in SIMILAR:
            for name in alike:
                if node.func.attr in alike and name != node.func.attr:
                    yield ast.Call(ast.Attribute(node.func.value, name, ast.Load()), node.args, node.keywords)
        if node.func.attr in SIMILAR[0] and node.args:
            yield ast.Subscript(node.args[0], ast.Constant(0), ast.Load())
        for k, keyword in enumerate(node.keywords):
            yield ast.Call(node.func, node.args, [*node.keywords[:k], *node.keywords[k + 1 :]])
            if keyword.arg == "axis":
                other = ast.keyword("axis", _other_axis(ast.literal_eval(keyword.value)))
                yield ast.Call(node.func, node.args, [*node.keywords[:k], other, *node.keywords[k + 1 :]])
    is_value = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.BinOp)) and not place.is_tested
    is_value = is_value and not _is_shaped(node)
    if is_value and is_value_read(node):
        if not isinstance(place.parent, ast.Subscript):
            yield _numpy("sqrt", node)
            yield from (_numpy(name, node) for name in ("mean", "max") if not _is_number(node, place.scope))
        yield ast.BinOp(node, ast.Mult(), node)


def factors(node: ast.expr, place: Place) -> Nodes:
    """A term multiplied or divided by a number at hand, or by its complement to 1."""
    if place.is_tested or _is_shaped(node) or not place.is_term or not is_value_read(node):
        return
    if not isinstance(node, (ast.Name, ast.Attribute, ast.BinOp, ast.Call, ast.IfExp)):
        return
    for name in place.scope.scalars:
        yield ast.BinOp(node, ast.Mult(), _parsed(name))
        yield ast.BinOp(node, ast.Div(), _parsed(name))
        yield ast.BinOp(node, ast.Mult(), ast.BinOp(ast.Constant(1), ast.Sub(), _parsed(name)))
        yield ast.BinOp(node, ast.Div(), ast.BinOp(ast.Constant(1), ast.Sub(), _parsed(name)))
    yield ast.BinOp(node, ast.Mult(), ast.Constant(2))
    yield ast.BinOp(node, ast.Div(), ast.Constant(2))
    yield ast.UnaryOp(ast.USub(), node)


def terms(node: ast.expr, place: Place) -> Nodes:
    """One more or less where something is counted; a number added to what is divided by or rooted, or its exponent."""
    if place.is_counted and not place.is_tested and is_value_read(node):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
    if place.is_divisor or _is_function(place.parent):
        for name in place.scope.scalars:
            yield ast.BinOp(node, ast.Add(), _parsed(name))
            yield ast.BinOp(node, ast.Pow(), _parsed(name))
    if place.is_term and not place.is_tested and "p" in place.scope.values and is_value_read(node):
        for name in place.scope.scalars:
            if "decay" in name:
                yield ast.BinOp(node, ast.Add(), _parsed(f"{name} * p"))


KINDS = (operators, parts, orders, groupings, moves, constants, names, renames, exchanges, functions, factors, terms)


def _renamed(tree: ast.expr, others: Mapping[str, ast.expr]) -> ast.expr:
    """A copy of an expression with every such name made into something else."""
    leaves = [leaf for leaf in ast.walk(tree) if isinstance(leaf, (ast.Name, ast.Attribute, ast.Subscript))]
    texts = {id(leaf): ast.unparse(leaf) for leaf in leaves}
    renamed: ast.expr = deepcopy(tree, {key: others[text] for key, text in texts.items() if text in others})
    return renamed


def is_value_read(node: ast.expr) -> bool:
    """Whether it is a value, and not what one is assigned to."""
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _is_number(node: ast.expr, scope: Scope) -> bool:
    """Whether it is made of numbers alone."""
    leaves = (ast.unparse(leaf) for leaf in ast.walk(node) if isinstance(leaf, (ast.Name, ast.Attribute)))
    return all(leaf in (*scope.scalars, "s", "s.step", "t") or leaf.startswith("self") for leaf in leaves)


def _other_axis(axis: int | tuple[int, ...]) -> ast.expr:
    return _parsed(str(axis[::-1] if isinstance(axis, tuple) else abs(axis - 1)))


def _is_shaped(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in SHAPED


def _not(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _numpy(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(_parsed(f"np.{name}"), list(arguments), [])


def _exchanged(items: Sequence[ast.expr], i: int, j: int) -> list[ast.expr]:
    changed = list(items)
    changed[i], changed[j] = changed[j], changed[i]
    return changed


def _associate(inner: ast.operator, outer: ast.operator) -> bool:
    """Whether another grouping is the same number."""
    same = ((ast.Add, ast.Add), (ast.Add, ast.Sub), (ast.Mult, ast.Mult), (ast.Mult, ast.Div))
    return (type(inner), type(outer)) in same


def _is_function(node: ast.AST) -> bool:
    """Whether it is a function of NumPy of one argument, or a power."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow)
    numpy = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "np"
    return numpy and len(getattr(node, "args", ())) == 1


def _argument(function: Any) -> Any:
    return function.left if isinstance(function, ast.BinOp) else function.args[0]


def _with_argument(function: Any, argument: ast.expr) -> ast.expr:
    if isinstance(function, ast.BinOp):
        return ast.BinOp(argument, function.op, function.right)
    return ast.Call(function.func, [argument], function.keywords)


def _joined(a: ast.expr, op: ast.operator, b: ast.expr, *, left: bool = True) -> ast.expr:
    return ast.BinOp(a, op, b) if left else ast.BinOp(b, op, a)


def _replaced(tree: ast.expr, node: ast.expr, make: Callable[[Any], ast.expr]) -> ast.expr:
    """A copy of an expression with one of its nodes made into something else."""
    if tree is node:
        return make(node)
    copied = {id(node): make(node)}
    replaced: ast.expr = deepcopy(tree, copied)
    return replaced
