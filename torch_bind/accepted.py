"""What the optimizers accept, and in which words they refuse the rest, before anything changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stepgauge.reference import Rule
from stepgauge.torch_bind.state import Fields, shape_of


def require_parameters(optimizer: str, params: Sequence[Tensor]) -> None:
    """Refuse, at construction, what no step could step.

    Raises:
        TypeError: a parameter is not of floating-point numbers, one for each element.
        ValueError: a parameter is there twice.
    """
    require_once(params)
    for p in params:
        if p.is_complex():
            raise TypeError(f"{optimizer} does not step complex parameters: optimize torch.view_as_real of one instead")
        if p.layout is not torch.strided:
            raise TypeError(f"{optimizer} does not step {p.layout} parameters: make them dense")
        if p.is_quantized or not p.is_floating_point():
            raise TypeError(f"{optimizer} does not step {p.dtype} parameters: they have no gradient")


def require_once(params: Sequence[Tensor]) -> None:
    """Refuse a parameter that is there twice.

    Raises:
        ValueError: see there.
    """
    seen: dict[int, int] = {}
    for i, p in enumerate(params):
        if id(p) in seen:
            raise ValueError(f"Invalid params: parameter {i} is parameter {seen[id(p)]} again (must be in once)")
        seen[id(p)] = i


def require_steppable(
    optimizer: str, where: str, p: Tensor, rule: Rule, fields: Fields, record: Mapping[str, Any]
) -> None:
    """Refuse, in a step, what became unfit for it since the optimizer was built.

    Raises:
        RuntimeError: see the messages.
    """
    g = p.grad
    if g is None:
        return
    if p.is_complex() or not p.is_floating_point():
        raise RuntimeError(f"{optimizer} does not step {p.dtype} parameters ({where})")
    if p.device.type == "meta":
        raise RuntimeError(f"{optimizer} does not step parameters on the meta device ({where}): give them memory first")
    if g.layout is not torch.strided:
        raise RuntimeError(f"{optimizer} does not step {g.layout} gradients ({where}): make them dense (sparse=False)")
    if g.is_complex() or g.shape != p.shape or g.device != p.device:
        raise RuntimeError(
            f"{where} is {p.dtype} of {tuple(p.shape)} on {p.device}, its gradient {g.dtype} of {tuple(g.shape)} on "
            f"{g.device}: it was resized or moved since (zero_grad() and backward again)"
        )
    lr = rule.lr  # type: ignore[attr-defined]  # which every rule has
    if isinstance(lr, Tensor) and lr.device.type != "cpu" and lr.device != p.device:
        raise RuntimeError(f"lr is on {lr.device}, {where} on {p.device}: give the group a rate on its device")
    for name, x in record.items():
        expected = shape_of(fields.get(name), p, rule)
        if not isinstance(x, Tensor) or x.shape != expected:
            raise RuntimeError(
                f"{name} of {where} is {tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__}, not "
                f"{tuple(expected)}: the parameter was resized since, or a hyperparameter that its size depends on "
                "changed (delete the parameter's state to begin anew)"
            )
        if x.ndim and x.device != p.device:
            raise RuntimeError(f"{name} of {where} is on {x.device}, the parameter on {p.device}: it was moved since")


def require_together(optimizer: str, params: Sequence[Tensor]) -> None:
    """Refuse what cannot be pooled without one device waiting for another.

    Raises:
        RuntimeError: parameters are on several devices.
    """
    if len(devices := sorted({str(p.device) for p in params})) > 1:
        raise RuntimeError(f"{optimizer} pools over its parameters, which are on {', '.join(devices)}: must be on one")
