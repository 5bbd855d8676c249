"""Stochastic arithmetic: the reference with every operation slightly wrong, at random.

A legal implementation may round wherever the rule's text computes. So the text is executed with each result multiplied
by (1 + amplitude * xi), xi standard normal, and the spread of the outcomes is what rounding may do to this rule on this
problem. The amplitude is far above roundoff, so that the double precision underneath does not quantise the noise, and
far below one, so that its effect is linear and scales to any precision.

Comparisons decide between branches, and signs between directions: rounding sways both where two numbers are almost
equal. Each run records its decisions in order, or is made to follow recorded ones.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.cache.encoding import storable
from stepgauge.properties.gauge.tolerance.reference_copies import Transformation, copy_rule
from stepgauge.reference import Rule
from stepgauge.reference.rule import Array

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
METHODS = {"sum", "mean", "prod", "std", "var", "dot", "cumsum"}  # of arrays, which would round unseen
NUMPY = (np.ndarray, np.generic)
ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
EXACT = {
    "abs", "array", "asarray", "clip", "diag", "max", "maximum", "min", "minimum", "ones_like", "stack", "where",
    "zeros_like",
}  # fmt: skip


@storable
class Decision(NamedTuple):
    """What the text decided: comparisons, as the bytes of an array of booleans; signs; or which item is smallest."""

    place: str
    outcome: bytes | tuple[int, ...] | int

    @property
    def holds(self) -> bool:
        """Whether it is a comparison that holds anywhere. (Some sign is always positive, which says nothing.)"""
        return isinstance(self.outcome, bytes) and any(self.outcome)


class Run(NamedTuple):
    """A stochastic run: the seed of its noise and the amplitudes, of operations on arrays and on Python's numbers."""

    seed: int = 0
    arrays: float = 0.0
    scalars: float = 0.0


POOL = 1 << 16
STRIDE = 40503  # of laps through a pool: odd, and no simple fraction of its size


@lru_cache(maxsize=64)  # the seeds are few, and every run starts one anew
def _normal(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(POOL)


@lru_cache(maxsize=32)
def _pools(seeds: tuple[int, ...], amplitudes: tuple[float, ...]) -> tuple[Array, Array]:
    """The errors of streams, shape (streams, POOL), and factors 1 + error."""
    errors = np.array([amplitude * _normal(seed) for seed, amplitude in zip(seeds, amplitudes, strict=True)])
    return errors, 1 + errors


class Noise:
    """Streams of errors amplitude * xi, cut from pools that are drawn once, at places that all streams share."""

    def __init__(self, *streams: tuple[int, float]) -> None:
        """Each stream has a seed and an amplitude."""
        self.streams = streams
        seeds, amplitudes = zip(*streams, strict=True)
        self._errors, self._factors = _pools(seeds, amplitudes)
        self._position = self._laps = 0

    def errors(self, size: int) -> Array:
        """Shape (streams, size)."""
        return self._errors[:, self._next(size)] if size <= POOL else self._beyond(size)

    def factors(self, size: int) -> Array:
        """1 + errors."""
        return self._factors[:, self._next(size)] if size <= POOL else 1 + self._beyond(size)

    def _next(self, size: int) -> slice:
        if self._position + size > POOL:
            self._laps += 1
            self._position = self._laps * STRIDE % (POOL - size + 1)
        self._position += size
        return slice(self._position - size, self._position)

    def _beyond(self, size: int) -> Array:
        """More than a pool holds."""
        self._laps += 1
        return np.array(
            [a * np.random.default_rng((seed, self._laps)).standard_normal(size) for seed, a in self.streams]
        )


def noise_of(runs: Sequence[Run]) -> tuple[Noise, Noise]:
    """The noise of runs: of operations on arrays, and on Python's numbers."""
    arrays = Noise(*((2 * run.seed, run.arrays) for run in runs))
    return arrays, Noise(*((2 * run.seed + 1, run.scalars) for run in runs))


class Arithmetic:
    """What the instrumented text calls, and NumPy's stand-in there."""

    def __init__(self) -> None:
        self.begin(Run())

    def begin(self, run: Run, follow: Sequence[Decision] | None = None) -> None:
        """Start a run, following the decisions of an earlier one if given."""
        self.silent = run.arrays == run.scalars == 0  # then nothing is drawn
        if not self.silent:
            self.arrays, self.scalars = noise_of([run])
        self.follow = follow
        self.decisions: list[Decision] = []
        self.swayed = False  # whether a decision came out other than the run was made to follow

    def blur(self, x: Any) -> Any:
        """x, wrong by one rounding."""
        if self.silent:
            return x
        if isinstance(x, NUMPY) and x.dtype.kind == "f":
            return np.multiply(x, self.arrays.factors(x.size).reshape(x.shape))
        if isinstance(x, float):
            return x * self.scalars.factors(1).item()
        return x

    def operate(self, op: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
        if self.silent:
            return op(a, b)
        if isinstance(b, NUMPY) and isinstance(a, float) and not isinstance(a, np.generic):
            a = a * self.arrays.factors(1).item()  # a scalar is rounded to the array's dtype first
        elif isinstance(a, NUMPY) and isinstance(b, float) and not isinstance(b, np.generic):
            b = b * self.arrays.factors(1).item()
        return self.blur(op(a, b))

    def decide(self, place: str, outcome: Any) -> Any:
        flags = np.asarray(outcome, dtype=bool)
        taken = self._take(Decision(place, flags.tobytes())).outcome
        assert isinstance(taken, bytes)
        return np.frombuffer(taken, dtype=bool).reshape(flags.shape) if flags.ndim else any(taken)

    def argmin(self, x: Array) -> int:
        """Which of a list of numbers is the smallest: a decision too."""
        taken = self._take(Decision("np.argmin", int(np.argmin(x)))).outcome
        assert isinstance(taken, int)
        return taken

    def sign(self, x: Any) -> Any:
        """Signs, each a decision. An exact 0 stays 0 under noise that multiplies, and NaN has no sign to follow."""
        own = np.sign(x)
        taken = self._take(Decision("np.sign", tuple(np.nan_to_num(own).astype(int).ravel().tolist()))).outcome
        return np.where(np.isnan(own), own, np.reshape(np.array(taken, own.dtype), own.shape))

    def _take(self, own: Decision) -> Decision:
        """The decision of this run, or at its turn that of the run to follow."""
        taken = own
        if self.follow is not None and len(self.decisions) < len(self.follow):
            taken = self.follow[len(self.decisions)]
            assert taken.place == own.place, f"{own.place} is not the decision to follow, {taken.place}"
            self.swayed |= own != taken
        self.decisions.append(taken)
        return taken

    def sum(self, x: Array, **axes: Any) -> Any:
        """A sum in any order: each of its n terms is subject to about sqrt(n) roundings, and so is the whole."""
        if self.silent:
            return np.sum(x, **axes)
        n = x.size // max(1, np.sum(x, **axes).size)
        noise = self.arrays.errors(x.size).reshape(x.shape) + self.arrays.errors(1).item()
        return np.sum(x * (1 + max(1, n) ** 0.5 * noise), **axes)

    def matmul(self, a: Array, b: Array) -> Array:
        """A product of matrices in any order of summation: as `sum`, with noise of its own in each of its terms."""
        product = a @ b
        if self.silent:
            return product
        terms = np.sqrt((a * a) @ (b * b))  # the size of a sum of terms, each with a random sign
        inner, outer = (self.arrays.errors(product.size).reshape(product.shape) for _ in range(2))
        return product + a.shape[1] ** 0.5 * (terms * inner + product * outer)

    def sqrt(self, x: Any) -> Any:
        return self.blur(np.sqrt(x))

    def to_float(self, x: Any) -> Any:
        """What `float` does to what it is called with."""
        return float(x)

    def __getattr__(self, name: str) -> Any:
        if name in EXACT or isinstance(getattr(np, name, None), type):
            return getattr(np, name)
        raise AttributeError(f"how np.{name} rounds is not stated in {__name__}")


class AnyArithmetic(Arithmetic):
    """For edited texts, which may call any function: one whose rounding is not stated has a rounding of its result."""

    def sum(self, x: Any, **axes: Any) -> Any:
        return super().sum(np.asarray(x), **axes)

    def mean(self, x: Any, **axes: Any) -> Any:
        return self.sum(x, **axes) * (np.sum(x, **axes).size / np.size(x))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            function = getattr(np, name)
            return lambda *arguments, **options: self.blur(function(*arguments, **options))


class _Instrument(ast.NodeTransformer):
    """Routes every arithmetic operation and ordering comparison through an `Arithmetic`."""

    def __init__(self) -> None:
        self.function = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self.function = self.function, node.name
        node.body = [self.visit(statement) for statement in node.body]  # and not the annotations
        self.function = outer
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not self.function:
            return node  # annotations and class bodies compute nothing
        self.generic_visit(node)
        if isinstance(node.op, ast.MatMult):
            return _call("_matmul", node.left, node.right)
        operation = ast.Subscript(_name("_operators"), ast.Constant(type(node.op).__name__), ast.Load())
        return _call("_operate", operation, node.left, node.right)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        raise TypeError(f"line {node.lineno}: write x = x + y, so that the operation is seen")

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and ast.unparse(node.func.value) != "np":
            raise TypeError(f"line {node.lineno}: write np.{node.func.attr}(x), so that the operation is seen")
        self.generic_visit(node)
        if self.function and isinstance(node.func, ast.Name) and node.func.id == "float":
            return _call("_float", *node.args)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        place = f"{ast.unparse(node)} in {self.function}"
        self.generic_visit(node)
        if not isinstance(node.ops[0], ORDERINGS):
            return node
        return _call("_decide", ast.Constant(place), node)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_name(function), list(arguments), [])


Instrumented = tuple[type[Rule], Arithmetic]


@cache
def instrument_rule(rule: type[Rule]) -> Instrumented:
    """A copy of the rule's text that computes through the arithmetic beside it."""
    return instrument(rule, lambda _, tree: tree)


def instrument(
    rule: type[Rule],
    transform: Transformation,
    arithmetic: Arithmetic | None = None,
    stand_ins: Mapping[str, Any] | None = None,
) -> Instrumented:
    """The same of the rule's transformed text, which imports `stand_ins` in place of the modules so named."""
    arithmetic = arithmetic or Arithmetic()
    names = {
        "_operate": arithmetic.operate,
        "_matmul": arithmetic.matmul,
        "_decide": arithmetic.decide,
        "_float": arithmetic.to_float,
        "_operators": {op.__name__: function for op, function in OPERATORS.items()},
    }
    imported = {"numpy": arithmetic, **(stand_ins or {})}
    copy = copy_rule(rule, lambda m, tree: _Instrument().visit(transform(m, tree)), names, imported)
    return copy, arithmetic
