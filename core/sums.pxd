"""Sums in the order in which NumPy sums a contiguous row.

Addition is not associative, so the bits of a sum depend on its order. NumPy sums pairwise: it halves the row down to
blocks of at most 128 elements, and sums a block in eight interleaved lanes, whatever the width of the machine's
registers. In the same order we get the same bits, and can sum while something else is done to the block.
"""

from cython cimport floating

from stepgauge.core.instruction_sets cimport inlined

cdef enum:
    BLOCK = 128
    LANES = 8


cdef inline Py_ssize_t first_half(Py_ssize_t n) noexcept nogil:
    """Where NumPy divides n elements, if they are more than a block."""
    return n // 2 - n // 2 % LANES


cdef inline floating folded(const floating* lane) noexcept nogil:
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]))


cdef inline inlined sum_block(const floating* x, Py_ssize_t n, floating* total) noexcept nogil:
    """The sum of at most a block: whole turns of the lanes, then the rest one by one."""
    cdef floating lane[LANES]
    cdef Py_ssize_t i, k, turns = n // LANES
    total[0] = 0
    if turns:
        for k in range(LANES):
            lane[k] = x[k]
        for i in range(1, turns):
            for k in range(LANES):
                lane[k] += x[i * LANES + k]
        total[0] = folded(lane)
    for i in range(turns * LANES, n):
        total[0] += x[i]


cdef void sum_squares(const floating* x, Py_ssize_t n, floating* total) noexcept nogil
