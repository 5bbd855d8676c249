"""Row-wise Fisher matrices in torch: see `stepgauge.reference.frog` for the mathematics and its source.

Pure functions of tensors, without a branch on a value of theirs. Convolutions are not unfolded. The number of
iterations is fixed, and of the last one only the length of the step is computed, which takes no product A p:
p'Ap = sum(S (X p)^2) + tau p'p.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_weight

from stepgauge.reference.layers import Convolution

Division = Callable[[Tensor, Tensor], Tensor]


class Inputs(Protocol):
    """Inputs X of a layer, as products with X.

    A matrix P has shape (rows, cols), the last column being the bias if that is in the system. `Z` and `F` have the
    shape of the layer's outputs.
    """

    def outputs(self, P: Tensor) -> Tensor:
        """X P', in the shape of the outputs."""

    def gradient(self, Z: Tensor) -> Tensor:
        """Z' X, shape (rows, cols)."""

    def traces(self, F: Tensor) -> Tensor:
        """The traces of X' diag(F_j) X, shape (rows, 1)."""

    def by_row(self, Z: Tensor) -> Tensor:
        """Sums over all samples and positions, shape (rows, 1)."""

    def spread(self, v: Tensor) -> Tensor:
        """Numbers of rows, shape (rows, 1), in a shape that goes with the outputs."""

    def diagonal(self) -> Tensor:
        """The diagonal of X' X, shape (1, cols); without a bias, and in one group."""


@dataclass(frozen=True)
class LinearInputs:
    """Those of a linear layer: X, shape (samples, cols), with a last column of ones where there is a bias."""

    X: Tensor

    def outputs(self, P: Tensor) -> Tensor:
        return self.X @ P.T

    def gradient(self, Z: Tensor) -> Tensor:
        return Z.T @ self.X

    def traces(self, F: Tensor) -> Tensor:
        return F.T @ (self.X * self.X).sum(1, keepdim=True)

    def by_row(self, Z: Tensor) -> Tensor:
        return Z.sum(0)[:, None]

    def spread(self, v: Tensor) -> Tensor:
        return v.T

    def diagonal(self) -> Tensor:
        return (self.X * self.X).sum(0, keepdim=True)


@dataclass(frozen=True)
class ConvolutionInputs:
    """Those of a convolution.

    Attributes:
        images: shape (samples, channels, height, width); padding that is not zeros is already around them.
        geometry: its padding is the same on opposite sides.
        has_bias: whether there is a bias, beside a constant input of one.
    """

    images: Tensor
    geometry: Convolution
    has_bias: bool

    def outputs(self, P: Tensor) -> Tensor:
        kernels, bias = (P[:, :-1], P[:, -1]) if self.has_bias else (P, None)
        return conv2d(self.images, kernels.reshape(len(P), -1, *self.geometry.kernel), bias, **self._options)

    def gradient(self, Z: Tensor) -> Tensor:
        kernels = self._gradient(self.images, Z)
        return torch.cat([kernels, self.by_row(Z)], 1) if self.has_bias else kernels

    def traces(self, F: Tensor) -> Tensor:
        groups = self.geometry.groups
        window = self.images.new_ones(groups, self.images.shape[1] // groups, *self.geometry.kernel)
        energy = conv2d(self.images * self.images, window, **self._options)
        energy = energy + 1 if self.has_bias else energy
        return (F.reshape(len(F), groups, -1, *F.shape[2:]) * energy[:, :, None]).sum((0, 3, 4)).reshape(-1, 1)

    def by_row(self, Z: Tensor) -> Tensor:
        return Z.sum((0, 2, 3))[:, None]

    def spread(self, v: Tensor) -> Tensor:
        return v[:, :, None]

    def diagonal(self) -> Tensor:
        height, width = self.geometry.output_size(tuple(self.images.shape[2:]))
        return self._gradient(self.images * self.images, self.images.new_ones(len(self.images), 1, height, width))

    @property
    def _options(self) -> dict[str, Any]:
        (top, _), (left, _) = self.geometry.padding
        g = self.geometry
        return {"stride": g.stride, "padding": (top, left), "dilation": g.dilation, "groups": g.groups}

    def _gradient(self, images: Tensor, Z: Tensor) -> Tensor:
        shape = (Z.shape[1], images.shape[1] // self.geometry.groups, *self.geometry.kernel)
        kernels: Tensor = conv2d_weight(images, shape, Z, **self._options)  # type: ignore[no-untyped-call]  # torch's
        return kernels.flatten(1)


class Seen(NamedTuple):
    """What a layer saw since the last step, as far as its rule looks at it.

    Attributes:
        inputs: one for each backward pass, as images may differ in size.
        signals: the gradients at the outputs; (samples, rows), or (samples, rows, height, width).
        samples: how many inputs there are.
        batch: of how many these were drawn.
    """

    inputs: Sequence[Inputs]
    signals: Sequence[Tensor]
    samples: int
    batch: int


def guarded(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b, but 0 where b <= 0; NaN stays NaN."""
    return torch.where(b <= 0, 0, a / torch.where(b <= 0, 1, b))


def plain(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b, whatever b is."""
    return a / b


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of corresponding rows, shape (rows, 1)."""
    return (a * b).sum(1, keepdim=True)


def conjugate_gradients(
    inputs: Sequence[Inputs],
    S: Sequence[Tensor | float],
    e: Tensor,
    tau: float,
    iterations: int,
    eps: float,
    divide: Division,
) -> Tensor:
    """An approximate solution W of X' diag(S_j) X w_j + tau w_j = e_j, row by row, from W = 0.

    Args:
        inputs: X in parts.
        S: the weights of the samples, for each part in a shape that goes with its outputs.
        e: shape (rows, cols).
        tau: the damping.
        iterations: how many; there is no early stop.
        eps: added to both denominators.
        divide: `guarded` or `plain`.
    """
    w, r, p = torch.zeros_like(e), e, e
    rr = dot(r, r)
    for left in reversed(range(iterations)):
        Z = [x.outputs(p) for x in inputs]
        SZ = [s * z for s, z in zip(S, Z, strict=True)]
        pAp = tau * dot(p, p) + total(x.by_row(z * sz) for x, z, sz in zip(inputs, Z, SZ, strict=True))
        alpha = divide(rr, pAp + eps)
        w = w + alpha * p
        if left == 0:
            break
        r = r - alpha * (tau * p + total(x.gradient(sz) for x, sz in zip(inputs, SZ, strict=True)))
        rr, before = dot(r, r), rr
        p = r + divide(rr, before + eps) * p
    return w


def natural_direction(
    e: Tensor, seen: Seen, scale: float, tau: float, iterations: int, eps: float, divide: Division
) -> Tensor:
    """F^-1 e / sqrt(<F^-1 e, e>) for every row, F being normalised, damped and inverted approximately.

    Args:
        e: shape (rows, cols).
        seen: what the layer saw.
        scale: multiplies the squared signals; matters beside eps only.
        tau: as of `conjugate_gradients`.
        iterations: likewise.
        eps: likewise.
        divide: likewise.
    """
    F = [scale * Y * Y for Y in seen.signals]
    trace = total(x.traces(f) for x, f in zip(seen.inputs, F, strict=True)) / e.shape[1]
    S = [divide(f, x.spread(trace + eps)) for x, f in zip(seen.inputs, F, strict=True)]
    W = conjugate_gradients(seen.inputs, S, e, tau, iterations, eps, divide)
    inner = dot(W, e) + eps
    return divide(W, inner.clamp(min=0).sqrt())  # below 0 it is by rounding only


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    return functools.reduce(torch.add, parts)


def momenta(g: Tensor, momentum_buffer: Tensor | None, momentum: float, nesterov: bool) -> tuple[Tensor, Tensor]:
    """The momentum M, and with nesterov the one looked ahead to; a buffer that is None stands for zeros."""
    M = g if momentum_buffer is None else momentum * momentum_buffer + g
    return M, g + momentum * M if nesterov else M


def follow_momentum(grads: list[Tensor], buffers: list[Tensor] | None, momentum: float, nesterov: bool) -> list[Tensor]:
    """Update the momenta of parameters that are no layer's, in place, and return what these step along.

    Args:
        grads: not changed.
        buffers: the momenta; None where momentum is 0 and none are kept.
        momentum: their factor.
        nesterov: look ahead.
    """
    if buffers is None:
        return grads
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, grads)
    return list(torch._foreach_add(grads, buffers, alpha=momentum)) if nesterov else buffers
