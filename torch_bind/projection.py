"""The radial projection in torch: see `stepgauge.reference.projection` for the mathematics and its source.

Whether to project is a tensor, not a branch: a branch would wait for the device in the middle of a step. So both
views are computed, and the rows, which go first in the reference, come last and overwrite the layer's result.
"""

import torch
from torch import Tensor

Axes = tuple[int, ...]


def norm(x: Tensor, axes: Axes) -> Tensor:
    return (x * x).sum(axes, keepdim=True).sqrt()


def cosine(x: Tensor, y: Tensor, axes: Axes, eps: float) -> Tensor:
    return (x * y).sum(axes, keepdim=True) / (norm(x, axes).clamp(min=eps) * norm(y, axes).clamp(min=eps))


def project(w: Tensor, g: Tensor, u: Tensor, delta: float, eps: float) -> tuple[Tensor, Tensor]:
    """The update u, without its radial part if w is scale-invariant, and whether it is: a bool of shape ()."""
    invariant = torch.zeros((), dtype=torch.bool, device=w.device)
    if w.ndim < 2 or w.numel() == 0:
        return u, invariant
    projected = u
    layer, size = tuple(range(w.ndim)), w.numel()
    for axes, cols in ((layer, size), (layer[1:], size // w.shape[0])):  # sums over w as it lies, not over a copy
        cos = cosine(g, w, axes, eps).abs()
        found = cos.max() < delta / cols**0.5
        w_hat = w / (norm(w, axes) + eps)
        radial = (w_hat * u).sum(axes, keepdim=True)
        projected = torch.where(found, u - w_hat * radial, projected)
        invariant = invariant | found
    return projected, invariant
