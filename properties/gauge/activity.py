"""Layers of a small network, and what they may see: inputs and output gradients that random ones leave untried."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stepgauge.reference import Array, Convolution, Layer, Seen

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerRecipe:
    """A layer: a Conv2d if it has a geometry, else linear.

    `size` is the shape of an input between its samples and its channels for a linear layer, and the height and width of
    an image for a Conv2d.
    """

    inputs: int
    outputs: int
    size: Shape = ()
    geometry: Convolution | None = None
    bias: bool = True
    samples: int = 6

    @property
    def shapes(self) -> list[Shape]:
        """Of its weight, and of its bias if it has one."""
        inner: Shape = (self.inputs,)
        if self.geometry is not None:
            inner = (self.inputs // self.geometry.groups, *self.geometry.kernel)
        return [(self.outputs, *inner), *([(self.outputs,)] if self.bias else [])]

    @property
    def seen_shapes(self) -> tuple[Shape, Shape]:
        """Of its inputs and of its signals."""
        if self.geometry is None:
            return (self.samples, *self.size, self.inputs), (self.samples, *self.size, self.outputs)
        out = self.geometry.output_size(self.size)
        return (self.samples, self.inputs, *self.size), (self.samples, self.outputs, *out)

    def placed(self, first: int) -> Layer:
        """The layer whose weight is parameter `first`, and whose bias is the next one."""
        return Layer(first, first + 1 if self.bias else None, self.geometry)


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


ACTIVITIES: dict[str, Kind] = {
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
