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
                plain[float](p_, g_, self.lr, self.weight_decay)
            else:
                plain[double](p_, g_, self.lr, self.weight_decay)
            return p, s
        first = s.momentum_buffer is None
        b = np.empty_like(p) if first else s.momentum_buffer
        p_, g_, b_ = flattened(p, g, momentum_buffer=b)
        if p.dtype == np.float32:
            heavy_ball[float](self, p_, g_, b_, first)
        else:
            heavy_ball[double](self, p_, g_, b_, first)
        return p, self.State(b)


cdef int plain(floating[::1] p, const floating[::1] g, floating lr, floating weight_decay) except -1:
    cdef Py_ssize_t i
    with nogil:
        for i in range(p.shape[0]):
            p[i] = p[i] - lr * (g[i] + weight_decay * p[i])
    return 0


cdef int heavy_ball(rule, floating[::1] p, const floating[::1] g, floating[::1] b, bint first) except -1:
    cdef floating lr = rule.lr, weight_decay = rule.weight_decay
    cdef floating momentum = rule.momentum, undampened = 1 - rule.dampening
    cdef bint nesterov = rule.nesterov
    cdef Py_ssize_t i
    with nogil:
        if nesterov:  # by hand, since gcc hoists only one of two invariant branches out of a loop
            for i in range(p.shape[0]):
                p[i] = p[i] - lr * lookahead(g[i] + weight_decay * p[i], &b[i], momentum, undampened, first)
        else:
            for i in range(p.shape[0]):
                p[i] = p[i] - lr * averaged(g[i] + weight_decay * p[i], &b[i], momentum, undampened, first)
    return 0


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
