"""Sums of products in the order in which NumPy sums them.

Addition is not associative, so the bits of a sum depend on its order. NumPy sums a contiguous row pairwise: it halves
the row down to blocks of at most 128 elements, and sums a block in eight interleaved lanes, whatever the width of
the machine's registers. In the same order we get the same bits, and in one pass: `dot(x, y)` is `np.sum(x * y)`
without the array of products.
"""

from cython cimport floating


cdef inline floating dot(const floating* x, const floating* y, Py_ssize_t n) noexcept nogil:
    """`np.sum(x * y)` over n contiguous elements."""
    return <floating>0 + pairwise(x, y, n)  # NumPy starts from +0: the sum of nothing but -0 is +0


cdef inline floating pairwise(const floating* x, const floating* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t half = n // 2 - n // 2 % 8
    if n <= 128:
        return block(x, y, n)
    return pairwise(x, y, half) + pairwise(x + half, y + half, n - half)


cdef inline floating block(const floating* x, const floating* y, Py_ssize_t n) noexcept nogil:
    """The sum over at most 128 elements: whole turns of the eight lanes, then the rest one by one."""
    cdef floating lane[8]
    cdef floating total = 0
    cdef Py_ssize_t i, k, turns = n - n % 8
    if turns:
        for k in range(8):
            lane[k] = x[k] * y[k]
        for i in range(8, turns, 8):
            for k in range(8):
                lane[k] += x[i + k] * y[i + k]
        total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))
    for i in range(turns, n):
        total += x[i] * y[i]
    return total
