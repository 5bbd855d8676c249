"""Adai in place: see `stepgauge.reference.adai` for the mathematics and its source.

The mean second moment is over the whole model, so a step is two passes: one that updates the second moments and sums
them, in NumPy's order, and one that moves.
"""

from cython cimport floating
from libc.math cimport pow, powf, sqrt, sqrtf

from stepgauge.core.instruction_sets cimport clones, inlined
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor
from stepgauge.core.sums cimport BLOCK, first_half, sum_block

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class AdaiKernel(Kernel):
    def __init__(self, rule):
        super().__init__(rule)
        beta0, beta2 = rule.betas
        self.c = Scalars(
            lr=rule.lr, beta0=beta0, beta2=beta2, rest2=1 - beta2, most=1 - rule.eps, weight_decay=rule.weight_decay,
            keep=1 - rule.lr * rule.weight_decay if rule.decoupled else 1, inertia=1, momentum=1,
            decoupled=rule.decoupled, published=rule.dialect == "published", tempered=False,
        )
        self.pools = True

    cdef int begin(self, Tensor* x) except -1:
        x.step += 1
        if x.step != self.t:
            self.t = t = x.step
            self.correction = 1 - self.rule.betas[1] ** t  # in Python's arithmetic, as in the reference
        x.scale[0] = self.correction
        return 0

    cdef int pool(self, double total, Py_ssize_t elements) except -1:
        self.v_bar = total / elements if elements else 0
        return 0

    cdef void examine(self, Tensor* x, Span s) noexcept nogil:
        cdef float total
        if x.storage == FLOAT64:
            square(
                &self.c, x.scale[0], <double*>s.p, <double*>s.g, <double*>s.state[1], s.size, &x.total
            )
            x.total += 0
        else:
            square(
                &self.c, <float>x.scale[0], <float*>s.p, <float*>s.g, <float*>s.state[1], s.size, &total
            )
            x.total = total

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(
                &self.c, x.scale[0], self.v_bar, <double*>s.p, <double*>s.g,
                <double*>s.state[0], <double*>s.state[1], <double*>s.state[2], s.size,
            )
        else:
            descend(
                &self.c, <float>x.scale[0], self.v_bar, <float*>s.p, <float*>s.g,
                <float*>s.state[0], <float*>s.state[1], <float*>s.state[2], s.size,
            )


cdef void square(
    const Scalars* c, floating correction,
    const floating* p, const floating* g, floating* v, Py_ssize_t n, floating* total,
) noexcept nogil:
    """Update the second moments; the sum of their corrected values, in NumPy's order."""
    cdef Py_ssize_t half
    cdef floating right
    if n <= BLOCK:
        square_block(c, correction, p, g, v, n, total)
        return
    half = first_half(n)
    square(c, correction, p, g, v, half, total)
    square(c, correction, p + half, g + half, v + half, n - half, &right)
    total[0] += right


cdef clones square_block(
    const Scalars* c, floating correction,
    const floating* p, const floating* g, floating* v, Py_ssize_t n, floating* total,
) noexcept nogil:
    cdef floating beta2 = <floating>c.beta2, rest2 = <floating>c.rest2, weight_decay = <floating>c.weight_decay
    cdef bint decoupled = c.decoupled
    cdef floating v_hat[BLOCK]
    cdef floating d
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] if decoupled else g[i] + weight_decay * p[i]
        v[i] = beta2 * v[i] + rest2 * d * d
        v_hat[i] = v[i] / correction
    sum_block(v_hat, n, total)


cdef clones descend(
    const Scalars* c, floating correction, double v_bar,
    floating* p, const floating* g, floating* m, const floating* v, floating* prod, Py_ssize_t n,
) noexcept nogil:
    if c.tempered and c.decoupled:
        follow(c, True, True, correction, v_bar, p, g, m, v, prod, n)
    elif c.tempered:
        follow(c, True, False, correction, v_bar, p, g, m, v, prod, n)
    elif c.decoupled:
        follow(c, False, True, correction, v_bar, p, g, m, v, prod, n)
    else:
        follow(c, False, False, correction, v_bar, p, g, m, v, prod, n)


cdef inline inlined follow(
    const Scalars* c, bint tempered, bint decoupled, floating correction, double v_bar,
    floating* p, const floating* g, floating* m, const floating* v, floating* prod, Py_ssize_t n,
) noexcept nogil:
    cdef floating lr = <floating>c.lr, beta0 = <floating>c.beta0, most = <floating>c.most
    cdef floating weight_decay = <floating>c.weight_decay, keep = <floating>c.keep
    cdef floating inertia = <floating>c.inertia, momentum = <floating>c.momentum, mean = <floating>v_bar
    cdef floating zero = 0, one = 1  # a literal would be a double, and what it meets
    cdef bint flat = v_bar == 0 and c.published
    cdef floating d, v_hat, ratio, beta1, rest1, prod_, m_
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] if decoupled else g[i] + weight_decay * p[i]
        v_hat = v[i] / correction
        ratio = zero if flat else v_hat / mean
        beta1 = clipped(one - beta0 * (power(ratio, inertia) if tempered else ratio), most)
        rest1 = power(one - beta1, momentum) if tempered else one - beta1
        prod_ = prod[i] * beta1
        prod[i] = prod_
        m_ = beta1 * m[i] + rest1 * d
        m[i] = m_
        p[i] = keep * p[i] - lr * (m_ / (one - prod_))


cdef inline floating clipped(floating x, floating most) noexcept nogil:
    """`np.clip(x, 0, most)`: NaN stays NaN."""
    cdef floating floor = 0
    x = floor if x <= floor else x
    return most if x >= most else x


cdef inline floating power(floating x, floating exponent) noexcept nogil:
    """`x**exponent`; NumPy, too, takes these two exactly."""
    if exponent == 1:
        return x
    if exponent == <floating>0.5:
        return sqrtf(x) if floating is float else sqrt(x)
    return powf(x, exponent) if floating is float else pow(x, exponent)


class Adai(Optimizer):
    """Adai, and AdaiW with `decoupled`, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.Adai
    kernel = AdaiKernel
