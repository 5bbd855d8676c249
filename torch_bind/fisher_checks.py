"""What Frog and KFrog refuse, before anything changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import StateDict

from stepgauge.reference import Rule

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def require_parameter(name: str, p: Any) -> None:
    """Refuse a parameter of a kind that is not stepped.

    Raises:
        ValueError: see there.
    """
    if not isinstance(p, Tensor):
        return  # torch's own error
    if isinstance(p, nn.parameter.UninitializedParameter):
        raise ValueError(f"{name} does not step parameters that are not initialised: run a forward pass first")
    if hasattr(p, "device_mesh"):
        raise ValueError(f"{name} does not step sharded parameters (DTensor): each rank sees samples of its own")
    if p.is_complex():
        raise ValueError(f"{name} does not step complex parameters: optimize torch.view_as_real of one instead")
    if p.dtype not in FLOATS:
        raise ValueError(f"{name} does not step parameters of {p.dtype}: use floating-point numbers")
    if p.layout is not torch.strided or p.device.type == "meta":
        where = "on meta" if p.device.type == "meta" else f"of {p.layout}"
        raise ValueError(f"{name} does not step parameters {where}: make them dense, on a device")


def require_steppable(name: str, params: Sequence[Tensor], state: Mapping[Tensor, Any], *, together: bool) -> None:
    """Refuse parameters that cannot be stepped along their gradients, or that are not what their state is of.

    Args:
        name: of the optimizer.
        params: each has a gradient.
        state: by parameter.
        together: whether they are one layer's.

    Raises:
        RuntimeError: see there.
    """
    for p in params:
        try:
            require_parameter(name, p)  # it may have been replaced
        except ValueError as error:
            raise RuntimeError(str(error)) from None
        g = p.grad
        if g is None or g.layout is not torch.strided:
            layout = None if g is None else g.layout
            raise RuntimeError(f"{name} does not step {layout} gradients: make them dense (sparse=False)")
        kept = {name: x for name, x in state.get(p, {}).items() if name != "step"}
        buffer = kept.get("momentum_buffer")
        if g.shape != p.shape or (buffer is not None and buffer.shape != p.shape):
            raise RuntimeError(
                f"a parameter has the shape {tuple(p.shape)}, and its gradient or state another: "
                "it was resized between steps; make a new optimizer"
            )
        if any(x.device != p.device for x in (g, *kept.values())):
            raise RuntimeError(
                f"a parameter is on {p.device}, and its gradient or state is not: it was moved between steps; "
                "load the optimizer's state_dict again"
            )
    if together and len({(p.dtype, p.device) for p in params}) > 1:
        kinds = " and ".join(f"{p.dtype} on {p.device}" for p in params)
        raise RuntimeError(f"weight and bias of a layer differ: {kinds}; put them into groups of their own")


def require_alone(name: str) -> None:
    """Refuse to step in one of several processes.

    Raises:
        RuntimeError: torch.distributed runs more than one.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        raise RuntimeError(
            f"{name} would step each of {distributed.get_world_size()} processes apart: each estimates from samples of "
            "its own. Pass allow_distributed=True if that is meant, or if you average the parameters yourself"
        )


def require_loadable(loaded: StateDict, groups: Sequence[Mapping[str, Any]], rule: type[Rule]) -> None:
    """Refuse a state_dict that is not of these parameters under this rule.

    Raises:
        ValueError: see there.
    """
    name, sizes = rule.__name__, [len(group["params"]) for group in groups]
    if sizes != [len(group["params"]) for group in loaded["param_groups"]]:
        raise ValueError(f"the state_dict has not groups of {sizes} parameters, as the optimizer has")
    for own, theirs in zip(groups, loaded["param_groups"], strict=True):
        if missing := [n for n in rule.hyperparameter_names() if n not in theirs]:
            raise ValueError(f"the state_dict is not of {name}: a group has no {', '.join(missing)}")
        for p, key in zip(own["params"], theirs["params"], strict=True):
            _require_state(loaded["state"].get(key, {}), p, name, rule.State._fields)


def _require_state(state: Mapping[str, Any], p: Tensor, name: str, fields: Sequence[str]) -> None:
    if unknown := [field for field in state if field not in fields]:
        raise ValueError(f"the state_dict is not of {name}: a parameter has {', '.join(unknown)}")
    if state and "step" not in state:
        raise ValueError("the state_dict is not whole: a parameter has no step")
    buffer = state.get("momentum_buffer")
    if buffer is not None and buffer.shape != p.shape:
        shapes = f"{tuple(buffer.shape)} for a parameter of {tuple(p.shape)}"
        raise ValueError(f"the state_dict is of other parameters: momentum_buffer of shape {shapes}")
