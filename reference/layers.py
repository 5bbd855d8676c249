"""What a layer saw, as matrices: how Linear and Conv2d become systems of rows.

A linear layer has one position per sample; leading batch dimensions are samples. A convolution is unfolded, so that
each position of each sample is a row of X. A group of a grouped convolution is a layer of its own. A bias is a last
column of weights beside a constant input of one, one for every position.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from stepgauge.reference.rule import Array

Pair = tuple[int, int]


class LayerGradient(NamedTuple):
    """The gradient of a layer's weights, and what it is made of: G = Y' X, summed over positions."""

    grad: Array  # G, shape (rows, cols)
    inputs: Array  # X, shape (samples x positions, cols)
    signals: Array  # Y, the gradient at the layer's output, shape (samples x positions, rows)
    samples: int  # of X and Y
    batch: int  # of which these samples are a part; the gradient is of all of it

    def __neg__(self) -> Self:
        return self._replace(grad=-self.grad)


class Convolution(NamedTuple):
    """The geometry of a Conv2d; `padding` is (before, after) for height and for width."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1


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
    weight_grad: Array,
    bias_grad: Array | None,
    inputs: Array,
    signals: Array,
    geometry: Convolution | None = None,
    *,
    chosen: Sequence[int] | None = None,
) -> list[LayerGradient]:
    """A layer's gradients as systems of rows: one, or one for each group of a convolution.

    Args:
        weight_grad: shape (out, in), or (out, in / groups, kernel height, kernel width) of a convolution.
        bias_grad: shape (out,), where the bias is preconditioned together with the weights.
        inputs: shape (..., in), or (samples, in, height, width).
        signals: the gradient at the output, shape (..., out), or (samples, out, height, width).
        geometry: of the convolution; None for a linear layer.
        chosen: the samples to estimate from; all if None.
    """
    groups = geometry.groups if geometry else 1
    if geometry is None:
        inputs, signals = (x.reshape(-1, 1, x.shape[-1]) for x in (inputs, signals))
    else:
        blocks = np.split(inputs, groups, axis=1)
        inputs = np.concatenate([patches(block, geometry) for block in blocks], axis=2)
        signals = signals.reshape(*signals.shape[:2], -1).transpose(0, 2, 1)
    batch = len(inputs)
    if chosen is not None:
        inputs, signals = inputs[np.asarray(chosen)], signals[np.asarray(chosen)]
    gradients = matrices(weight_grad, bias_grad, groups)
    parts = zip(gradients, np.split(inputs, groups, axis=2), np.split(signals, groups, axis=2), strict=True)
    return [
        LayerGradient(grad, _rows(x, constant=bias_grad is not None), _rows(y), len(inputs), batch)
        for grad, x, y in parts
    ]


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


def subsample(batch: int, size: int | None, rng: np.random.Generator) -> Sequence[int] | None:
    """Samples drawn without replacement from an explicit generator; None, for all, where `size` is not less."""
    return None if size is None or size >= batch else [int(k) for k in rng.permutation(batch)[:size]]


def _rows(x: Array, *, constant: bool = False) -> Array:
    """All positions of all samples, one a row, with a constant one at the end."""
    flat = x.reshape(-1, x.shape[-1])
    return np.concatenate([flat, np.ones_like(flat[:, :1])], axis=1) if constant else flat
