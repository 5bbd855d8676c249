"""What a layer saw, as matrices: how Linear and Conv2d become systems of rows.

A linear layer has one position per sample; leading batch dimensions are samples. A convolution is unfolded, so that
each position of each sample is a row of X. A group of a grouped convolution is a layer of its own. A bias is a last
column of weights beside a constant input of one, one for every position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from stepgauge.reference.rule import Array, Generator

Pair = tuple[int, int]
Chosen = tuple[list[int] | None, list[int] | None]  # which samples of the inputs and of the signals; None for all
ALL: Chosen = (None, None)


class LayerGradient(NamedTuple):
    """The gradient of a layer's weights, and what it is made of: G = Y' X, summed over positions."""

    grad: Array  # G, shape (rows, cols)
    inputs: Array  # X, shape (samples x positions, cols)
    signals: Array  # Y, the gradient at the layer's output, shape (samples x positions, rows)
    samples: int  # of X and Y
    batch: int  # of which these samples are a part; the gradient is of all of it

    def __neg__(self) -> Self:
        return self._replace(grad=-self.grad)


@dataclass(frozen=True)
class Convolution:
    """The geometry of a Conv2d; `padding` is (before, after) for height and for width.

    Raises:
        ValueError: a kernel, stride, dilation or number of groups is below 1, or a padding below 0.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"Invalid {name}: {getattr(self, name)} (must be at least 1)")
        if min(min(side) for side in self.padding) < 0:
            raise ValueError(f"Invalid padding: {self.padding} (must be at least 0)")
        if self.groups < 1:
            raise ValueError(f"Invalid groups: {self.groups} (must be at least 1)")

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Height and width of the output for those of the input."""
        sides = zip(size, self.padding, self.dilation, self.kernel, self.stride, strict=True)
        return tuple((n + sum(padding) - d * (k - 1) - 1) // s + 1 for n, padding, d, k, s in sides)


class Layer(NamedTuple):
    """Which parameters are a layer's: the indices of its weight and bias, and its geometry if it is a Conv2d."""

    weight: int
    bias: int | None = None
    geometry: Convolution | None = None


class Seen(NamedTuple):
    """What a layer saw in a step: its inputs, and the gradient at its output, in the shapes of their owner.

    Shapes: (..., in) and (..., out) of a linear layer, (samples, channels, height, width) of a Conv2d.
    """

    inputs: Array
    signals: Array


def same_padding(kernel: Pair, dilation: Pair = (1, 1)) -> tuple[Pair, Pair]:
    """The padding that torch calls 'same': what does not divide goes to the right and the bottom."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    height, width = ((n // 2, n - n // 2) for n in total)
    return height, width


def patches(x: Array, geometry: Convolution) -> Array:
    """The patches of x, shape (samples, positions, channels x kernel height x kernel width).

    Args:
        x: inputs, shape (samples, channels, height, width).
        geometry: of the convolution; its groups are not looked at.
    """
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    padded = np.pad(x, ((0, 0), (0, 0), *geometry.padding))
    reach = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    samples, channels, height, width = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(samples, height * width, channels * kh * kw)


def layers_of(
    weight_grad: Array, bias_grad: Array | None, seen: Seen, geometry: Convolution | None = None, chosen: Chosen = ALL
) -> list[LayerGradient]:
    """A layer's gradients as systems of rows: one, or one for each group of a convolution.

    Args:
        weight_grad: shape (out, in), or (out, in / groups, kernel height, kernel width) of a convolution.
        bias_grad: shape (out,), where the bias is preconditioned together with the weights.
        seen: what the layer saw.
        geometry: of the convolution; None for a linear layer.
        chosen: the samples to estimate from.

    Raises:
        ValueError: the shapes do not fit each other or the geometry.
    """
    require_layer(weight_grad, bias_grad, geometry)
    _require_fit(weight_grad, seen, geometry)
    groups = geometry.groups if geometry else 1
    inputs, signals = _positions(seen, geometry)
    batch = len(inputs)
    inputs, signals = (x if k is None else x[k] for x, k in zip((inputs, signals), chosen, strict=True))
    parts = zip(
        matrices(weight_grad, bias_grad, groups),
        np.split(inputs, groups, axis=2),
        np.split(signals, groups, axis=2),
        strict=True,
    )
    return [
        LayerGradient(grad, _rows(x, constant=bias_grad is not None), _rows(y), len(inputs), batch)
        for grad, x, y in parts
    ]


def _positions(seen: Seen, geometry: Convolution | None) -> tuple[Array, Array]:
    """Inputs and signals by sample and position: (samples, positions, in x kernel) and (samples, positions, out)."""
    if geometry is None:
        inputs, signals = (x.reshape(-1, 1, x.shape[-1]) for x in seen)
        return inputs, signals
    blocks = np.split(seen.inputs, geometry.groups, axis=1)
    unfolded = np.concatenate([patches(block, geometry) for block in blocks], axis=2)
    return unfolded, seen.signals.reshape(*seen.signals.shape[:2], -1).transpose(0, 2, 1)


def require_layer(weight: Array, bias: Array | None, geometry: Convolution | None) -> None:
    """Refuse parameters that are no layer's.

    Raises:
        ValueError: the shapes of weight and bias do not fit each other or the geometry.
    """
    shape = weight.shape
    if bias is not None and bias.shape != shape[:1]:
        raise ValueError(f"the bias of shape {bias.shape} is not one of a weight of shape {shape}")
    if geometry is None and len(shape) != 2:
        raise ValueError(f"a weight of shape {shape} is not of a linear layer; say its geometry")
    if geometry and (len(shape) != 4 or shape[2:] != geometry.kernel or shape[0] % geometry.groups):
        raise ValueError(f"a weight of shape {shape} has no kernel {geometry.kernel} in {geometry.groups} groups")


def _require_fit(weight: Array, seen: Seen, geometry: Convolution | None) -> None:
    """Refuse inputs and signals that this layer cannot have seen."""
    x, y = seen.inputs.shape, seen.signals.shape
    if geometry is None:
        expected_x, expected_y = (*x[:-1], weight.shape[1]), (*x[:-1], weight.shape[0])
    else:
        if len(x) != 4:
            raise ValueError(f"inputs of shape {x} are not (samples, channels, height, width)")
        expected_x = (x[0], weight.shape[1] * geometry.groups, *x[2:])
        expected_y = (x[0], weight.shape[0], *geometry.output_size(x[2:]))
    if x != expected_x:
        raise ValueError(f"inputs of shape {x} do not fit a weight of shape {weight.shape}: {expected_x} would")
    if y != expected_y:
        raise ValueError(f"signals of shape {y} do not fit inputs of shape {x}: {expected_y} would")


def gradient_of(seen: Seen, shape: tuple[int, ...], geometry: Convolution | None, *, bias: bool) -> list[Array]:
    """The gradients of a layer's weight, and bias if it has one: G = Y' X, back in the shapes of their owner."""
    blank = np.zeros(shape), np.zeros(shape[:1]) if bias else None
    weight, constant = tensors([x.signals.T @ x.inputs for x in layers_of(*blank, seen, geometry)], shape, bias=bias)
    return [weight] if constant is None else [weight, constant]


def matrices(weight: Array, bias: Array | None = None, groups: int = 1) -> list[Array]:
    """Weights, with the bias as a last column, as one matrix for each group."""
    flat = weight.reshape(weight.shape[0], -1)
    if bias is not None:
        flat = np.concatenate([flat, bias[:, None]], axis=1)
    return np.split(flat, groups)


def tensors(parts: Sequence[Array], shape: tuple[int, ...], *, bias: bool) -> tuple[Array, Array | None]:
    """The inverse of `matrices`."""
    flat = np.concatenate(list(parts))
    return (flat[:, :-1].reshape(shape), flat[:, -1]) if bias else (flat.reshape(shape), None)


def subsample(batch: int, size: int | None, rng: Generator | None) -> list[int] | None:
    """Samples drawn without replacement from an explicit generator; None, for all, where `size` is not less.

    Raises:
        ValueError: there is something to draw, and no generator.
    """
    if size is None or size >= batch:
        return None
    if rng is None:
        raise ValueError(f"{size} of {batch} samples are to be drawn: give a generator, or a larger sample_size")
    return [int(k) for k in rng.permutation(batch)[:size]]


def _rows(x: Array, *, constant: bool = False) -> Array:
    """All positions of all samples, one a row, with a constant one at the end."""
    flat = x.reshape(-1, x.shape[-1])
    return np.concatenate([flat, np.ones_like(flat[:, :1])], axis=1) if constant else flat
