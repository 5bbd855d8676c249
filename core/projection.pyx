"""The radial projection, row by row: see `stepgauge.reference.projection` for the mathematics and its source."""

from cython cimport floating
from libc.math cimport fabs, pow, sqrt, sqrtf

from stepgauge.core.instruction_sets cimport clones, double_lanes, float_lanes, inlined
from stepgauge.core.sums cimport BLOCK, LANES, first_half, folded, sum_squares

ctypedef fused lanes:
    float_lanes
    double_lanes


cdef Py_ssize_t invariant_rows(
    const floating* w, const floating* g, Py_ssize_t n, Py_ssize_t rows, double delta, floating eps
) noexcept nogil:
    """Into how many rows the projection divides the weights: channels, 1 for the whole layer, 0 for no projection."""
    if rows == 0 or n == 0:
        return 0
    if orthogonal(w, g, n, rows, delta, eps):
        return rows
    return 1 if rows > 1 and orthogonal(w, g, n, 1, delta, eps) else 0


cdef floating guarded_norm(const floating* w, Py_ssize_t n, floating eps) noexcept nogil:
    """What divides a row into its unit vector."""
    cdef floating squares
    sum_squares(w, n, &squares)
    return root(squares) + eps


cdef bint orthogonal(
    const floating* w, const floating* g, Py_ssize_t n, Py_ssize_t rows, double delta, floating eps
) noexcept nogil:
    """Whether |cosine| is below the bound in every row; a NaN is not."""
    cdef Py_ssize_t i, cols = n // rows
    cdef floating bound = <floating>(delta / pow(<double>cols, 0.5))  # the power, as in Python
    cdef floating gw, gg, ww
    for i in range(rows):
        products(g + i * cols, w + i * cols, cols, &gw, &gg, &ww)
        if not fabs(gw / (at_least(root(gg), eps) * at_least(root(ww), eps))) < bound:
            return False
    return True


cdef void products(
    const floating* x, const floating* y, Py_ssize_t n, floating* xy, floating* xx, floating* yy
) noexcept nogil:
    """The three sums of products of a cosine, in one pass."""
    cdef floating right[3]
    cdef Py_ssize_t half
    if n <= BLOCK:
        multiply_block(x, y, n, xy, xx, yy)
        return
    half = first_half(n)
    products(x, y, half, xy, xx, yy)
    products(x + half, y + half, n - half, &right[0], &right[1], &right[2])
    xy[0] += right[0]
    xx[0] += right[1]
    yy[0] += right[2]


cdef clones multiply_block(
    const floating* x, const floating* y, Py_ssize_t n, floating* xy, floating* xx, floating* yy
) noexcept nogil:
    cdef floating sums[3][LANES]
    cdef Py_ssize_t i, turns = n // LANES
    xy[0] = xx[0] = yy[0] = 0
    if turns:
        if floating is float:
            multiply_lanes(<const float_lanes*>x, <const float_lanes*>y, turns, <float_lanes*>&sums[0][0])
        else:
            multiply_lanes(<const double_lanes*>x, <const double_lanes*>y, turns, <double_lanes*>&sums[0][0])
        xy[0], xx[0], yy[0] = folded(sums[0]), folded(sums[1]), folded(sums[2])
    for i in range(turns * LANES, n):
        xy[0] += x[i] * y[i]
        xx[0] += x[i] * x[i]
        yy[0] += y[i] * y[i]


cdef inline inlined multiply_lanes(const lanes* x, const lanes* y, Py_ssize_t turns, lanes* sums) noexcept nogil:
    cdef lanes xy = x[0] * y[0], xx = x[0] * x[0], yy = y[0] * y[0]
    cdef Py_ssize_t i
    for i in range(1, turns):
        xy += x[i] * y[i]
        xx += x[i] * x[i]
        yy += y[i] * y[i]
    sums[0], sums[1], sums[2] = xy, xx, yy


cdef inline floating root(floating x) noexcept nogil:
    """The square root in x's own precision."""
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating at_least(floating x, floating bound) noexcept nogil:
    """`np.maximum(x, bound)`: NaN stays NaN."""
    return bound if x < bound else x
