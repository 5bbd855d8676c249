"""FROG in place: see `stepgauge.reference.frog` for the mathematics and its source, `_fisher` for the solver."""

import numpy as np

from cython cimport floating

from _fisher_steps cimport accumulate, accumulated, descend

from stepgauge import reference
from stepgauge.core._fisher import natural_direction
from stepgauge.core._fisher_arrays import flattened, require_layer
from stepgauge.reference.layers import LayerGradient


class Frog(reference.Frog):
    """FROG in place: a layer's rows step by their Fisher matrices, other parameters along their momentum."""

    form = None  # of the solves, as of `natural_direction`

    def step(self, p, g, s, pooled=None):
        """One step; overwrites p and the momentum buffer, and returns them.

        Args:
            p: the parameter, C-contiguous, float32 or float64: of any shape, or the weights of a layer, (rows, cols).
            g: the gradient, of p's shape, or the `LayerGradient`; of p's dtype, and only read.
            s: `Frog.State`, with a buffer of p's shape and dtype.
            pooled: nothing is pooled.

        Raises:
            TypeError, ValueError: an array is not as above; nothing has been written then.
        """
        return self.step_layer(p, g, s) if isinstance(g, LayerGradient) else self.step_other(p, g, s)

    def step_layer(self, p, g, s):
        """The step of a layer's weights."""
        p_, g_, M_ = flattened(p, g.grad, momentum_buffer=s.momentum_buffer)
        X, Y = require_layer(p, g, together=True)
        e = np.empty_like(p) if self.nesterov else s.momentum_buffer
        if p.dtype == np.float32:
            accumulate[float](M_, g_, e.reshape(-1), self.momentum, self.nesterov)
        else:
            accumulate[double](M_, g_, e.reshape(-1), self.momentum, self.nesterov)
        scale = g.batch**2 / g.samples if self.batch_averaged else 1 / g.samples
        options = {"guarded": self.dialect == "published", "form": self.form}
        h = natural_direction(e, X, Y, scale, self.tau, self.num_iters, self.denom_eps, **options)
        if p.dtype == np.float32:
            descend[float](p_, h.reshape(-1), 1 - self.lr * self.weight_decay, self.lr)
        else:
            descend[double](p_, h.reshape(-1), 1 - self.lr * self.weight_decay, self.lr)
        return p, self.State(s.step + 1, s.momentum_buffer)

    def step_other(self, p, g, s):
        """The step of a parameter that is no layer's."""
        p_, g_, M_ = flattened(p, g, momentum_buffer=s.momentum_buffer)
        if p.dtype == np.float32:
            follow_momentum[float](self, p_, g_, M_)
        else:
            follow_momentum[double](self, p_, g_, M_)
        return p, self.State(s.step + 1, s.momentum_buffer)


cdef int follow_momentum(rule, floating[::1] p, const floating[::1] g, floating[::1] M) except -1:
    cdef floating momentum = rule.momentum, weight_decay = rule.weight_decay
    cdef floating rate = rule.lr * rule.lr_other_ratio, keep = 1 - rule.lr * rule.weight_decay
    cdef bint nesterov = rule.nesterov, coupled = rule.dialect == "released"
    cdef floating e
    cdef Py_ssize_t i
    with nogil:
        for i in range(p.shape[0]):
            e = accumulated(&M[i], g[i], momentum, nesterov)
            if coupled:
                e = e + weight_decay * p[i]
                if not nesterov:
                    M[i] = e
                p[i] = p[i] - rate * e
            else:
                p[i] = keep * p[i] - rate * e
    return 0
