"""What layers see, and the gradients at their outputs: kinds of activity that random numbers leave untried."""

from collections.abc import Callable

import numpy as np

from stepgauge.properties.gauge.problems.recipe import LayerRecipe
from stepgauge.reference import Array, Seen

Kind = Callable[[np.random.Generator, LayerRecipe], Seen]


def random(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    return Seen(*(rng.standard_normal(shape) for shape in layer.seen_shapes))


def zero(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    """No gradient arrives at the output."""
    seen = random(rng, layer)
    return seen._replace(signals=np.zeros_like(seen.signals))


def sparse(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    """Exactly zero in half of the inputs, as behind rectifiers, and in a fifth of the signals."""
    inputs, signals = random(rng, layer)
    return Seen(np.maximum(inputs, 0.0), signals * (rng.random(signals.shape) < 0.8))


def uneven(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    """Signals whose sizes differ by decades between rows, and inputs that do between samples."""
    inputs, signals = random(rng, layer)
    samples = 10.0 ** rng.uniform(-1, 1, (len(inputs), *(1,) * (inputs.ndim - 1)))
    return Seen(inputs * samples, signals * _by_row(layer, 10.0 ** rng.integers(-2, 2, layer.outputs)))


def silent_rows(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    """Some outputs have no gradient, at least one: rows without a Fisher matrix, which may have momentum."""
    inputs, signals = random(rng, layer)
    heard = rng.integers(0, 2, layer.outputs).astype(float)
    heard[rng.integers(layer.outputs)] = 0.0
    return Seen(inputs, signals * _by_row(layer, heard))


def shifted(rng: np.random.Generator, layer: LayerRecipe) -> Seen:
    """Inputs that are not centred, so that a bias is far from independent of the weights."""
    inputs, signals = random(rng, layer)
    return Seen(inputs + 2.0, signals)


LAYER_INPUTS: dict[str, Kind] = {
    "random": random,
    "zero": zero,
    "sparse": sparse,
    "uneven": uneven,
    "silent rows": silent_rows,
    "shifted": shifted,
}


def _by_row(layer: LayerRecipe, factors: Array) -> Array:
    """One factor for each output, in the shape of the signals."""
    return factors if layer.geometry is None else factors[:, None, None]
