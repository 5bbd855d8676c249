"""The radial projection of AdamP and SGDP (Heo et al., arXiv 2006.08217).

The published test omits the absolute value; the authors call that an erratum, and their code takes it.
The eps in the norms is a numerical guard of the release: it clamps the norms of the cosine and is added to the
norm of the weight, so the projected update keeps a radial part of about 2 eps / |w| of the original one.

Where a gradient or a weight is not finite there is no cosine, so a parameter with such a weight is projected no more.
"""

import numpy as np

from stepgauge.reference.rule import Array


def norm(x: Array) -> Array:
    """The Euclidean norm of each row, shape (rows, 1)."""
    return np.sqrt(np.sum(x * x, axis=1, keepdims=True))


def cosine(x: Array, y: Array, eps: float) -> Array:
    """The cosine between corresponding rows, shape (rows, 1); norms below eps count as eps."""
    return np.sum(x * y, axis=1, keepdims=True) / (np.maximum(norm(x), eps) * np.maximum(norm(y), eps))


def project(w: Array, g: Array, u: Array, delta: float, eps: float) -> tuple[Array, bool]:
    """Remove from the update u its component along w where the gradient g says that w is scale-invariant.

    Weights are scale-invariant by row (channel) if every row of g is nearly orthogonal to its row of w, and
    otherwise as a whole layer if g is nearly orthogonal to w. Returns the update and whether it was projected.
    """
    if w.ndim < 2 or w.size == 0:
        return u, False
    for view in ((w.shape[0], -1), (1, -1)):
        w_, g_, u_ = w.reshape(view), g.reshape(view), u.reshape(view)
        cos = np.abs(cosine(g_, w_, eps))
        if np.max(cos) < delta / w_.shape[1] ** 0.5:
            w_hat = w_ / (norm(w_) + eps)
            radial = np.sum(w_hat * u_, axis=1, keepdims=True)
            return (u_ - w_hat * radial).reshape(u.shape), True
    return u, False
