"""Lion in place: see `stepgauge.reference.lion` for the mathematics and its source."""

from cython cimport floating

from stepgauge.core.instruction_sets cimport clones
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer

cdef struct Scalars:
    double lr, beta1, rest1, beta2, rest2, weight_decay


cdef class LionKernel(Kernel):
    cdef Scalars c

    def __init__(self, rule):
        super().__init__(rule)
        beta1, beta2 = rule.betas
        self.c = Scalars(
            lr=rule.lr, beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2, weight_decay=rule.weight_decay
        )

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(&self.c, <double*>s.p, <const double*>s.g, <double*>s.state[0], s.size)
        else:
            descend(&self.c, <float*>s.p, <const float*>s.g, <float*>s.state[0], s.size)


cdef clones descend(const Scalars* c, floating* p, const floating* g, floating* m, Py_ssize_t n) noexcept nogil:
    cdef floating lr = <floating>c.lr, weight_decay = <floating>c.weight_decay
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1
    cdef floating beta2 = <floating>c.beta2, rest2 = <floating>c.rest2
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = p[i] - lr * (sign(beta1 * m[i] + rest1 * g[i]) + weight_decay * p[i])
        m[i] = beta2 * m[i] + rest2 * g[i]


cdef inline floating sign(floating x) noexcept nogil:
    """`np.sign`: 0 of either zero, and NaN stays NaN."""
    cdef floating zero = 0, one = 1
    cdef floating above = one if x > zero else zero
    cdef floating below = one if x < zero else zero
    cdef floating found = above - below
    return x if x != x else found


class Lion(Optimizer):
    """Lion in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.Lion
    kernel = LionKernel
