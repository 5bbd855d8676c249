"""Small edits of expressions: what somebody who ported a rule might have read instead.

Each kind of edit is a function from an expression, and where it stands, to what could stand there in its place. They
are generic: none knows of any rule. Edits of statements are in `statement_edits`, and misreadings that no small edit
expresses in `known_misreadings`.

An expression is a tree of `ast` nodes, each of which holds its operands: `a + b` is `BinOp(a, Add(), b)`, `f(x, k=y)`
is `Call(f, [x], [keyword("k", y)])`, `u if c else v` is `IfExp(c, u, v)`, `x[0]` is `Subscript(x, 0)`. Such a node is
made here of parts of the old one, and never changes it, because the old one is put back. `ast.unparse` is the text of a
tree: two trees of the same text are the same expression.

>>> [ast.unparse(new) for new in operators(_parsed("a * b"), ANYWHERE)]
['a + b', 'a - b', 'a / b']
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from inspect import signature
from itertools import combinations, permutations
from typing import Any

from stepgauge.reference import Rule

# By these names every text of the reference knows a rule, a parameter, its gradient, its state and what is pooled.
SELF, PARAMETER, GRADIENT, STATE, POOLED = signature(Rule.step).parameters
STEPS = "t"  # likewise, the number of steps that a function counts up to

Nodes = Iterator[ast.expr]
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
NEGATIONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is
}  # fmt: skip
SYMMETRIC = ("np.maximum", "np.minimum")
SHAPED = ("np.zeros_like", "np.ones_like")  # only the shape of their argument matters
FIXED_EPS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12, 1e-15, 1e-16)  # that somebody may have fixed
COMMON = (0.9, 0.99, 0.999)  # weights that everybody takes
SIMILAR = (
    ("max", "mean", "min", "sum", "median"),
    ("maximum", "minimum", "add"),
    ("zeros_like", "ones_like"),
    ("argmin", "argmax"),
)  # functions of NumPy that are taken for each other


@dataclass(frozen=True)
class Scope:
    """What can be named in a function: values of any kind, and those of them that are numbers rather than arrays.

    `steps` are what it computes on its way, each a part of what it assigns; `definitions` what each variable is. `kept`
    are the variables that are stored, and the fields of a state with a counter that they are stored in.
    """

    values: Sequence[str]
    scalars: Sequence[str]
    steps: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)


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
        """Whether something is divided by it."""
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


ANYWHERE = Place(ast.Pass(), ast.Pass(), "", None, Scope((), ()))  # for edits that do not depend on the place


def operators(node: ast.expr, _: Place) -> Nodes:
    """Another operation on the same operands.

    >>> [ast.unparse(new) for new in operators(_parsed("a == b"), ANYWHERE)]
    ['a != b']
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
        for op in ARITHMETIC:
            if not isinstance(node.op, op):
                yield ast.BinOp(node.left, op(), node.right)
        if isinstance(node.op, ast.Add):  # sqrt(v) + eps is also written as maximum(sqrt(v), eps)
            yield _numpy("maximum", node.left, node.right)
            yield _parsed(f"1 / (1 / ({ast.unparse(node.left)}) + {ast.unparse(node.right)})")  # a reciprocal root
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield ast.BinOp(node.left, ast.Mult(), node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        yield from _roundings(node)
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ORDERINGS):
        for ordering in ORDERINGS:
            yield ast.Compare(node.left, [ordering()], node.comparators)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in NEGATIONS:
        yield ast.Compare(node.left, [NEGATIONS[type(node.ops[0])]()], node.comparators)


def _roundings(division: ast.BinOp) -> Nodes:
    """A division that is not rounded, or to the nearest (half to even), up, or to the nearest (half up).

    >>> [ast.unparse(new) for new in _roundings(_parsed("a // b"))]
    ['a / b', 'round(a / b)', '-(-a // b)', '(2 * a + b) // (2 * b)']
    """
    left, right = division.left, division.right
    yield ast.BinOp(left, ast.Div(), right)
    yield ast.Call(ast.Name("round", ast.Load()), [ast.BinOp(left, ast.Div(), right)], [])
    yield ast.UnaryOp(ast.USub(), ast.BinOp(ast.UnaryOp(ast.USub(), left), ast.FloorDiv(), right))
    a, b = ast.unparse(left), ast.unparse(right)
    yield _parsed(f"(2 * ({a}) + {b}) // (2 * ({b}))")


def parts(node: ast.expr, place: Place) -> Nodes:
    """Only one of its operands, arguments or branches; all but one of its elements; operands in the other order.

    >>> [ast.unparse(new) for new in parts(_parsed("a - b"), ANYWHERE)]
    ['a', 'b', 'b - a']
    >>> [ast.unparse(new) for new in parts(_parsed("u if c else v"), ANYWHERE)]
    ['u', 'v', 'u if not c else v']
    """
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
        for argument in node.args:
            if not isinstance(argument, ast.Lambda):  # a function is not what comes of calling it
                yield argument
        if ast.unparse(node.func) == "np.clip":
            yield from (_numpy("maximum", *node.args[:2]), _numpy("minimum", node.args[0], node.args[2]))
    elif isinstance(node, (ast.Tuple, ast.List)) and isinstance(place.parent, (ast.For, ast.comprehension)):
        # Of what a loop goes over, something may be forgotten; of other tuples it would not fit what they go into.
        for left_out in node.elts:
            yield type(node)([element for element in node.elts if element is not left_out], node.ctx)


def orders(node: ast.expr, _: Place) -> Nodes:
    """Arguments or elements in another order.

    >>> [ast.unparse(new) for new in orders(_parsed("f(a, b, c)"), ANYWHERE)]
    ['f(b, a, c)', 'f(c, b, a)', 'f(a, c, b)']
    """
    if isinstance(node, ast.Call) and ast.unparse(node.func) not in SYMMETRIC:
        for i, j in combinations(range(len(node.args)), 2):
            yield ast.Call(node.func, _exchanged(node.args, i, j), node.keywords)
    elif isinstance(node, ast.Tuple):
        # The first permutation is the tuple itself. Three elements have five others; more would be too many to try.
        for elements in list(permutations(node.elts))[1:6]:
            yield ast.Tuple(list(elements), node.ctx)


def groupings(node: ast.expr, _: Place) -> Nodes:
    """(a op b) op c as a op (b op c) or (a op c) op b, and the reverse.

    >>> [ast.unparse(new) for new in groupings(_parsed("a + b * c"), ANYWHERE)]
    ['(a + b) * c']
    """
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(left := node.left, ast.BinOp) and not _associate(left.op, node.op):
        yield ast.BinOp(left.left, left.op, ast.BinOp(left.right, node.op, node.right))
        yield ast.BinOp(ast.BinOp(left.left, node.op, node.right), left.op, left.right)
    if isinstance(right := node.right, ast.BinOp) and not _associate(node.op, right.op):
        yield ast.BinOp(ast.BinOp(node.left, node.op, right.left), right.op, right.right)


def moves(node: ast.expr, _: Place) -> Nodes:
    """A term or factor moved into, or out of, a function or a power.

    >>> [ast.unparse(new) for new in moves(_parsed("np.sqrt(v) + eps"), ANYWHERE)]
    ['np.sqrt(v + eps)', 'np.sqrt(v + eps)']
    >>> [ast.unparse(new) for new in moves(_parsed("np.sqrt(v + eps)"), ANYWHERE)]
    ['np.sqrt(v) + eps', 'v + np.sqrt(eps)', 'np.sqrt(v) + eps', 'v + np.sqrt(eps)']
    """
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Name):
        yield from _of_a_part(node)
    if isinstance(node, ast.BinOp):
        yield from _into(node.left, node.op, node.right, outside_left=False)
        yield from _into(node.right, node.op, node.left, outside_left=True)
    elif _is_function(node) and isinstance(inner := _argument(node), ast.BinOp):
        yield ast.BinOp(_with_argument(node, inner.left), inner.op, inner.right)
        yield ast.BinOp(inner.left, inner.op, _with_argument(node, inner.right))


def _of_a_part(call: ast.Call) -> Nodes:
    """The argument of a function, where the function is only of a part of it."""
    whole = call.args[0]
    for part in ast.walk(whole):
        if isinstance(part, ast.expr) and part is not whole and is_value_read(part):
            yield _replaced(whole, part, ast.Call(call.func, [part, *call.args[1:]], call.keywords))


def _into(inside: ast.expr, op: ast.operator, outside: ast.expr, *, outside_left: bool) -> Nodes:
    """An operand moved into every function that stands in the other one.

    Either next to what the function is of, or as an operand of all that it stands in: of 2 * sqrt(v) + eps come
    2 * sqrt(v + eps) and sqrt(2 * v + eps).
    """
    for function in ast.walk(inside):
        if isinstance(function, ast.expr) and _is_function(function) and not isinstance(outside, ast.Constant):
            argument = _argument(function)
            yield _replaced(inside, function, _with_argument(function, ast.BinOp(argument, op, outside)))
            hollow = _replaced(inside, function, argument)
            yield _with_argument(function, _joined(hollow, op, outside, outside_left=outside_left))
        elif isinstance(function, ast.Call) and len(function.args) > 1:  # of several arguments, the first moves
            hollow = _replaced(inside, function, function.args[0])
            whole = _joined(hollow, op, outside, outside_left=outside_left)
            yield ast.Call(function.func, [whole, *function.args[1:]], function.keywords)


def constants(node: ast.expr, place: Place) -> Nodes:
    """Another number or truth value.

    >>> [ast.unparse(new) for new in constants(_parsed("2"), ANYWHERE)]
    ['3', '1', '0', '4', '-2']
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        c = node.value
        for value in dict.fromkeys((c + 1, c - 1, 0, 1, 2 * c, c / 2)):
            yield ast.Constant(value)
        if c and not place.is_tested:
            yield ast.UnaryOp(ast.USub(), node)
    elif isinstance(node, (ast.Compare, ast.BoolOp)):
        yield from (ast.Constant(value=True), ast.Constant(value=False))
    elif isinstance(node, ast.Call) and STEPS in _names_in(node) and ast.unparse(node.func).startswith(f"{SELF}."):
        yield from map(ast.Constant, COMMON)  # in place of a schedule


def names(node: ast.expr, place: Place) -> Nodes:
    """Another value that is at hand, or 0 or 1: what is left of a value that is ignored."""
    name = ast.unparse(node)
    if not isinstance(getattr(node, "ctx", None), ast.Load) or name not in place.scope.values:
        return
    for value in place.scope.values:
        yield _parsed(value)
    yield from (ast.Constant(0), ast.Constant(1))
    if name in place.scope.kept and not place.is_whole:  # remembered from the step before, but for the first
        yield _parsed(f"({name} if {STATE}.step == 0 else {STATE}.{place.scope.kept[name]})")
    if name == STEPS:
        yield _parsed(f"max({STEPS} - 1, 1)")  # counted afterwards
    if isinstance(node, ast.Name):
        for step in place.scope.steps:
            if step != place.scope.definitions.get(node.id):
                yield _parsed(step)
    if name.endswith("eps"):
        for eps in FIXED_EPS:
            yield ast.Constant(eps)
    if name in place.scope.scalars:
        yield ast.BinOp(ast.Constant(1), ast.Sub(), node)
        yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))
    if "decay" in name and PARAMETER in place.scope.values:  # biases are often spared the decay
        for several_dimensions in (f"{PARAMETER}.ndim > 1", f"{PARAMETER}.ndim != 1"):
            yield _parsed(f"({name} if {several_dimensions} else 0)")


def exchanges(node: ast.expr, place: Place) -> Nodes:
    """Two values for each other wherever a statement has them."""
    if not place.is_whole or not is_value_read(node):
        return
    present = [name for name in dict.fromkeys(_names_in(node)) if name in place.scope.values]
    for a, b in combinations(present, 2):
        yield _renamed(node, {a: _parsed(b), b: _parsed(a)})


def renames(node: ast.expr, place: Place) -> Nodes:
    """One value for another wherever a statement has it; a weight for its complement to 1, and the reverse."""
    if not place.is_whole or not is_value_read(node):
        return
    present = _names_in(node)
    for name in dict.fromkeys(present):
        # A name that stands there only once is left to `names`.
        if present.count(name) > 1 and name in place.scope.values:
            for other in place.scope.values:
                if other != name:
                    yield _renamed(node, {name: _parsed(other)})
            if name in place.scope.scalars:
                yield _renamed(node, {name: _parsed(f"(1 - {name})")})


def functions(node: ast.expr, place: Place) -> Nodes:
    """A similar function, one more root, mean or square, other axes; the length for the size."""
    if isinstance(node, ast.Attribute) and node.attr == "size":
        yield ast.Call(ast.Name("len", ast.Load()), [node.value], [])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _similar(node, node.func)
        yield from _other_axes(node)
    is_value = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.BinOp)) and not place.is_tested
    if is_value and not _is_shaped(node) and is_value_read(node):
        if not isinstance(place.parent, ast.Subscript):  # x[0]: an entry of a root is the root of the entry
            yield _numpy("sqrt", node)
            if not _is_number(node, place.scope):
                yield from (_numpy("mean", node), _numpy("max", node))
        yield ast.BinOp(node, ast.Mult(), node)


def _similar(call: ast.Call, function: ast.Attribute) -> Nodes:
    """The same of a function that is taken for this one; the first entry in place of a mean or the like.

    >>> call = _parsed("np.argmin(x)")
    >>> [ast.unparse(new) for new in _similar(call, call.func)]
    ['np.argmax(x)']
    """
    for alike in SIMILAR:
        if function.attr in alike:
            for name in alike:
                if name != function.attr:
                    yield ast.Call(ast.Attribute(function.value, name, ast.Load()), call.args, call.keywords)
    if function.attr in SIMILAR[0] and call.args:
        yield ast.Subscript(call.args[0], ast.Constant(0), ast.Load())


def _other_axes(call: ast.Call) -> Nodes:
    """A call without one of its keywords, or with another axis.

    >>> [ast.unparse(new) for new in _other_axes(_parsed("np.sum(x, axis=1, keepdims=True)"))]
    ['np.sum(x, keepdims=True)', 'np.sum(x, axis=0, keepdims=True)', 'np.sum(x, axis=1)']
    """
    for k, keyword in enumerate(call.keywords):
        before, after = call.keywords[:k], call.keywords[k + 1 :]
        yield ast.Call(call.func, call.args, [*before, *after])
        if keyword.arg == "axis":
            other = ast.keyword("axis", _other_axis(ast.literal_eval(keyword.value)))
            yield ast.Call(call.func, call.args, [*before, other, *after])


def factors(node: ast.expr, place: Place) -> Nodes:
    """A term multiplied or divided by a number at hand, or by its complement to 1."""
    if place.is_tested or _is_shaped(node) or not place.is_term or not is_value_read(node):
        return
    if not isinstance(node, (ast.Name, ast.Attribute, ast.BinOp, ast.Call, ast.IfExp)):
        return
    for name in place.scope.scalars:
        for factor in (_parsed(name), ast.BinOp(ast.Constant(1), ast.Sub(), _parsed(name))):
            yield ast.BinOp(node, ast.Mult(), factor)
            yield ast.BinOp(node, ast.Div(), factor)
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
    if place.is_term and not place.is_tested and PARAMETER in place.scope.values and is_value_read(node):
        for name in place.scope.scalars:
            if "decay" in name:  # coupled, wherever that may be
                yield ast.BinOp(node, ast.Add(), _parsed(f"{name} * {PARAMETER}"))


KINDS = (operators, parts, orders, groupings, moves, constants, names, renames, exchanges, functions, factors, terms)


def _names_in(tree: ast.expr) -> list[str]:
    """Every name and attribute in an expression, as often as it is there."""
    return [ast.unparse(leaf) for leaf in ast.walk(tree) if isinstance(leaf, (ast.Name, ast.Attribute))]


def _renamed(tree: ast.expr, others: Mapping[str, ast.expr]) -> ast.expr:
    """A copy of an expression with every such name made into something else.

    >>> ast.unparse(_renamed(_parsed("a * b + c"), {"a": _parsed("b"), "b": _parsed("a")}))
    'b * a + c'
    """
    copies = {}
    for leaf in ast.walk(tree):
        if isinstance(leaf, (ast.Name, ast.Attribute, ast.Subscript)) and (name := ast.unparse(leaf)) in others:
            copies[id(leaf)] = others[name]
    renamed: ast.expr = deepcopy(tree, copies)
    return renamed


def _replaced(tree: ast.expr, node: ast.expr, new: ast.expr) -> ast.expr:
    """A copy of an expression with something else in place of one of its nodes, or of all of it."""
    if tree is node:
        return new
    # What `deepcopy` is told to have copied already, it puts in: here the new node as the copy of the old.
    replaced: ast.expr = deepcopy(tree, {id(node): new})
    return replaced


def is_value_read(node: ast.expr) -> bool:
    """Whether it is a value, and not what one is assigned to."""
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _is_number(node: ast.expr, scope: Scope) -> bool:
    """Whether it is made of nothing but numbers, of which a mean or a maximum would be the number itself."""
    numbers = (*scope.scalars, STATE, f"{STATE}.step", STEPS)
    return all(name in numbers or name.startswith(SELF) for name in _names_in(node))


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
    """What such a function is of: the base of a power."""
    return function.left if isinstance(function, ast.BinOp) else function.args[0]


def _with_argument(function: Any, argument: ast.expr) -> ast.expr:
    """Such a function of something else."""
    if isinstance(function, ast.BinOp):
        return ast.BinOp(argument, function.op, function.right)
    return ast.Call(function.func, [argument], function.keywords)


def _joined(inside: ast.expr, op: ast.operator, outside: ast.expr, *, outside_left: bool) -> ast.expr:
    """Two operands in the order in which they stood."""
    return ast.BinOp(outside, op, inside) if outside_left else ast.BinOp(inside, op, outside)
