"""The radial projection, row by row: see `stepgauge.reference.projection` for the mathematics and its source."""

from cython cimport floating


cdef Py_ssize_t invariant_rows(
    const floating* w, const floating* g, Py_ssize_t n, Py_ssize_t rows, double delta, floating eps
) noexcept nogil

cdef floating guarded_norm(const floating* w, Py_ssize_t n, floating eps) noexcept nogil
