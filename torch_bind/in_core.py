"""Which tensors the core can step where they lie, and the plan over them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stepgauge import core
from stepgauge.core.tensors import Plan
from stepgauge.reference import Rule
from stepgauge.torch_bind.state import STEP, Fields, State

CORE = {optimizer.rule: optimizer for optimizer in core.OPTIMIZERS.values()}
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
PLAIN = (Tensor, torch.nn.Parameter)  # subclasses (DTensor, fake tensors) are more than their memory
AXES = 8
SHARE = 1 << 18  # elements that are worth a thread of their own

Member = tuple[Tensor, list[Tensor | None], Tensor | None, bool]  # see `core.tensors.Plan`


def fits(rule: Rule, p: Tensor, g: Tensor | None, fields: Fields, record: State, *, by_rows: bool) -> bool:
    """Whether the core can step a parameter in place, with this state as far as it is there.

    A rule that goes `by_rows` needs those one after the other; any other takes the axes in whatever order they lie.
    """
    if not (_is_memory(p) and p.dtype in DTYPES and p.ndim <= AXES and _is_dense(p)):
        return False
    if by_rows and p.ndim > 1 and p.shape[0] > 1 and p.stride(0) * p.shape[0] != p.numel():
        return False
    if g is not None and not (type(g) in PLAIN and g.device.type == "cpu" and g.dtype == p.dtype and _is_strided(g)):
        return False
    example = p.detach().to("meta")
    looked_at = [(make, record[name]) for name, make in fields.items() if make is not None and name in record]
    return all(_lies_as_made(x, make(example, rule)) for make, x in looked_at)


def _is_strided(x: Tensor) -> bool:
    return x.layout is torch.strided and not x.is_quantized


def _is_memory(x: Tensor) -> bool:
    """Whether a tensor is this machine's memory, its bits as they stand there."""
    plain = type(x) in PLAIN and x.device.type == "cpu" and _is_strided(x)
    return plain and not x.is_neg() and (x.numel() == 0 or (x.data_ptr() != 0 and x.data_ptr() % x.element_size() == 0))


def _is_dense(x: Tensor) -> bool:
    """Whether its elements lie side by side, in whatever order of the axes."""
    expected = 1
    for stride, length in sorted((s, n) for s, n in zip(x.stride(), x.shape, strict=True) if n != 1):
        if stride != expected:
            return x.numel() == 0
        expected *= length
    return True


def _lies_as_made(x: Any, made: Tensor) -> bool:
    """Whether a field has the shape, the dtype and the layout in which the first step would make it."""
    alike = isinstance(x, Tensor) and x.shape == made.shape and x.dtype == made.dtype
    return alike and _is_memory(x) and _strides(x) == _strides(made)


def _strides(x: Tensor) -> list[int]:
    """How far its elements lie apart, along the axes that have several."""
    return [s for s, n in zip(x.stride(), x.shape, strict=True) if n > 1] if x.numel() else []


def plan_of(
    rules: Sequence[Rule], groups: Sequence[Sequence[Tensor]], members: Sequence[Sequence[Member]], state: Any
) -> Plan | None:
    """The core's plan over parameters that fit; None if they share memory, of which one may not be stepped twice."""
    try:
        return Plan(CORE[type(rules[0])], rules, groups, members, state, _laid, Tensor.is_neg, PLAIN)
    except ValueError:
        return None


def _laid(p: Tensor, g: Tensor) -> Tensor | None:
    """A copy of a gradient, laid out as its parameter is."""
    if g.shape != p.shape or g.dtype != p.dtype or not _is_strided(g):
        return None
    return torch.empty_like(p).copy_(g)


def step(plan: Plan) -> None:
    plan.step(max(1, min(torch.get_num_threads(), plan.elements // SHARE)))
    torch.autograd.graph.increment_version(plan.moved)  # autograd does not see what the core writes


def member(p: Tensor, record: State, names: Sequence[str | None], started: bool) -> Member:
    """A parameter of a plan; `names` are the fields that the core's kernel looks at, in its order."""
    return p, [record.get(name) if name else None for name in names], record.get(STEP), started
