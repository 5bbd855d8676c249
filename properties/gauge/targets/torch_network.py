"""A small real network for optimizers that look at what its layers see: torch modules around given parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stepgauge.reference import Layer
from stepgauge.reference.layers import same_padding


class Network(torch.nn.Module):
    """Layers side by side, each fed with inputs of its own, and parameters that are no layer's."""

    def __init__(self, layers: Sequence[Layer], tensors: Sequence[Any]) -> None:
        super().__init__()
        self.weights = [layer.weight for layer in layers]
        self.layers = torch.nn.ModuleList(_module(layer, tensors) for layer in layers)
        taken = {i for layer in layers for i in (layer.weight, layer.bias)}
        self.others = torch.nn.ParameterList(p for i, p in enumerate(tensors) if i not in taken)

    def forward(self, inputs: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """The outputs of the layers that have an input, both under the index of the layer's weight."""
        return {i: layer(inputs[i]) for i, layer in zip(self.weights, self.layers, strict=True) if i in inputs}

    def learn(self, inputs: Mapping[int, torch.Tensor], signals: Mapping[int, torch.Tensor]) -> None:
        """One forward and one backward pass, with these gradients at the layers' outputs."""
        if inputs:
            outputs = self({i: x.requires_grad_() for i, x in inputs.items()})
            torch.autograd.backward(list(outputs.values()), [signals[i] for i in outputs])


def _module(layer: Layer, tensors: Sequence[Any]) -> torch.nn.Module:
    """The torch module of a layer around its own parameters."""
    weight, bias, geometry = tensors[layer.weight], layer.bias is not None, layer.geometry
    module: torch.nn.Module
    if geometry is None:
        module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias, device="meta")
    else:
        uneven = any(before != after for before, after in geometry.padding)
        if uneven and geometry.padding != same_padding(geometry.kernel, geometry.dilation):
            raise ValueError(f"torch has no padding {geometry.padding}")
        padding: Any = "same" if uneven else tuple(before for before, _ in geometry.padding)
        module = torch.nn.Conv2d(
            weight.shape[1] * geometry.groups,
            weight.shape[0],
            geometry.kernel,
            geometry.stride,
            padding,
            geometry.dilation,
            geometry.groups,
            bias,
            device="meta",
        )
    module.register_parameter("weight", weight)
    if layer.bias is not None:
        module.register_parameter("bias", tensors[layer.bias])
    return module
