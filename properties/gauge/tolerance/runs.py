"""Stochastic runs side by side: values that differ from run to run, computed with in one operation.

Runs that follow the same decisions execute the same operations, one array of all runs at a time, with the very noise
that each has by itself. A text that asks for more, or that lets runs part where no decision is recorded, raises
`Apart`; then each run goes alone (`stochastic`).
"""

import math
import operator
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from stepgauge.properties.gauge.tolerance.stochastic import EXACT, NUMPY, Arithmetic, Decision, Run, noise_of
from stepgauge.reference import Array


class Apart(Exception):
    """These runs cannot be computed side by side."""


class Runs(NDArrayOperatorsMixin):
    """What differs from run to run: an array, or a number of Python's where `number` is set.

    `values` has the runs as its first axis, which shape, indices and axes do not count.
    """

    __slots__ = ("number", "values")

    def __init__(self, values: Array, *, number: bool = False) -> None:
        self.values, self.number = values, number

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]

    @property
    def ndim(self) -> int:
        return self.values.ndim - 1

    @property
    def size(self) -> int:
        return self.values[0].size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def T(self) -> "Runs":  # noqa: N802  # NumPy's name
        return Runs(self.values.transpose(0, *range(self.ndim, 0, -1)))

    def reshape(self, *shape: Any) -> "Runs":
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Runs(self.values.reshape(len(self.values), *wanted))

    def __getitem__(self, index: Any) -> "Runs":
        return Runs(self.values[(slice(None), *(index if isinstance(index, tuple) else (index,)))])

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        if self.values.all() != self.values.any():
            raise Apart("runs part where no decision is recorded")
        return bool(self.values.all())

    def __float__(self) -> float:
        raise Apart("a number of its own in each run")

    __int__ = __index__ = __float__

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Apart("an array of its own in each run")

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> "Runs":
        if method != "__call__" or options:
            raise Apart(f"{ufunc.__name__}.{method}")
        return elementwise(ufunc, *operands)

    def __array_function__(self, function: Any, _: Any, arguments: Any, options: Any) -> Any:
        return call(function, *arguments, **options)


def is_number(x: Any) -> bool:
    """Whether x is a number of Python's, which rounds in double precision whatever the parameters are."""
    return x.number if isinstance(x, Runs) else isinstance(x, (int, float)) and not isinstance(x, np.generic)


def is_array(x: Any) -> bool:
    return not x.number if isinstance(x, Runs) else isinstance(x, NUMPY)


def aligned(*operands: Any) -> Sequence[Any]:
    """Operands that broadcast run by run."""
    dimensions = [x.values.ndim if type(x) is Runs else np.ndim(x) + 1 for x in operands]
    most = max(dimensions)
    return [_with_axes(x, most) if type(x) is Runs else x for x in operands]


def _with_axes(x: Runs, dimensions: int) -> Array:
    """The values of all runs, with axes of length 1 after that of the runs until they have so many dimensions."""
    values = x.values
    if values.ndim == dimensions:
        return values
    return values.reshape(len(values), *(1,) * (dimensions - values.ndim), *values.shape[1:])


QUIET = (np.add, np.subtract, np.multiply, operator.add, operator.sub, operator.mul)
DIVISIONS = (np.divide, operator.truediv)


def _may_raise(function: Callable[..., Any], operands: Sequence[Any], values: Array) -> bool:
    """Whether Python's numbers may raise where arrays become infinite or NaN."""
    if function in QUIET:
        return False
    if function in DIVISIONS:
        divisor = operands[1]
        return bool(np.any((divisor.values if isinstance(divisor, Runs) else divisor) == 0))
    return not np.isfinite(values).all()


def elementwise(function: Callable[..., Any], *operands: Any) -> Runs:
    """A function of corresponding elements, in each run."""
    number = all(map(is_number, operands))
    values = function(*aligned(*operands))
    if number and _may_raise(function, operands, values):
        raise Apart("where Python's numbers raise")
    return Runs(values, number=number)


def _all_runs(x: Any, count: int) -> Array:
    return x.values if isinstance(x, Runs) else np.broadcast_to(x, (count, *np.shape(x)))


def _listed(parts: Sequence[Any]) -> list[Array]:
    count = next(len(x.values) for x in parts if isinstance(x, Runs))
    return [_all_runs(x, count) for x in parts]


def _behind_the_runs(x: Runs, axis: Any) -> tuple[int, ...]:
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(k if k < 0 else k + 1 for k in axes)


def reduce(function: Callable[..., Any], x: Runs, axis: Any = None, *, keepdims: bool = False) -> Runs:
    """A function along axes of each run's array, as `axis` and `keepdims` of NumPy's functions say."""
    return Runs(function(x.values, axis=_behind_the_runs(x, axis), keepdims=keepdims))


def _split(x: Runs, sections: int, axis: int = 0) -> list[Runs]:
    return [Runs(part) for part in np.split(x.values, sections, axis=_behind_the_runs(x, axis)[0])]


ELEMENTWISE = (np.abs, np.clip, np.isnan, np.maximum, np.minimum, np.where)
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.array: lambda parts: Runs(np.stack(_listed(parts), axis=1)),
    np.asarray: lambda x: x,
    np.concatenate: lambda parts, axis=0: Runs(np.concatenate(_listed(parts), axis=axis + 1 if axis >= 0 else axis)),
    np.diag: lambda x: Runs(np.diagonal(x.values, axis1=1, axis2=2)),
    np.max: lambda x, axis=None, keepdims=False: reduce(np.max, x, axis, keepdims=keepdims),
    np.min: lambda x, axis=None, keepdims=False: reduce(np.min, x, axis, keepdims=keepdims),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
    np.split: _split,
    np.stack: lambda parts: Runs(np.stack(_listed(parts), axis=1)),
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
}


def _holds_runs(x: Any) -> bool:
    return isinstance(x, Runs) or (isinstance(x, (list, tuple)) and any(isinstance(part, Runs) for part in x))


def call(function: Any, *arguments: Any, **options: Any) -> Any:
    """A function of NumPy's that rounds nothing, run by run."""
    if not any(map(_holds_runs, (*arguments, *options.values()))):
        return function(*arguments, **options)
    if function in ELEMENTWISE and not options:
        return elementwise(function, *arguments)
    if function not in FUNCTIONS:
        raise Apart(f"np.{function.__name__}")
    return FUNCTIONS[function](*arguments, **options)


class ArithmeticOfRuns(Arithmetic):
    """What the text calls when its runs go side by side; `parting` tells which of them would decide otherwise."""

    def start(self, runs: Sequence[Run], follow: Sequence[Decision]) -> None:
        """Start runs that follow the decisions of an earlier one."""
        self.begin(Run(), follow)
        self.count = len(runs)
        self.parting = np.zeros(self.count, dtype=bool)
        self.arrays, self.scalars = noise_of(runs)

    def blur(self, x: Any) -> Any:
        if type(x) is Runs:
            return self._blurred(x.values, number=x.number)
        if isinstance(x, NUMPY) and x.dtype.kind == "f":
            return Runs(np.asarray(x) * self.arrays.factors(x.size).reshape(self.count, *x.shape))
        return Runs(x * self.scalars.factors(1)[:, 0], number=True) if isinstance(x, float) else x

    def _blurred(self, values: Array, *, number: bool) -> Runs:
        if number:
            return Runs(values * self.scalars.factors(1)[:, 0], number=True)
        if values.dtype.kind != "f":
            return Runs(values)
        return Runs(values * self.arrays.factors(values.size // self.count).reshape(values.shape))

    def operate(self, op: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
        a_is_array, b_is_array = is_array(a), is_array(b)
        if b_is_array and not a_is_array:
            a = self._entering(a, b)
        elif a_is_array and not b_is_array:
            b = self._entering(b, a)
        if type(a) is not Runs and type(b) is not Runs:
            return self.blur(op(a, b))
        if a_is_array or b_is_array:
            return self._blurred(op(*aligned(a, b)), number=False)
        return self.blur(elementwise(op, a, b))

    def _entering(self, x: Any, array: Any) -> Any:
        """A number of Python's as it enters an array's operation: rounded to its dtype; whole numbers stay exact."""
        if type(x) is Runs or isinstance(x, float):
            values = (x.values if type(x) is Runs else x) * self.arrays.factors(1)[:, 0]
            return Runs(values.reshape(self.count, *(1,) * array.ndim))
        return x

    def decide(self, place: str, outcome: Any) -> Any:
        if not isinstance(outcome, Runs):
            return super().decide(place, outcome)
        taken = self._followed(place).outcome
        assert isinstance(taken, bytes)
        flags = np.frombuffer(taken, dtype=bool).reshape(outcome.shape)
        self._part(outcome.values != flags)
        return flags if flags.ndim else any(taken)

    def argmin(self, x: Any) -> int:
        if not isinstance(x, Runs):
            return super().argmin(x)
        taken = self._followed("np.argmin").outcome
        assert isinstance(taken, int)
        self._part(np.argmin(x.values, axis=1) != taken)
        return taken

    def sign(self, x: Any) -> Any:
        if not isinstance(x, Runs):
            return super().sign(x)
        own = np.sign(x.values)
        taken = np.reshape(np.array(self._followed("np.sign").outcome, own.dtype), x.shape)
        self._part(np.nan_to_num(own) != taken)
        return Runs(np.where(np.isnan(own), own, taken))

    def _part(self, otherwise: Array) -> None:
        """Note the runs that decide otherwise than the one that they follow; the first axis is theirs."""
        self.parting |= otherwise.reshape(self.count, -1).any(axis=1)
        self.swayed = bool(self.parting.any())

    def _followed(self, place: str) -> Decision:
        if self.follow is None or len(self.decisions) >= len(self.follow):
            raise Apart(f"{place} is not recorded")
        taken = self.follow[len(self.decisions)]
        if taken.place != place:
            raise Apart(f"{place} is not the decision to follow, {taken.place}")
        self.decisions.append(taken)
        return taken

    def sum(self, x: Any, **axes: Any) -> Any:
        terms = x if isinstance(x, Runs) else Runs(np.broadcast_to(x, (self.count, *np.shape(x))))
        over = _behind_the_runs(terms, axes.get("axis"))
        n = math.prod(terms.values.shape[k] for k in over)
        each = self.arrays.errors(terms.size).reshape(terms.values.shape)
        whole = self.arrays.errors(1).reshape(self.count, *(1,) * terms.ndim)
        blurred = terms.values * (1 + max(1, n) ** 0.5 * (each + whole))
        return Runs(np.sum(blurred, axis=over, keepdims=axes.get("keepdims", False)))

    def matmul(self, a: Any, b: Any) -> Any:
        left, right = (x.values if isinstance(x, Runs) else x for x in (a, b))
        product = left @ right
        terms = np.sqrt((left * left) @ (right * right))
        if product.ndim == len(b.shape):  # of two plain matrices
            product, terms = (np.broadcast_to(x, (self.count, *x.shape)) for x in (product, terms))
        size = product[0].size
        inner, outer = (self.arrays.errors(size).reshape(product.shape) for _ in range(2))
        return Runs(product + a.shape[1] ** 0.5 * (terms * inner + product * outer))

    def sqrt(self, x: Any) -> Any:
        return self.blur(elementwise(np.sqrt, x) if isinstance(x, Runs) else np.sqrt(x))

    def to_float(self, x: Any) -> Any:
        """What `float` is in the text."""
        return Runs(x.values, number=True) if isinstance(x, Runs) and not x.shape else float(x)

    def __getattr__(self, name: str) -> Any:
        function = super().__getattr__(name)
        return function if name not in EXACT else lambda *arguments, **options: call(function, *arguments, **options)


# The text's `math`: whether a number is finite is asked of all runs at once, and they have to agree.
MATH_OF_RUNS = SimpleNamespace(**{**vars(math), "isfinite": lambda x: bool(np.isfinite(x))})


class NumpyOfRuns:
    """NumPy's stand-in in a driver, which computes nothing but may ask whether something is an array."""

    ndarray = (np.ndarray, Runs)

    @staticmethod
    def asarray(x: Any) -> Any:
        return x if isinstance(x, Runs) else np.asarray(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def rows_of(params: Sequence[Any], count: int) -> Array:
    """The parameters end to end in each run, shape (runs, size)."""
    return np.concatenate([_all_runs(p, count).reshape(count, -1) for p in params], axis=1)
