"""Conjugate gradients on many systems at once: one for each row, a fixed number of iterations, no early stop.

This differs from a textbook's in: rows have their own alpha and beta; eps is added to both denominators (the released
FROG's guard, 0 otherwise); and where a denominator is not positive the ratio is 0, so that a row whose Krylov space
is exhausted stays where it is.
"""

from collections.abc import Callable

import numpy as np

from stepgauge.reference.rule import Array


def ratio(a: Array, b: Array) -> Array:
    """The quotient a / b where b > 0, else 0."""
    return np.where(b > 0, a / np.where(b > 0, b, 1), 0)


def dot(a: Array, b: Array) -> Array:
    """The inner product of corresponding rows, shape (rows, 1)."""
    return np.sum(a * b, axis=1, keepdims=True)


def conjugate_gradients(A: Callable[[Array], Array], e: Array, iterations: int, eps: float) -> Array:
    """An approximate solution W of A(W) = e, row by row, from W = 0; A is positive definite on every row."""
    w, r, p = np.zeros_like(e), e, e
    rr = dot(r, r)
    for _ in range(iterations):
        Ap = A(p)
        alpha = ratio(rr, dot(p, Ap) + eps)
        w, r = w + alpha * p, r - alpha * Ap
        rr, before = dot(r, r), rr
        p = r + ratio(rr, before + eps) * p
    return w
