"""How one parameter is stepped: in place by the core where it can, and otherwise by the rule's function of tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stepgauge import core
from stepgauge.reference import Group, Rule

State = dict[str, Any]  # the fields of a rule's State by name; one that is None may be absent
Update = Callable[..., tuple[Any, ...]]  # (p, g, *state, **hyperparameters) -> (p, *state), pure


CORE = {optimizer.rule: optimizer for optimizer in core.OPTIMIZERS.values()}


def working_dtype(p: Tensor) -> torch.dtype:
    """The dtype of state and mathematics: float32 for parameters of less precision."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def step_parameter(rule: Rule, update: Update, p: Tensor, g: Tensor, state: State) -> None:
    """Step p along g, both of any dtype, layout and device; `state` is updated in place, and completed."""
    if fits_core(p, g, [state.get(name) for name in rule.State._fields if name != "step"]):
        step_in_core(rule, p, g, state)
    else:
        step_in_torch(rule, update, p, g, state)


def fits_core(p: Tensor, g: Tensor, moments: list[Tensor | None]) -> bool:
    """Whether the core can step these in place, without a copy."""
    tensors = [p, g, *(x for x in moments if x is not None)]
    return p.dtype in (torch.float32, torch.float64) and all(is_array(x) and x.dtype == p.dtype for x in tensors)


def is_array(x: Tensor) -> bool:
    """Whether x is this machine's memory, as NumPy can look at it; subclasses (DTensor, fake tensors) are not."""
    plain = type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu" and x.layout is torch.strided
    return plain and x.is_contiguous() and not x.is_neg()


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch gives it no type
def step_in_core(rule: Rule, p: Tensor, g: Tensor, state: State) -> None:
    before = rule.State(*(as_in_core(name, state.get(name)) for name in rule.State._fields))
    optimizer = CORE[type(rule)].from_groups([Group(rule, [0])], [p.detach().numpy()], [before])
    optimizer.step([g.detach().numpy()])
    (after,) = optimizer.states
    torch.autograd.graph.increment_version(p)  # autograd does not see what Cython writes
    for name, value in after._asdict().items():
        if name == "step":
            state[name].fill_(value)
        elif value is not None and state.get(name) is None:
            state[name] = torch.from_numpy(value)


def as_in_core(name: str, x: Tensor | None) -> Any:
    """A field of the state as the core has it: a view, not a copy."""
    if x is None:
        return None
    return int(x) if name == "step" else x.numpy()


def step_in_torch(rule: Rule, update: Update, p: Tensor, g: Tensor, state: State) -> None:
    """Mathematics in the working dtype; the parameter is rounded once, when it is stored."""
    dtype = working_dtype(p)
    names = rule.State._fields
    before = [state.get(name) for name in names]
    moved, *after = update(p.to(dtype), g.to(dtype), *before, **rule.hyperparameters())
    p.copy_(moved)
    for name, old, new in zip(names, before, after, strict=True):
        if new is not None:
            state[name] = (torch.empty_like(p, dtype=dtype) if old is None else old).copy_(new)
