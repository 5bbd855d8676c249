"""The radial projection, row by row: see `stepgauge.reference.projection` for the mathematics and its source."""

from cython cimport floating
from libc.math cimport fabs, sqrt, sqrtf

from _sums cimport dot


cdef inline floating root(floating x) noexcept nogil:
    """The square root in x's own precision."""
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating at_least(floating x, floating bound) noexcept nogil:
    """`np.maximum(x, bound)`: NaN stays NaN."""
    return bound if x < bound else x


cdef inline floating norm(const floating* x, Py_ssize_t n) noexcept nogil:
    return root(dot(x, x, n))


cdef inline floating cosine(const floating* x, const floating* y, Py_ssize_t n, floating eps) noexcept nogil:
    return dot(x, y, n) / (at_least(norm(x, n), eps) * at_least(norm(y, n), eps))


cdef inline bint orthogonal(
    const floating* w, const floating* g, Py_ssize_t rows, Py_ssize_t cols, floating bound, floating eps
) noexcept nogil:
    """Whether |cosine| is below the bound in every row; a NaN is not."""
    cdef Py_ssize_t i
    for i in range(rows):
        if not fabs(cosine(g + i * cols, w + i * cols, cols, eps)) < bound:
            return False
    return True


cdef inline void remove_radial(
    floating* u, const floating* w, floating* w_hat, Py_ssize_t cols, floating eps
) noexcept nogil:
    """Remove from the row u its component along the row w; w_hat is room for a row."""
    cdef Py_ssize_t j
    cdef floating length = norm(w, cols) + eps
    for j in range(cols):
        w_hat[j] = w[j] / length
    cdef floating radial = dot(w_hat, u, cols)
    for j in range(cols):
        u[j] = u[j] - w_hat[j] * radial
