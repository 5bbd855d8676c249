"""Conjugate gradients on many systems at once: one for each row, a fixed number of iterations, no early stop.

This differs from a textbook's in: rows have their own alpha and beta; eps is added to both denominators (the released
guard, 0 otherwise); and the caller says how to divide. With `guarded`, a row whose Krylov space is exhausted stays
where it is; with `plain` and eps = 0, a row of zeros becomes NaN.
"""

from collections.abc import Callable

import numpy as np

from stepgauge.reference.rule import Array

Division = Callable[[Array, Array], Array]


def guarded(a: Array, b: Array) -> Array:
    """The quotient a / b, but 0 where b <= 0; NaN stays NaN."""
    return np.where(b <= 0, 0, a / np.where(b <= 0, 1, b))


def plain(a: Array, b: Array) -> Array:
    """The quotient a / b, whatever b is."""
    return a / b


def dot(a: Array, b: Array) -> Array:
    """The inner product of corresponding rows, shape (rows, 1)."""
    return np.sum(a * b, axis=1, keepdims=True)


def conjugate_gradients(
    A: Callable[[Array], Array], e: Array, iterations: int, eps: float = 0.0, divide: Division = guarded
) -> Array:
    """An approximate solution W of A(W) = e, row by row, from W = 0; A is positive definite on every row."""
    w, r, p = np.zeros_like(e), e, e
    rr = dot(r, r)
    for _ in range(iterations):
        Ap = A(p)
        alpha = divide(rr, dot(p, Ap) + eps)
        w, r = w + alpha * p, r - alpha * Ap
        rr, before = dot(r, r), rr
        p = r + divide(rr, before + eps) * p
    return w
