"""What a parameter's state holds: how each field begins, and how one from a checkpoint is taken over."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from stepgauge.reference import Rule

State = dict[str, Any]  # a parameter's, by the names of the fields: tensors alone
Make = Callable[[Tensor, Any], Tensor]  # of a parameter and its rule, a field before the first step
Fields = Mapping[str, Make | None]  # in the order of the rule's function; None is not needed with these hyperparameters

STEP = "step"


def working_dtype(p: Tensor) -> torch.dtype:
    """The dtype of state and mathematics: float32 for parameters of less precision."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def counter(p: Tensor, rule: Rule) -> Tensor:
    """A count of steps as torch keeps it: shape (), float32, on the CPU wherever the parameter is."""
    return torch.zeros((), dtype=torch.float32, device="cpu")


def zeros(p: Tensor, rule: Rule) -> Tensor:
    """Zeros of p's shape and layout, in the dtype of the mathematics."""
    return torch.zeros_like(p, dtype=working_dtype(p))


def unset(p: Tensor, rule: Rule) -> Tensor:
    """Room for what the first step makes."""
    return torch.empty_like(p, dtype=working_dtype(p))


def missing(fields: Fields, record: Mapping[str, Any]) -> list[str]:
    """The fields that a state needs and does not have."""
    return [name for name, make in fields.items() if make is not None and name not in record]


def begun(rule: Rule, fields: Fields, p: Tensor, record: State, on_device: bool) -> State:
    """The fields that a state needs before a step and does not have; `on_device` says where to count."""
    new = {name: make(p.detach(), rule) for name in missing(fields, record) if (make := _first(fields[name]))}
    if STEP in new and on_device:
        new[STEP] = new[STEP].to(p.device)
    return new


def _first(make: Make | None) -> Make | None:
    return None if make is unset else make


def shape_of(make: Make | None, p: Tensor, rule: Rule) -> torch.Size:
    """The shape of a field."""
    if make in (None, zeros, unset):
        return p.shape
    assert make is not None
    key = make, p.shape, getattr(rule, "topC", None)
    if key not in _SHAPES:
        _SHAPES[key] = make(p.detach().to("meta"), rule).shape
    return _SHAPES[key]


_SHAPES: dict[tuple[Make, torch.Size, int | None], torch.Size] = {}  # of fields whose shape is not the parameter's


def taken_over(make: Make | None, value: Any, p: Tensor, rule: Rule, on_device: bool) -> Tensor:
    """A copy of a loaded field, laid out and in the dtype in which the first step would have made it."""
    if make is counter:
        return torch.tensor(float(value), dtype=torch.float32, device=p.device if on_device else "cpu")
    return (make or zeros)(p.detach(), rule).copy_(value)
