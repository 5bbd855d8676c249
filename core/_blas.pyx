"""The wrappers of BLAS as functions of arrays, so that their transpositions can be verified: see `_blas.pxd`."""

from cython cimport floating

from _blas cimport gram, multiply


def write_product(
    const floating[:, ::1] a, const floating[:, ::1] b, floating[:, ::1] c, *,
    bint transpose_a=False, bint transpose_b=False, bint add=False,
):
    """Write op(A) op(B) into C, or add it; none of them may be empty."""
    cdef Py_ssize_t inner = a.shape[0] if transpose_a else a.shape[1]
    with nogil:
        multiply(
            transpose_a, transpose_b, c.shape[0], c.shape[1], inner, &a[0, 0], a.shape[1], &b[0, 0], b.shape[1],
            add, &c[0, 0], c.shape[1],
        )


def write_gram(const floating[:, ::1] a, floating[:, ::1] c, *, bint transpose=False):
    """Write A A' into C, or A' A; neither may be empty."""
    cdef Py_ssize_t inner = a.shape[0] if transpose else a.shape[1]
    with nogil:
        gram(transpose, c.shape[0], inner, &a[0, 0], a.shape[1], &c[0, 0])
