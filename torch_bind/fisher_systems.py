"""What steps together: a layer's weight and bias as one matrix, and what the core needs to solve it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stepgauge.core._fisher import cheaper_form
from stepgauge.core._fisher_patches import unfold
from stepgauge.reference import Rule
from stepgauge.reference.layers import LayerGradient
from stepgauge.torch_bind.fisher import ConvolutionInputs, Inputs, LinearInputs, Seen
from stepgauge.torch_bind.fisher_layers import Layer
from stepgauge.torch_bind.fisher_recorder import Recorder, Rows
from stepgauge.torch_bind.state import working_dtype


class Watched(NamedTuple):
    """A layer and its hook."""

    layer: Layer
    recorder: Recorder


class System(NamedTuple):
    """A weight, the bias that steps with it or None, and the layers that have this weight."""

    weight: Tensor
    bias: Tensor | None
    watched: Sequence[Watched]

    @property
    def module(self) -> Any:
        return self.watched[0].layer.module

    @property
    def name(self) -> str:
        return " and ".join(layer.name or type(layer.module).__name__ for layer, _ in self.watched)

    @property
    def members(self) -> list[Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    @property
    def passes(self) -> int:
        """How many backward passes came through its layers since the last step."""
        return sum(recorder.passes for _, recorder in self.watched)

    @property
    def is_empty(self) -> bool:
        """Whether there was no sample in these."""
        return all(recorder.is_empty or recorder.passes == 0 for _, recorder in self.watched)

    def noted(self, reservoir: int) -> tuple[list[Rows], int, int]:
        """What its layers keep in one of their reservoirs: by pass, how many samples, of how many."""
        dtype = working_dtype(self.weight)
        reservoirs = [recorder.reservoirs[reservoir] for _, recorder in self.watched if recorder.reservoirs]
        parts = [tuple(x.to(dtype) for x in part) for r in reservoirs for part in r.parts]
        return parts, sum(r.kept for r in reservoirs), sum(r.seen for r in reservoirs)

    def matrix(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the members' shapes as one new matrix (rows, cols), in the dtype of the mathematics."""
        flat = [x.detach().to(working_dtype(self.weight)).reshape(len(x), -1) for x in tensors]
        return torch.cat(flat, 1)

    def parts(self, matrix: Tensor) -> list[Tensor]:
        """The inverse of `matrix`."""
        if self.bias is None:
            return [matrix.reshape(self.weight.shape)]
        return [matrix[:, :-1].reshape(self.weight.shape), matrix[:, -1]]


def fits_core(p: Tensor, inputs: Sequence[Inputs], iterations: int) -> bool:
    """Whether the core solves a layer faster: on the CPU, and where it need not unfold a convolution in vain.

    Args:
        p: the weights as a matrix.
        inputs: what the layer saw.
        iterations: of conjugate gradients.
    """
    if type(p) is not Tensor or p.device.type != "cpu":  # a fake tensor has no memory
        return False
    return all(isinstance(x, LinearInputs) or _unfolds(x, len(p), iterations) for x in inputs)


def _unfolds(x: Inputs, rows: int, iterations: int) -> bool:
    """Whether unfolding pays: there is nothing to unfold, or the solve in sample space is so much cheaper."""
    if not isinstance(x, ConvolutionInputs) or x.geometry.groups > 1:
        return False
    height, width = x.geometry.output_size(tuple(x.images.shape[2:]))
    kernel_height, kernel_width = x.geometry.kernel
    cols = x.images.shape[1] * kernel_height * kernel_width
    form = cheaper_form(len(x.images) * height * width, cols, rows, iterations)
    return x.geometry.kernel == (1, 1) or form == "sample"


def step_in_core(rule: Rule, p: Tensor, g: Tensor, state: Sequence[Any], seen: Seen) -> Any:
    """Step a matrix on the CPU along g; p and the tensors of the state are overwritten.

    Args:
        rule: the core's.
        p: contiguous, shape (rows, cols).
        g: likewise.
        state: the fields of the rule's State: a number, and tensors.
        seen: what the layer saw.
    """
    inputs = np.concatenate([_rows(x) for x in seen.inputs])
    signals = np.concatenate([_positions(Y).numpy() for Y in seen.signals])
    gradient = LayerGradient(g.numpy(), inputs, signals, seen.samples, seen.batch)
    arrays = [x.numpy() if isinstance(x, Tensor) else x for x in state]
    with np.errstate(all="ignore"):  # torch does not warn of what is not finite
        return rule.step(p.numpy(), gradient, rule.State(*arrays))


def _rows(inputs: Inputs) -> Any:
    """X, shape (samples x positions, cols)."""
    if isinstance(inputs, LinearInputs):
        return inputs.X.numpy()
    assert isinstance(inputs, ConvolutionInputs)
    X = unfold(inputs.images.numpy(), inputs.geometry)
    return np.concatenate([X, np.ones_like(X[:, :1])], axis=1) if inputs.has_bias else X


def _positions(Y: Tensor) -> Tensor:
    """Signals by sample and position, shape (samples x positions, rows)."""
    return Y if Y.ndim == 2 else Y.flatten(2).transpose(1, 2).flatten(0, 1)
