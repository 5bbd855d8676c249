"""The kinds of gradients that a problem may feed: what makes errors visible that random gradients hide.

Each kind makes one gradient for the weights `w` at that step, of about unit size; `delta` is the rule's projection
threshold where it has one.
"""

from collections.abc import Callable

import numpy as np

from stepgauge.reference import Array

# Every kind has this signature, whether or not it looks at all of it.
Kind = Callable[[np.random.Generator, Array, float], Array]


def random(rng: np.random.Generator, w: Array, delta: float) -> Array:
    return rng.standard_normal(w.shape)


def row_orthogonal(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Orthogonal to the weights in every row, so that a projection by rows fires."""
    return _at_cosine(rng, w, _rows(w), 0.0)


def layer_orthogonal(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Orthogonal to the weights as a whole, though not in each row: the projection falls back to the layer."""
    return _at_cosine(rng, w, 1, 0.0)


def anti_parallel(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Opposed to the weights: a cosine near -1, which passes a threshold that forgets the absolute value."""
    size = np.sqrt(np.mean(w * w)) if w.any() else 1.0
    return 0.1 * rng.standard_normal(w.shape) - w / size


def just_below(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Every row within the threshold of the row view, one of them near it: max, mean and min part ways."""
    return _near_threshold(rng, w, _rows(w), delta, 0.8)


def just_above(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """One row beyond the threshold of the row view, the others within."""
    return _near_threshold(rng, w, _rows(w), delta, 1.3)


def layer_just_below(rng: np.random.Generator, w: Array, delta: float) -> Array:
    return _near_threshold(rng, w, 1, delta, 0.8)


def layer_just_above(rng: np.random.Generator, w: Array, delta: float) -> Array:
    return _near_threshold(rng, w, 1, delta, 1.3)


def zero(rng: np.random.Generator, w: Array, delta: float) -> Array:
    return np.zeros(w.shape)


def sparse(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Exactly zero in half of the coordinates."""
    return rng.standard_normal(w.shape) * rng.integers(0, 2, w.shape)


def uneven(rng: np.random.Generator, w: Array, delta: float) -> Array:
    """Sizes that differ by decades between coordinates, and norms that do between steps."""
    sizes = 10.0 ** rng.integers(-3, 2, w.shape)
    return rng.standard_normal(w.shape) * sizes * np.exp(rng.standard_normal())


KINDS: dict[str, Kind] = {
    "random": random,
    "row-orthogonal": row_orthogonal,
    "layer-orthogonal": layer_orthogonal,
    "anti-parallel": anti_parallel,
    "just below the threshold": just_below,
    "just above the threshold": just_above,
    "layer just below the threshold": layer_just_below,
    "layer just above the threshold": layer_just_above,
    "zero": zero,
    "sparse": sparse,
    "uneven": uneven,
}


def _rows(w: Array) -> int:
    """A vector counts as one row: rules do not project it, wrong ports might."""
    return w.shape[0] if w.ndim > 1 else 1


def _near_threshold(rng: np.random.Generator, w: Array, rows: int, delta: float, factor: float) -> Array:
    """One row (or the layer) has |cosine| = factor x threshold, the others are well within it."""
    threshold = max(delta, 0.0) / max(1, w.size // max(1, rows)) ** 0.5
    cosines = threshold * rng.uniform(0.0, 0.3, (rows, 1))
    cosines[rng.integers(max(1, rows))] = factor * threshold
    return _at_cosine(rng, w, rows, np.minimum(cosines, 0.9) * rng.choice([-1.0, 1.0], (rows, 1)))


def _at_cosine(rng: np.random.Generator, w: Array, rows: int, cosine: Array | float) -> Array:
    """A gradient whose rows have the given cosines with those of w; random where w is empty or zero."""
    g = rng.standard_normal(w.shape)
    if w.size == 0 or not w.any():
        return g
    w_, g_ = w.reshape(rows, -1), g.reshape(rows, -1)
    size = np.sqrt(np.sum(w_ * w_, axis=1, keepdims=True))
    w_hat = np.divide(w_, size, out=np.zeros_like(w_), where=size > 0)
    g_ = g_ - w_hat * np.sum(w_hat * g_, axis=1, keepdims=True)
    length = np.sqrt(np.sum(g_ * g_, axis=1, keepdims=True))
    sine = np.sqrt(1 - np.square(cosine))
    return (g_ * sine + w_hat * cosine * np.where(length > 1e-9, length, 1.0)).reshape(w.shape)
