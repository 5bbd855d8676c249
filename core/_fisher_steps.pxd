"""What FROG and K-FROG do beside the solve, element by element, in the reference's order of operations."""

from cython cimport floating


cdef inline floating accumulated(floating* M, floating g, floating momentum, bint nesterov) noexcept nogil:
    """Update one coordinate of the momentum; what is stepped along."""
    M[0] = momentum * M[0] + g
    return g + momentum * M[0] if nesterov else M[0]


cdef inline int accumulate(
    floating[::1] M, const floating[::1] g, floating[::1] e, floating momentum, bint nesterov
) except -1:
    """Update the momentum; e is what is stepped along."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(M.shape[0]):
            e[i] = accumulated(&M[i], g[i], momentum, nesterov)
    return 0


cdef inline int descend(floating[::1] p, const floating[::1] h, floating keep, floating rate) except -1:
    """p = keep p - rate h."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(p.shape[0]):
            p[i] = keep * p[i] - rate * h[i]
    return 0
