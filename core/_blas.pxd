"""Products of row-major matrices, by the BLAS that SciPy brings.

BLAS stores matrices by columns. What it reads in a row-major matrix is the transpose, so a product is asked for as
(op(A) op(B))' = op(B)' op(A)', with factors, and their flags, exchanged.

A matrix is a pointer to its first entry and the distance between its rows, in entries. Sizes fit in a C int. No matrix
is written that is also read. BLAS has threads of its own: nothing here may be called inside `prange`.
"""

from cython cimport floating
from libc.string cimport memset
from scipy.linalg.cython_blas cimport dgemm, dsyrk, sgemm, ssyrk


cdef inline void multiply(
    bint transpose_a, bint transpose_b, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t inner,
    const floating* a, Py_ssize_t stride_a, const floating* b, Py_ssize_t stride_b,
    bint add, floating* c, Py_ssize_t stride_c,
) noexcept nogil:
    """C = op(A) op(B), or C += with `add`; C has `rows` x `cols` entries, and `inner` terms are summed in each."""
    cdef char* op_a = "t" if transpose_a else "n"
    cdef char* op_b = "t" if transpose_b else "n"
    cdef int m = <int>cols, n = <int>rows, k = <int>inner
    cdef int lda = <int>stride_a, ldb = <int>stride_b, ldc = <int>stride_c
    cdef floating one = 1, beta = 1 if add else 0
    if rows == 0 or cols == 0 or (inner == 0 and add):
        return
    if inner == 0:
        clear(c, rows, cols, stride_c)
    elif floating is float:
        sgemm(op_b, op_a, &m, &n, &k, &one, <float*>b, &ldb, <float*>a, &lda, &beta, c, &ldc)
    else:
        dgemm(op_b, op_a, &m, &n, &k, &one, <double*>b, &ldb, <double*>a, &lda, &beta, c, &ldc)


cdef inline void gram(
    bint transpose, Py_ssize_t size, Py_ssize_t inner, const floating* a, Py_ssize_t stride_a, floating* c
) noexcept nogil:
    """C = A A', or A' A with `transpose`: symmetric, contiguous, `size` x `size`, of `inner` terms."""
    cdef char* op = "n" if transpose else "t"
    cdef int n = <int>size, k = <int>inner, lda = <int>stride_a
    cdef floating one = 1, zero = 0
    cdef Py_ssize_t i, j
    if size == 0:
        return
    if inner == 0:
        clear(c, size, size, size)
        return
    if floating is float:
        ssyrk("u", op, &n, &k, &one, <float*>a, &lda, &zero, c, &n)
    else:
        dsyrk("u", op, &n, &k, &one, <double*>a, &lda, &zero, c, &n)
    for i in range(size):  # BLAS has filled its upper triangle, which is our lower one
        for j in range(i):
            c[j * size + i] = c[i * size + j]


cdef inline void clear(floating* c, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t stride) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(rows):
        memset(c + i * stride, 0, cols * sizeof(floating))
