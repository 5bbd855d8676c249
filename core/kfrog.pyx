"""K-FROG in place: see `stepgauge.reference.kfrog` for the mathematics and its source, `_fisher` for the solver."""

import numpy as np

from _fisher_steps cimport accumulate, descend

from stepgauge import reference
from stepgauge.core._fisher import solve_shared
from stepgauge.core._fisher_arrays import flattened, require_layer, require_state
from stepgauge.reference.kfrog import DENOM_EPS
from stepgauge.reference.layers import LayerGradient


class KFrog(reference.KFrog):
    """K-FROG in place: a layer's weights step by two Kronecker factors, other parameters along their momentum."""

    form = None  # of the solves, as of `solve_shared`

    def step(self, p, g, s, pooled=None):
        """One step; overwrites p and the arrays of the state, and returns them.

        Args:
            p: the parameter, C-contiguous, float32 or float64: of any shape, or the weights of a layer, (rows, cols).
            g: the gradient, of p's shape, or the `LayerGradient`; of p's dtype, and only read.
            s: `KFrog.State`, with arrays as it says.
            pooled: nothing is pooled.

        Raises:
            TypeError, ValueError: an array is not as above; nothing has been written then.
        """
        layer = isinstance(g, LayerGradient)
        p_, g_, M_ = flattened(p, g.grad if layer else g, momentum_buffer=s.momentum_buffer)
        if layer:
            X, Y = require_layer(p, g, together=False)
            require_state("y_momentum_buffer", s.y_momentum_buffer, p, (len(p), 1))
        t = s.step + 1
        e = np.empty_like(p) if self.nesterov or layer else s.momentum_buffer
        if p.dtype == np.float32:
            accumulate[float](M_, g_, e.reshape(-1), self.momentum, self.nesterov)
        else:
            accumulate[double](M_, g_, e.reshape(-1), self.momentum, self.nesterov)
        if layer:
            e /= np.sqrt(self.signal_moment(Y, g.samples, s) / (1 - self.y_momentum**t) + self.eps)
            W, variances = solve_shared(X, 1 / g.samples, e, self.eps, self.num_iters, DENOM_EPS, form=self.form)
            e = np.multiply(W, np.sqrt(variances), out=W)
        if p.dtype == np.float32:
            descend[float](p_, e.reshape(-1), 1, self.lr)
        else:
            descend[double](p_, e.reshape(-1), 1, self.lr)
        return p, self.State(t, s.momentum_buffer, s.y_momentum_buffer)

    def signal_moment(self, Y, B, s):
        """Update the moving average of the rows' squared signals."""
        y = np.einsum("nr,nr->r", Y, Y)[:, None] * (B if self.batch_averaged else 1 / B)
        s.y_momentum_buffer[...] = self.y_momentum * s.y_momentum_buffer + (1 - self.y_momentum) * y
        return s.y_momentum_buffer
