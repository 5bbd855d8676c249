"""SGD in place: see `stepgauge.reference.sgd` for the mathematics and its source."""

import numpy as np

from cython cimport floating

from stepgauge.core.instruction_sets cimport clones, inlined
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class SGDKernel(Kernel):
    def __init__(self, rule):
        super().__init__(rule)
        self.c = Scalars(
            lr=rule.lr, momentum=rule.momentum, undampened=1 - rule.dampening, weight_decay=rule.weight_decay,
            nesterov=rule.nesterov, decays=rule.weight_decay != 0,
        )

    def layout(self):
        return self.rule.momentum != 0

    def names(self):
        return super().names() if self.rule.momentum else []  # a buffer from before is kept, and not looked at

    def arrays_of(self, state, like):
        if state.momentum_buffer is not None:
            return [state.momentum_buffer]
        return [np.empty_like(like)] if self.rule.momentum else []

    def state_of(self, like, held, counts):
        started = counts[1]
        return self.rule.State(held[0] if held and started else None)

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        if x.storage == FLOAT64:
            descend(&self.c, x.first, <double*>s.p, <const double*>s.g, <double*>s.state[0], s.size)
        else:
            descend(&self.c, x.first, <float*>s.p, <const float*>s.g, <float*>s.state[0], s.size)


cdef clones descend(
    const Scalars* c, bint first, floating* p, const floating* g, floating* b, Py_ssize_t n
) noexcept nogil:
    if c.momentum == 0:
        plain(c, p, g, n)
    elif c.nesterov:
        heavy_ball(c, first, True, p, g, b, n)
    else:
        heavy_ball(c, first, False, p, g, b, n)


cdef inline inlined plain(const Scalars* c, floating* p, const floating* g, Py_ssize_t n) noexcept nogil:
    cdef floating lr = <floating>c.lr, weight_decay = <floating>c.weight_decay
    cdef bint decays = c.decays
    cdef Py_ssize_t i
    for i in range(n):
        p[i] = p[i] - lr * (g[i] + weight_decay * p[i] if decays else g[i])


cdef inline inlined heavy_ball(
    const Scalars* c, bint first, bint nesterov, floating* p, const floating* g, floating* b, Py_ssize_t n
) noexcept nogil:
    cdef floating lr = <floating>c.lr, weight_decay = <floating>c.weight_decay
    cdef floating momentum = <floating>c.momentum, undampened = <floating>c.undampened
    cdef bint decays = c.decays
    cdef floating d, average
    cdef Py_ssize_t i
    for i in range(n):
        d = g[i] + weight_decay * p[i] if decays else g[i]
        average = d if first else momentum * b[i] + undampened * d
        b[i] = average
        p[i] = p[i] - lr * (d + momentum * average if nesterov else average)


class SGD(Optimizer):
    """SGD with momentum, as torch.optim computes it, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.SGD
    kernel = SGDKernel
