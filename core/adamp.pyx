"""AdamP in place: see `stepgauge.reference.adamp` for the mathematics and its source.

The test for scale invariance needs the whole gradient before the first element moves, so a step is two passes: one
that reads g and p and decides, and one that updates; the latter row by row, while a row is in the cache.
"""

from cython cimport floating
from libc.math cimport sqrt, sqrtf

from stepgauge.core.instruction_sets cimport clones, inlined
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor
from stepgauge.core.projection cimport guarded_norm, invariant_rows
from stepgauge.core.sums cimport BLOCK, first_half, sum_block

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer

cdef enum:
    KEPT = 8192  # elements of a row whose direction is kept from the first look at it to the second, on the stack

cdef struct Scalars:
    double beta1, rest1, beta2, rest2, eps, delta, keep, keep_invariant
    bint nesterov


cdef class AdamPKernel(Kernel):
    cdef Scalars c
    cdef long long t  # of the two that follow
    cdef double root2, rate

    def __init__(self, rule):
        super().__init__(rule)
        beta1, beta2 = rule.betas
        decay = rule.lr * rule.weight_decay
        self.c = Scalars(
            beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2, eps=rule.eps, delta=rule.delta,
            keep=1 - decay, keep_invariant=1 - decay * rule.wd_ratio, nesterov=rule.nesterov,
        )
        self.whole = True

    cdef int begin(self, Tensor* x) except -1:
        x.step += 1
        if x.step != self.t:
            self.t = t = x.step
            beta1, beta2 = self.rule.betas
            self.root2 = (1 - beta2**t) ** 0.5  # in Python's arithmetic, as in the reference
            self.rate = self.rule.lr / (1 - beta1**t)
        x.scale[0], x.scale[1] = self.root2, self.rate
        return 0

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(
                &self.c, x.scale[0], x.scale[1], x.rows,
                <double*>s.p, <const double*>s.g, <double*>s.state[0], <double*>s.state[1], s.size,
            )
        else:
            descend(
                &self.c, <float>x.scale[0], <float>x.scale[1], x.rows,
                <float*>s.p, <const float*>s.g, <float*>s.state[0], <float*>s.state[1], s.size,
            )


cdef void descend(
    const Scalars* c, floating root2, floating rate, Py_ssize_t rows,
    floating* p, const floating* g, floating* m, floating* v, Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t invariant = invariant_rows(p, g, n, rows, c.delta, <floating>c.eps)
    cdef Py_ssize_t k, i, cols
    cdef floating length, radial
    cdef floating u[KEPT]
    cdef bint kept
    if invariant == 0:
        descend_free(c, root2, rate, p, g, m, v, n)
        return
    cols = n // invariant
    kept = cols <= KEPT
    for k in range(invariant):
        i = k * cols
        length = guarded_norm(p + i, cols, <floating>c.eps)
        average(c, root2, length, p + i, g + i, m + i, v + i, u, kept, cols, &radial)
        descend_tangent(c, root2, rate, length, 0 + radial, p + i, g + i, m + i, v + i, u, kept, cols)


cdef clones descend_free(
    const Scalars* c, floating root2, floating rate,
    floating* p, const floating* g, floating* m, floating* v, Py_ssize_t n,
) noexcept nogil:
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1, eps = <floating>c.eps
    cdef floating beta2 = <floating>c.beta2, rest2 = <floating>c.rest2, keep = <floating>c.keep
    cdef bint nesterov = c.nesterov
    cdef floating m_, v_, look
    cdef Py_ssize_t i
    for i in range(n):
        m_ = beta1 * m[i] + rest1 * g[i]
        v_ = beta2 * v[i] + rest2 * g[i] * g[i]
        m[i] = m_
        v[i] = v_
        look = beta1 * m_ + rest1 * g[i] if nesterov else m_
        p[i] = keep * p[i] - rate * (look / (root(v_) / root2 + eps))


cdef void average(
    const Scalars* c, floating root2, floating length,
    const floating* w, const floating* g, floating* m, floating* v, floating* u, bint kept, Py_ssize_t n,
    floating* radial,
) noexcept nogil:
    """Update the moments of a row; its direction, block by block if it is kept, and the radial component of that."""
    cdef Py_ssize_t half
    cdef floating right
    if n <= BLOCK:
        average_block(c, root2, length, w, g, m, v, u, n, radial)
        return
    half = first_half(n)
    average(c, root2, length, w, g, m, v, u, kept, half, radial)
    u = u + half if kept else u
    average(c, root2, length, w + half, g + half, m + half, v + half, u, kept, n - half, &right)
    radial[0] += right


cdef clones average_block(
    const Scalars* c, floating root2, floating length,
    const floating* w, const floating* g, floating* m, floating* v, floating* u, Py_ssize_t n, floating* radial,
) noexcept nogil:
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1, eps = <floating>c.eps
    cdef floating beta2 = <floating>c.beta2, rest2 = <floating>c.rest2
    cdef bint nesterov = c.nesterov
    cdef floating products[BLOCK]
    cdef floating m_, v_, look
    cdef Py_ssize_t i
    for i in range(n):
        m_ = beta1 * m[i] + rest1 * g[i]
        v_ = beta2 * v[i] + rest2 * g[i] * g[i]
        m[i] = m_
        v[i] = v_
        look = beta1 * m_ + rest1 * g[i] if nesterov else m_
        u[i] = look / (root(v_) / root2 + eps)
        products[i] = w[i] / length * u[i]
    sum_block(products, n, radial)


cdef clones descend_tangent(
    const Scalars* c, floating root2, floating rate, floating length, floating radial,
    floating* p, const floating* g, const floating* m, const floating* v, const floating* u, bint kept, Py_ssize_t n,
) noexcept nogil:
    """Move a row whose moments are up to date; a direction that was not kept is computed again."""
    if kept:
        follow_tangent(c, True, root2, rate, length, radial, p, g, m, v, u, n)
    else:
        follow_tangent(c, False, root2, rate, length, radial, p, g, m, v, u, n)


cdef inline inlined follow_tangent(
    const Scalars* c, bint kept, floating root2, floating rate, floating length, floating radial,
    floating* p, const floating* g, const floating* m, const floating* v, const floating* u, Py_ssize_t n,
) noexcept nogil:
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1, eps = <floating>c.eps
    cdef floating keep = <floating>c.keep_invariant
    cdef bint nesterov = c.nesterov
    cdef floating look, direction
    cdef Py_ssize_t i
    for i in range(n):
        if kept:
            direction = u[i]
        else:
            look = beta1 * m[i] + rest1 * g[i] if nesterov else m[i]
            direction = look / (root(v[i]) / root2 + eps)
        p[i] = keep * p[i] - rate * (direction - p[i] / length * radial)


cdef inline floating root(floating x) noexcept nogil:
    """The square root in x's own precision."""
    return sqrtf(x) if floating is float else sqrt(x)


class AdamP(Optimizer):
    """Adam whose update loses its radial component on scale-invariant weights, in place.

    See `stepgauge.core.optimizer.Optimizer`.
    """

    rule = reference.AdamP
    kernel = AdamPKernel
