"""RMSprop in place: see `stepgauge.reference.rmsprop` for the mathematics and its source."""

from cython cimport floating
from libc.math cimport sqrt, sqrtf

from stepgauge.core.instruction_sets cimport clones, inlined
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class RMSpropKernel(Kernel):
    def __init__(self, rule):
        super().__init__(rule)
        self.c = Scalars(
            lr=rule.lr, alpha=rule.alpha, rest=1 - rule.alpha, eps=rule.eps, weight_decay=rule.weight_decay,
            momentum=rule.momentum, decays=rule.weight_decay != 0, centered=rule.centered,
        )

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(
                &self.c, <double*>s.p, <const double*>s.g,
                <double*>s.state[0], <double*>s.state[1], <double*>s.state[2], s.size,
            )
        else:
            descend(
                &self.c, <float*>s.p, <const float*>s.g,
                <float*>s.state[0], <float*>s.state[1], <float*>s.state[2], s.size,
            )


cdef clones descend(
    const Scalars* c, floating* p, const floating* g, floating* v, floating* a, floating* b, Py_ssize_t n
) noexcept nogil:
    if c.centered and c.momentum != 0:
        follow(c, True, True, p, g, v, a, b, n)
    elif c.centered:
        follow(c, True, False, p, g, v, a, b, n)
    elif c.momentum != 0:
        follow(c, False, True, p, g, v, a, b, n)
    else:
        follow(c, False, False, p, g, v, a, b, n)


cdef inline inlined follow(
    const Scalars* c, bint centered, bint heavy,
    floating* p, const floating* g, floating* v, floating* a, floating* b, Py_ssize_t n,
) noexcept nogil:
    cdef floating lr = <floating>c.lr, eps = <floating>c.eps, weight_decay = <floating>c.weight_decay
    cdef floating alpha = <floating>c.alpha, rest = <floating>c.rest, momentum = <floating>c.momentum
    cdef bint decays = c.decays
    cdef floating d, variance, average
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] + weight_decay * p[i] if decays else g[i]
        variance = alpha * v[i] + rest * d * d
        v[i] = variance
        if centered:
            average = alpha * a[i] + rest * d
            a[i] = average
            variance = variance - average * average
        d = d / (root(variance) + eps)
        if heavy:
            d = momentum * b[i] + d
            b[i] = d
        p[i] = p[i] - lr * d


cdef inline floating root(floating x) noexcept nogil:
    """The square root in x's own precision."""
    return sqrtf(x) if floating is float else sqrt(x)


class RMSprop(Optimizer):
    """RMSprop, as torch.optim computes it, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.RMSprop
    kernel = RMSpropKernel
