"""Adam in place: see `stepgauge.reference.adam` for the mathematics and its source."""

from cython cimport floating
from libc.math cimport sqrt, sqrtf

from stepgauge.core.instruction_sets cimport clones, inlined
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class AdamKernel(Kernel):
    def __init__(self, rule):
        super().__init__(rule)
        beta1, beta2 = rule.betas
        self.c = Scalars(
            beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2, eps=rule.eps, weight_decay=rule.weight_decay,
            keep=1, decays=rule.weight_decay != 0, amsgrad=rule.amsgrad,
        )

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
                &self.c, x.scale[0], x.scale[1], <double*>s.p, <const double*>s.g,
                <double*>s.state[0], <double*>s.state[1], <double*>s.state[2], s.size,
            )
        else:
            descend(
                &self.c, <float>x.scale[0], <float>x.scale[1], <float*>s.p, <const float*>s.g,
                <float*>s.state[0], <float*>s.state[1], <float*>s.state[2], s.size,
            )


cdef clones descend(
    const Scalars* c, floating root2, floating rate,
    floating* p, const floating* g, floating* m, floating* v, floating* v_max, Py_ssize_t n,
) noexcept nogil:
    if c.amsgrad:
        follow(c, True, root2, rate, p, g, m, v, v_max, n)
    else:
        follow(c, False, root2, rate, p, g, m, v, v_max, n)


cdef inline inlined follow(
    const Scalars* c, bint amsgrad, floating root2, floating rate,
    floating* p, const floating* g, floating* m, floating* v, floating* v_max, Py_ssize_t n,
) noexcept nogil:
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1, eps = <floating>c.eps
    cdef floating beta2 = <floating>c.beta2, rest2 = <floating>c.rest2
    cdef floating weight_decay = <floating>c.weight_decay, keep = <floating>c.keep
    cdef bint decays = c.decays
    cdef floating d, m_, v_, denom
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] + weight_decay * p[i] if decays else g[i]
        m_ = beta1 * m[i] + rest1 * d
        v_ = beta2 * v[i] + rest2 * d * d
        m[i] = m_
        v[i] = v_
        if amsgrad:
            v_ = largest(v_max[i], v_)
            v_max[i] = v_
        denom = root(v_) / root2 + eps
        p[i] = keep * p[i] - rate * (m_ / denom)


cdef inline floating root(floating x) noexcept nogil:
    """The square root in x's own precision."""
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline floating largest(floating x, floating y) noexcept nogil:
    """`np.maximum`: NaN if either is."""
    cdef floating larger = x if x > y else y
    return x if x != x else larger


class Adam(Optimizer):
    """Adam, as torch.optim computes it, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.Adam
    kernel = AdamKernel
