"""FSGDM in place: see `stepgauge.reference.fsgdm` for the mathematics and its source."""

from cython cimport floating

from stepgauge.core.instruction_sets cimport clones
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer

cdef struct Scalars:
    double lr, v, weight_decay
    bint decays, clones_first


cdef class FSGDMKernel(Kernel):
    cdef Scalars c
    cdef long long t  # of the pole that follows
    cdef double u

    def __init__(self, rule):
        super().__init__(rule)
        self.c = Scalars(
            lr=rule.lr, v=rule.v_coefficient, weight_decay=rule.weight_decay, decays=rule.weight_decay != 0,
            clones_first=rule.dialect == "released",
        )

    cdef int begin(self, Tensor* x) except -1:
        x.step += 1
        if x.step != self.t:
            self.t, self.u = x.step, pole(self.rule, x.step)
        x.scale[0] = self.u
        return 0

    cdef int skip(self, Tensor* x) except -1:
        x.step += 1
        return 0

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(&self.c, x.first, x.scale[0], <double*>s.p, <const double*>s.g, <double*>s.state[0], s.size)
        else:
            descend(&self.c, x.first, <float>x.scale[0], <float*>s.p, <const float*>s.g, <float*>s.state[0], s.size)


cdef double pole(rule, t):
    """u_t, in Python's integers."""
    c, n, sigma = rule.c_scaling, rule.n_stages, rule.sigma
    if rule.dialect == "released":
        start = t // (sigma // n) * (sigma // n)
        return start / (start + c * sigma)
    k = t * n // sigma
    return k / (k + c * n)


cdef clones descend(
    const Scalars* c, bint first, floating u, floating* p, const floating* g, floating* m, Py_ssize_t n
) noexcept nogil:
    cdef floating lr = <floating>c.lr, v = <floating>c.v, weight_decay = <floating>c.weight_decay
    cdef bint decays = c.decays, is_clone = first and c.clones_first
    cdef floating d
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] + weight_decay * p[i] if decays else g[i]
        d = d if is_clone else u * m[i] + v * d
        m[i] = d
        p[i] = p[i] - lr * d


class FSGDM(Optimizer):
    """FSGDM in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.FSGDM
    kernel = FSGDMKernel
