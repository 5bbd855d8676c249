"""Sums in the order of NumPy: see `sums.pxd`."""

from cython cimport floating

from stepgauge.core.instruction_sets cimport clones


cdef void sum_squares(const floating* x, Py_ssize_t n, floating* total) noexcept nogil:
    """`np.sum(x * x)`."""
    cdef floating right
    cdef Py_ssize_t half
    if n <= BLOCK:
        square_block(x, n, total)
        return
    half = first_half(n)
    sum_squares(x, half, total)
    sum_squares(x + half, n - half, &right)
    total[0] += right


cdef clones square_block(const floating* x, Py_ssize_t n, floating* total) noexcept nogil:
    cdef floating squares[BLOCK]
    cdef Py_ssize_t i
    for i in range(n):
        squares[i] = x[i] * x[i]
    sum_block(squares, n, total)
