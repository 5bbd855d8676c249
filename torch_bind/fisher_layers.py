"""Which modules are layers, in what geometry, and what they saw as inputs of a system of rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, cat, nn, ones_like
from torch.nn.functional import pad

from stepgauge.reference.layers import Convolution, same_padding
from stepgauge.torch_bind.fisher import ConvolutionInputs, Inputs, LinearInputs

KINDS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d)


class Layer(NamedTuple):
    """A module that is a layer.

    Attributes:
        name: in the model.
        module: its forward is that of one of `KINDS`.
        owns_bias: whether it has a bias that is this weight's alone.
    """

    name: str
    module: Any
    owns_bias: bool


def layers_in(model: nn.Module, skip: Iterable[str] = ()) -> list[Layer]:
    """The layers of a model, in its order.

    A weight that several modules share is a layer's if all of them are layers of the same geometry: they are one layer
    that is used several times. Shared with anything else, such as an embedding, it is no layer's. No layers are modules
    with a forward of their own, and the output projection of `nn.MultiheadAttention`, whose forward is never called.

    Args:
        model: with all of its parameters initialised.
        skip: names of modules that shall not count as layers.

    Raises:
        ValueError: a parameter is not initialised, or a name in `skip` is no module's.
    """
    modules = dict(model.named_modules())
    if unknown := [name for name in skip if name not in modules]:
        raise ValueError(f"Invalid skip_modules: {', '.join(unknown)} (the model has no such modules)")
    holders = _holders(modules.values())
    uncalled = [module.out_proj for module in modules.values() if isinstance(module, nn.MultiheadAttention)]
    left_out = {id(module) for module in [*uncalled, *(modules[name] for name in skip)]}
    candidates = {name: m for name, m in modules.items() if id(m) not in left_out and is_layer(m)}
    known = {id(module) for module in candidates.values()}
    layers = []
    for name, module in candidates.items():
        twins = holders.get(module.weight, ())  # none where a parametrization computes the weight
        if twins and all(id(twin) in known and _alike(twin, module) for twin in twins):
            layers.append(Layer(name, module, _owns_bias(module, twins, holders)))
    return layers


def is_layer(module: nn.Module) -> bool:
    """Whether a module computes what one of `KINDS` does."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in KINDS)


def _holders(modules: Iterable[nn.Module]) -> dict[nn.Parameter, list[Any]]:
    """The modules that have each parameter as their own."""
    holders: dict[nn.Parameter, list[Any]] = {}
    for module in modules:
        for p in module.parameters(recurse=False):
            if isinstance(p, nn.parameter.UninitializedParameter):
                raise ValueError("the model has parameters that are not initialised: run a forward pass first")
            holders.setdefault(p, []).append(module)
    return holders


def _alike(twin: Any, module: Any) -> bool:
    """Whether two layers apply the same weight alike."""
    modes = [getattr(m, "padding_mode", None) for m in (twin, module)]
    return twin.weight is module.weight and geometry_of(twin) == geometry_of(module) and modes[0] == modes[1]


def _owns_bias(module: Any, twins: Sequence[Any], holders: Mapping[nn.Parameter, list[Any]]) -> bool:
    """Whether a layer has a bias that all of its twins have, and nothing else."""
    bias = module.bias
    return bias is not None and {id(m) for m in holders[bias]} == {id(m) for m in twins}


def geometry_of(module: Any) -> Convolution | None:
    """The geometry of a convolution, in one dimension as in two with height 1; None for a linear layer."""
    if isinstance(module, nn.Linear):
        return None
    missing = 2 - len(module.kernel_size)
    kernel, stride, dilation = ((1,) * missing + side for side in (module.kernel_size, module.stride, module.dilation))
    if module.padding == "same":
        padding = same_padding(kernel, dilation)
    else:
        sides = (0,) * len(module.kernel_size) if module.padding == "valid" else module.padding
        above, beside = (0,) * missing + sides
        padding = (above, above), (beside, beside)
    return Convolution(kernel, stride, padding, dilation, module.groups)


def by_sample(module: Any, x: Tensor) -> Tensor:
    """A layer's inputs or outputs by sample: (samples, features), or (samples, channels, height, width)."""
    if isinstance(module, nn.Linear):
        return x.flatten(0, -2) if x.ndim > 1 else x[None]
    batched = x if x.ndim == len(module.kernel_size) + 2 else x[None]
    return batched if batched.ndim == 4 else batched[:, :, None]


def inputs_of(module: Any, x: Tensor, *, has_bias: bool) -> Inputs:
    """Inputs by sample as those of the layer's system; `has_bias` says whether the bias is in the system."""
    geometry = geometry_of(module)
    if geometry is None:
        return LinearInputs(cat([x, ones_like(x[:, :1])], 1) if has_bias else x)
    (top, bottom), (left, right) = geometry.padding
    if module.padding_mode != "zeros" or top != bottom or left != right:
        x = pad(x, (left, right, top, bottom), "constant" if module.padding_mode == "zeros" else module.padding_mode)
        geometry = replace(geometry, padding=((0, 0), (0, 0)))
    return ConvolutionInputs(x, geometry, has_bias)
