"""AdamP in place: see `stepgauge.reference.adamp` for the mathematics and its source.

The test for scale invariance needs the whole gradient before the first element moves, so a step is two passes: one
that reads g and p and decides, and one fused pass that updates.
"""

import numpy as np

from cython cimport floating

from _projection cimport orthogonal, remove_radial, root

from stepgauge import reference
from stepgauge.core.arrays import flattened


class AdamP(reference.AdamP):
    """Adam whose update loses its radial component on scale-invariant weights, in place."""

    def step(self, p, g, s, pooled=None):
        """One step; overwrites p and both moments, and returns them.

        Args:
            p: the parameter, C-contiguous, float32 or float64, of any shape.
            g: the gradient, of p's shape and dtype; only read.
            s: `AdamP.State`, with moments of p's shape and dtype.
            pooled: nothing is pooled.

        Raises:
            TypeError, ValueError: an array is not as above; nothing has been written then.
        """
        t = s.step + 1
        p_, g_, m_, v_ = flattened(p, g, exp_avg=s.exp_avg, exp_avg_sq=s.exp_avg_sq)
        if p.dtype == np.float32:
            descend[float](self, t, p.shape, p_, g_, m_, v_)
        else:
            descend[double](self, t, p.shape, p_, g_, m_, v_)
        return p, self.State(t, s.exp_avg, s.exp_avg_sq)


cdef struct Scalars:  # the reference's Python floats; each is rounded once to the parameter's dtype, as NumPy does
    double beta1, rest1, beta2, rest2, root2, eps, keep, rate
    bint nesterov


cdef int descend(
    rule, t, shape, floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v
) except -1:
    lr, (beta1, beta2), eps = rule.lr, rule.betas, rule.eps
    cdef Py_ssize_t rows = invariant_rows[floating](p, g, shape, rule.delta, eps)
    decay = lr * rule.weight_decay * (rule.wd_ratio if rows else 1)
    cdef Scalars c = Scalars(
        beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2, root2=(1 - beta2**t) ** 0.5, eps=eps,
        keep=1 - decay, rate=lr / (1 - beta1**t), nesterov=rule.nesterov,
    )
    cdef floating[:, ::1] room
    if rows:
        room = np.empty((2, p.shape[0] // rows), np.float32 if floating is float else np.float64)
        with nogil:
            descend_tangent(c, p, g, m, v, rows, room)
    else:
        with nogil:
            descend_free(c, p, g, m, v)
    return 0


cdef Py_ssize_t invariant_rows(const floating[::1] w, const floating[::1] g, shape, delta, floating eps) except -1:
    """Into how many rows the projection divides the weights: channels, 1 for the whole layer, 0 for no projection."""
    cdef Py_ssize_t rows, cols
    cdef floating bound
    cdef bint found
    if len(shape) < 2 or w.shape[0] == 0:
        return 0
    for rows in (shape[0], 1):
        cols = w.shape[0] // rows
        bound = delta / (<object>cols) ** 0.5  # in Python's arithmetic, as in the reference
        with nogil:
            found = orthogonal(&w[0], &g[0], rows, cols, bound, eps)
        if found:
            return rows
    return 0


cdef void descend_free(
    Scalars c, floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v
) noexcept nogil:
    cdef floating keep = <floating>c.keep, rate = <floating>c.rate
    cdef Py_ssize_t i
    for i in range(p.shape[0]):
        p[i] = keep * p[i] - rate * direction(c, g[i], &m[i], &v[i])


cdef void descend_tangent(
    Scalars c, floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v,
    Py_ssize_t rows, floating[:, ::1] room,
) noexcept nogil:
    """Row by row, while a row is in the cache; `room` is two rows, for the direction and for the unit weight."""
    cdef floating keep = <floating>c.keep, rate = <floating>c.rate
    cdef floating* u = &room[0, 0]
    cdef floating* w_hat = &room[1, 0]
    cdef floating* w
    cdef Py_ssize_t i, j, first, cols = room.shape[1]
    for i in range(rows):
        first = i * cols
        w = &p[first]
        for j in range(cols):
            u[j] = direction(c, g[first + j], &m[first + j], &v[first + j])
        remove_radial(u, w, w_hat, cols, <floating>c.eps)
        for j in range(cols):
            w[j] = keep * w[j] - rate * u[j]


cdef inline floating direction(Scalars c, floating g, floating* m, floating* v) noexcept nogil:
    """Update both moments of one coordinate; the bias of m is corrected in the rate."""
    cdef floating beta1 = <floating>c.beta1, rest1 = <floating>c.rest1
    m[0] = beta1 * m[0] + rest1 * g
    v[0] = <floating>c.beta2 * v[0] + <floating>c.rest2 * g * g
    cdef floating look = beta1 * m[0] + rest1 * g if c.nesterov else m[0]
    return look / (root(v[0]) / <floating>c.root2 + <floating>c.eps)
