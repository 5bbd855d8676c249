"""What the functions of NumPy and of Python that the reference calls make of symbolic values."""

import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import sympy

from stepgauge.properties.gauge.strength.symbolic import algebra
from stepgauge.properties.gauge.strength.symbolic.algebra import COUNT, SCALAR, Expression, Shape, Value, atom, number
from stepgauge.properties.gauge.strength.symbolic.operations import (
    LIST,
    Operations,
    extents,
    has_type,
    replaced,
    reshaped,
)
from stepgauge.properties.gauge.strength.symbolic.values import (
    ANY_SHAPE,
    Condition,
    Either,
    Items,
    NotUnderstood,
    Record,
)


def sqrt(run: Operations, x: Any) -> Value:
    return algebra.sqrt(run.numeric(x))


def absolute(run: Operations, x: Any) -> Value:
    return algebra.absolute(run.numeric(x))


def maximum(run: Operations, x: Any, y: Any) -> Value:
    return algebra.largest(run.numeric(x), run.numeric(y))


def minimum(run: Operations, x: Any, y: Any) -> Value:
    return algebra.smallest(run.numeric(x), run.numeric(y))


def clip(run: Operations, x: Any, low: Any, high: Any) -> Value:
    return minimum(run, maximum(run, x, low), high)


def zeros_like(run: Operations, x: Any) -> Value:
    return algebra.zeros(run.numeric(x).shape)


def ones_like(run: Operations, x: Any) -> Value:
    return algebra.add(zeros_like(run, x), number(1))


def where(run: Operations, test: Any, x: Any, y: Any) -> Value:
    if not isinstance(test, Condition):
        raise NotUnderstood("a choice by numbers")
    a, b = run.numeric(x), run.numeric(y)
    return algebra.where(run.frozen(test), a, b, algebra.broadcast(test.shape, a.shape, b.shape))


def total(run: Operations, x: Any, axis: Any = None, keepdims: Any = False) -> Value:
    return _linear(run, "sum", x, axis, keepdims)


def mean(run: Operations, x: Any, axis: Any = None, keepdims: Any = False) -> Value:
    return _linear(run, "mean", x, axis, keepdims)


def _linear(run: Operations, name: str, x: Any, axis: Any, keepdims: Any) -> Value:
    array = run.numeric(x)
    if not array.shape and axis is None:
        return array
    return algebra.linear(name, array, *_reduced(run, array, axis, keepdims))


def _reduced(run: Operations, array: Value, axis: Any, keepdims: Any) -> tuple[Shape, Expression, Expression]:
    """The shape that is left of an array, and the arguments that say so."""
    over, kept = run.frozen(axis), run.frozen(keepdims)
    if axis is None and keepdims is False:
        return SCALAR, over, kept
    sizes = run.extents(array.shape)
    if isinstance(sizes, tuple) and over.is_Integer and -len(sizes) <= over < len(sizes):
        over %= len(sizes)
    run.may_fail("axis", extents(array.shape), over)
    reduced = algebra.KEPT if keepdims is True else sympy.Function("reduced")
    return frozenset({reduced(extents(array.shape), over, kept)}), over, kept


def largest_entry(run: Operations, x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    return _extreme_entry(run, "max", x, axis, keepdims)


def smallest_entry(run: Operations, x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    return _extreme_entry(run, "min", x, axis, keepdims)


def _extreme_entry(run: Operations, name: str, x: Any, axis: Any, keepdims: Any) -> Any:
    if isinstance(x, (type, FunctionType)):
        return x  # NumPy makes an array of one object of it
    array = run.numeric(x)
    if not array.shape and axis is None:
        return array
    shape, *further = _reduced(run, array, axis, keepdims)
    run.may_fail("extreme", extents(array.shape))  # of nothing
    entry = sympy.Function(name)(run.frozen(array), *further)
    return atom(entry, shape, array.facts, safe=array.is_safe)


def argmin(run: Operations, x: Any) -> Value:
    run.may_fail("argmin", x)  # of nothing
    return atom(sympy.Function("argmin")(run.frozen(x)), facts=COUNT)


def diag(run: Operations, x: Any) -> Value:
    array = run.numeric(x)
    run.may_fail("diag", extents(array.shape))
    return algebra.linear("diag", array, frozenset({sympy.Function("diagonal")(extents(array.shape))}))


def numeric(run: Operations, x: Any) -> Value:
    return run.numeric(x)


def real(run: Operations, x: Any) -> Value:
    return run.scalar(x)


def integer(run: Operations, x: Any) -> Value:
    value = run.scalar(x)
    if not value.known("whole"):
        raise NotUnderstood("a number cut to an integer")
    return value


def is_finite(run: Operations, x: Any) -> Condition:
    """A number is as finite as its opposite."""
    return Condition(sympy.Function("isfinite")(algebra.signless(run.scalar(x)).canonical))


def length(run: Operations, x: Any) -> Value:
    return run.length(x)


def is_instance(run: Operations, x: Any, kind: Any) -> Any:
    if isinstance(x, Either) and kind in x.values:
        return has_type(x, kind)
    if isinstance(x, Record):
        return issubclass(x.kind, kind)
    is_number = isinstance(x, Value) and not any(shape.func == ANY_SHAPE for shape in x.shape)
    if is_number and hasattr(kind, "_fields"):
        return False
    return Condition(sympy.Function("is a")(run.frozen(x), run.frozen(kind)))


def kind_of(run: Operations, x: Any) -> Any:
    if isinstance(x, Record):
        return x.kind
    raise NotUnderstood("a type")


def as_tuple(run: Operations, x: Any) -> Any:
    if isinstance(x, Items):
        return Items(sympy.Function("tuple")(x.name), x.annotation) if x.name.func == LIST else x
    if isinstance(x, (tuple, list)):
        return tuple(x)
    raise NotUnderstood("a tuple")


KNOWN: Sequence[tuple[Any, Callable[..., Any]]] = (
    (np.abs, absolute),
    (np.argmin, argmin),
    (np.asarray, numeric),
    (np.clip, clip),
    (np.diag, diag),
    (np.max, largest_entry),
    (np.maximum, maximum),
    (np.mean, mean),
    (np.min, smallest_entry),
    (np.minimum, minimum),
    (np.ones_like, ones_like),
    (np.sqrt, sqrt),
    (np.sum, total),
    (np.where, where),
    (np.zeros_like, zeros_like),
    (math.isfinite, is_finite),
    (float, real),
    (int, integer),
    (isinstance, is_instance),
    (len, length),
    (tuple, as_tuple),
    (type, kind_of),
    (replaced, replaced),
    (reshaped, reshaped),
)
