"""SGDP in place: see `stepgauge.reference.sgdp` for the mathematics and its source; passes are those of AdamP."""

from cython cimport floating

from stepgauge.core.instruction_sets cimport clones
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor
from stepgauge.core.projection cimport guarded_norm, invariant_rows
from stepgauge.core.sums cimport BLOCK, first_half, sum_block

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer

cdef struct Scalars:
    double lr, momentum, undampened, eps, delta, keep, keep_invariant
    bint nesterov, stores_projected


cdef class SGDPKernel(Kernel):
    cdef Scalars c

    def __init__(self, rule):
        super().__init__(rule)
        keep = keep_invariant = 1.0
        if rule.weight_decay:
            decay = rule.lr * rule.weight_decay
            keep = 1 - decay / (1 - rule.momentum)
            keep_invariant = 1 - decay * rule.wd_ratio / (1 - rule.momentum)
        self.c = Scalars(
            lr=rule.lr, momentum=rule.momentum, undampened=1 - rule.dampening, eps=rule.eps, delta=rule.delta,
            keep=keep, keep_invariant=keep_invariant, nesterov=rule.nesterov,
            stores_projected=rule.dialect == "released" and not rule.nesterov,
        )
        self.whole = True

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(&self.c, x.rows, <double*>s.p, <const double*>s.g, <double*>s.state[0], s.size)
        else:
            descend(&self.c, x.rows, <float*>s.p, <const float*>s.g, <float*>s.state[0], s.size)


cdef void descend(
    const Scalars* c, Py_ssize_t rows, floating* p, const floating* g, floating* b, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t invariant = invariant_rows(p, g, n, rows, c.delta, <floating>c.eps)
    cdef Py_ssize_t k, i, cols
    cdef floating length, radial
    if invariant == 0:
        descend_free(c, p, g, b, n)
        return
    cols = n // invariant
    for k in range(invariant):
        i = k * cols
        length = guarded_norm(p + i, cols, <floating>c.eps)
        average(c, length, p + i, g + i, b + i, cols, &radial)
        descend_tangent(c, length, 0 + radial, p + i, g + i, b + i, cols)


cdef clones descend_free(const Scalars* c, floating* p, const floating* g, floating* b, Py_ssize_t n) noexcept nogil:
    cdef floating lr = <floating>c.lr, keep = <floating>c.keep
    cdef floating momentum = <floating>c.momentum, undampened = <floating>c.undampened
    cdef bint nesterov = c.nesterov
    cdef floating b_, d
    cdef Py_ssize_t i
    for i in range(n):
        b_ = momentum * b[i] + undampened * g[i]
        b[i] = b_
        d = g[i] + momentum * b_ if nesterov else b_
        p[i] = keep * p[i] - lr * d


cdef void average(
    const Scalars* c, floating length, const floating* w, const floating* g, floating* b, Py_ssize_t n, floating* radial
) noexcept nogil:
    """Update the momentum of a row; the radial component of its direction, summed in NumPy's order."""
    cdef Py_ssize_t half
    cdef floating right
    if n <= BLOCK:
        average_block(c, length, w, g, b, n, radial)
        return
    half = first_half(n)
    average(c, length, w, g, b, half, radial)
    average(c, length, w + half, g + half, b + half, n - half, &right)
    radial[0] += right


cdef clones average_block(
    const Scalars* c, floating length, const floating* w, const floating* g, floating* b, Py_ssize_t n, floating* radial
) noexcept nogil:
    cdef floating momentum = <floating>c.momentum, undampened = <floating>c.undampened
    cdef bint nesterov = c.nesterov
    cdef floating products[BLOCK]
    cdef floating b_, d
    cdef Py_ssize_t i
    for i in range(n):
        b_ = momentum * b[i] + undampened * g[i]
        b[i] = b_
        d = g[i] + momentum * b_ if nesterov else b_
        products[i] = w[i] / length * d
    sum_block(products, n, radial)


cdef clones descend_tangent(
    const Scalars* c, floating length, floating radial, floating* p, const floating* g, floating* b, Py_ssize_t n
) noexcept nogil:
    """Move a row whose momentum is up to date."""
    cdef floating lr = <floating>c.lr, keep = <floating>c.keep_invariant, momentum = <floating>c.momentum
    cdef bint nesterov = c.nesterov, stores_projected = c.stores_projected
    cdef floating b_, u
    cdef Py_ssize_t i
    for i in range(n):
        b_ = b[i]
        u = (g[i] + momentum * b_ if nesterov else b_) - p[i] / length * radial
        b[i] = u if stores_projected else b_
        p[i] = keep * p[i] - lr * u


class SGDP(Optimizer):
    """SGD whose update loses its radial component on scale-invariant weights, in place.

    See `stepgauge.core.optimizer.Optimizer`.
    """

    rule = reference.SGDP
    kernel = SGDPKernel
