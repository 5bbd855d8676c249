"""SGD in place: see `stepgauge.reference.sgd` for the mathematics and its source."""

import numpy as np

from cython cimport floating

from stepgauge import reference
from stepgauge.core.arrays import flattened


class SGD(reference.SGD):
    """SGD with momentum, as torch.optim computes it, in place."""

    def step(self, p, g, s, pooled=None):
        """One step; overwrites p and the momentum buffer, and returns them.

        Args:
            p: the parameter, C-contiguous, float32 or float64, of any shape.
            g: the gradient, of p's shape and dtype; only read.
            s: `SGD.State`; the buffer is None before the first gradient, and made here.
            pooled: nothing is pooled.

        Raises:
            TypeError, ValueError: an array is not as above; nothing has been written then.
        """
        if self.momentum == 0:
            p_, g_ = flattened(p, g)
            if p.dtype == np.float32:
                plain[float](self, p_, g_)
            else:
                plain[double](self, p_, g_)
            return p, s
        first = s.momentum_buffer is None
        b = np.empty_like(p) if first else s.momentum_buffer
        p_, g_, b_ = flattened(p, g, momentum_buffer=b)
        if p.dtype == np.float32:
            heavy_ball[float](self, p_, g_, b_, first)
        else:
            heavy_ball[double](self, p_, g_, b_, first)
        return p, self.State(b)


cdef int plain(rule, floating[::1] p, const floating[::1] g) except -1:
    cdef floating lr = rule.lr, weight_decay = rule.weight_decay
    cdef bint decays = rule.weight_decay != 0
    cdef Py_ssize_t i
    with nogil:
        for i in range(p.shape[0]):
            p[i] = p[i] - lr * decayed(g[i], p[i], weight_decay, decays)
    return 0


cdef int heavy_ball(rule, floating[::1] p, const floating[::1] g, floating[::1] b, bint first) except -1:
    cdef floating lr = rule.lr, weight_decay = rule.weight_decay
    cdef floating momentum = rule.momentum, undampened = 1 - rule.dampening
    cdef bint nesterov = rule.nesterov, decays = rule.weight_decay != 0
    cdef floating d
    cdef Py_ssize_t i
    with nogil:
        if nesterov:  # by hand, since gcc hoists only one of two invariant branches out of a loop
            for i in range(p.shape[0]):
                d = decayed(g[i], p[i], weight_decay, decays)
                p[i] = p[i] - lr * lookahead(d, &b[i], momentum, undampened, first)
        else:
            for i in range(p.shape[0]):
                d = decayed(g[i], p[i], weight_decay, decays)
                p[i] = p[i] - lr * averaged(d, &b[i], momentum, undampened, first)
    return 0


cdef inline floating decayed(floating g, floating p, floating weight_decay, bint decays) noexcept nogil:
    """The gradient with coupled decay; without decay an infinite parameter leaves it alone."""
    return g + weight_decay * p if decays else g


cdef inline floating lookahead(
    floating d, floating* b, floating momentum, floating undampened, bint first
) noexcept nogil:
    return d + momentum * averaged(d, b, momentum, undampened, first)


cdef inline floating averaged(
    floating d, floating* b, floating momentum, floating undampened, bint first
) noexcept nogil:
    """Update one coordinate of the buffer."""
    b[0] = d if first else momentum * b[0] + undampened * d
    return b[0]
