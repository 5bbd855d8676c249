"""The buffer of critical gradients in torch: see `stepgauge.reference.critical_buffer` for the mathematics.

Whether a gradient enters, and where, are tensors, not branches. A slot whose key is minus infinity is empty. `order`
lists the slots as the reference lists its entries: the oldest first, or the heap that is none, the empty ones last.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from stepgauge.reference import Rule
from stepgauge.torch_bind.in_torch import unsharded
from stepgauge.torch_bind.state import Fields, working_dtype, zeros

EMPTY = -math.inf


class Buffer(NamedTuple):
    """C gradients, and what is kept of them."""

    sum: Tensor  # of the gradients, as p
    gradients: Tensor  # shape (C, *p.shape), else as p; zeros where empty
    keys: Tensor  # shape (C,), float64, as the next
    norms: Tensor  # bounds on those of the gradients
    order: Tensor  # shape (C,), int64
    rounded: Tensor  # shape (1,), float64: what the core has rounded in the sum since it was taken


NAMES = tuple(f"critical_{name}" for name in Buffer._fields)


def _slots(p: Tensor, rule: Rule) -> Tensor:
    """Every slot is laid out as p is."""
    like, shape = torch.zeros_like(p, dtype=working_dtype(p)), (_capacity(rule), *p.shape)
    if hasattr(like, "full_tensor"):  # a DTensor
        return torch.stack([like] * _capacity(rule))
    return like.new_empty(0).new_empty_strided(shape, (p.numel(), *like.stride())).zero_()


def _no_keys(p: Tensor, rule: Rule) -> Tensor:
    return torch.full((_capacity(rule),), EMPTY, dtype=torch.float64, device=p.device)


def _per_slot(p: Tensor, rule: Rule) -> Tensor:
    return torch.zeros(_capacity(rule), dtype=torch.float64, device=p.device)


def _as_they_lie(p: Tensor, rule: Rule) -> Tensor:
    return torch.arange(_capacity(rule), dtype=torch.int64, device=p.device)


def _exact(p: Tensor, rule: Rule) -> Tensor:
    return torch.zeros(1, dtype=torch.float64, device=p.device)


def _capacity(rule: Rule) -> int:
    return rule.topC  # type: ignore[attr-defined]  # which critical rules have


# The fields of a parameter's state, and how each begins.
FIELDS: Fields = dict(zip(NAMES, (zeros, _slots, _no_keys, _per_slot, _as_they_lie, _exact), strict=True))


def norm(g: Tensor) -> Tensor:
    """The Euclidean norm, shape (), float64."""
    return unsharded((g * g).sum()).sqrt().double()


def aggregated(g: Tensor, buffer: Buffer, aggr: str, kappa: float, dialect: str) -> Tensor:
    """The gradient with those in the buffer."""
    if kappa == 0:
        return g
    size = (buffer.keys != EMPTY).sum()
    n = size.clamp(min=1).to(g.dtype)
    if dialect == "released_eff":
        return torch.where(size > 0, g + buffer.sum / n, g)
    with_mean = g + kappa * (buffer.sum / n)
    all_over = {"sum": with_mean, "mid": with_mean / 2, "mean": (g + kappa * buffer.sum) / (n + 1)}
    return torch.where(size > 0, all_over[aggr], g)


def inserted(buffer: Buffer, key: Tensor, g: Tensor, weight: Tensor, decay: float, dialect: str) -> Buffer:
    """The buffer once a gradient has entered, or not, and the keys have decayed."""
    find = {"published": _weakest_of_all, "released": _first_of_the_heap, "released_eff": _first_smallest}
    slot, order, enters, evicts = find[dialect](buffer, key)
    total, evicted = buffer.sum, _row(buffer.gradients, slot)
    gradients = _put(buffer.gradients, slot, torch.where(enters, g, evicted))
    if dialect == "released_eff":
        total = torch.where(enters, torch.where(evicts, total + g - evicted, total + g), total)
    else:
        total = gradients.sum(0)
    is_new = (torch.arange(len(order), device=order.device) == slot) & enters
    keys = torch.where(is_new, key, buffer.keys) * decay
    norms = torch.where(is_new, weight, buffer.norms)
    return Buffer(total, gradients, keys, norms, order, torch.zeros_like(buffer.rounded))


Found = tuple[Tensor, Tensor, Tensor, Tensor]  # the slot, the order, whether a gradient enters, whether one leaves


def _weakest_of_all(buffer: Buffer, key: Tensor) -> Found:
    """The smallest key's gradient leaves, of equals the newest, and the new one comes last."""
    listed, size, full, at = _listed(buffer)
    last = len(listed) - 1
    weakest = last - listed.flip(0).argmin()
    enters = key.isfinite() & (full.logical_not() | (_pick(listed, weakest) < key))
    place = torch.where(full, weakest, size)
    evicts = full & enters
    moved_up = torch.where(at == last, place, at + (at >= place))
    return _pick(buffer.order, place), buffer.order.gather(0, torch.where(evicts, moved_up, at)), enters, evicts


def _first_smallest(buffer: Buffer, key: Tensor) -> Found:
    """The first of the smallest keys is overwritten; NaN counts as the smallest, and is never overwritten."""
    listed, size, full, _ = _listed(buffer)
    weakest = listed.argmin()
    enters = full.logical_not() | (_pick(listed, weakest) < key)
    return torch.where(full, weakest, size), buffer.order, enters, full & enters


def _first_of_the_heap(buffer: Buffer, key: Tensor) -> Found:
    """What leaves is the smallest of one too many; who may enter is up to the first, which need not be."""
    listed, size, full, _ = _listed(buffer)
    capacity = len(listed)
    refused = full & (_first(listed) < key).logical_not()
    counted = size + (key >= 0)
    at = torch.arange(capacity + 1, device=listed.device)
    heap = torch.where(at == size, key, torch.cat([listed, listed.narrow(0, 0, 1)]))
    owners = torch.where(at == size, capacity, torch.cat([buffer.order, buffer.order.narrow(0, 0, 1)]))
    for start in reversed(range((capacity + 1) // 2)):
        heap, owners = _sunk(heap, owners, counted, start)
    evicts = counted > capacity
    slot = torch.where(evicts, _first(owners), _pick(buffer.order, size.clamp(max=capacity - 1)))
    kept = torch.where(evicts, owners.narrow(0, 1, capacity), owners.narrow(0, 0, capacity))
    order = torch.where(kept == capacity, slot, kept)
    enters = refused.logical_not() & (key >= 0)
    return slot.clamp(max=capacity - 1), torch.where(refused, buffer.order, order), enters, evicts & enters


def _sunk(heap: Tensor, owners: Tensor, counted: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """One entry of a heap sinks below every smaller child that is not larger, as `heapq` has it."""
    at = torch.arange(len(heap), device=heap.device)
    place = torch.full_like(counted, start)
    for _ in range((len(heap) // (start + 1)).bit_length()):
        left, right = 2 * place + 1, 2 * place + 2
        first, second, own = _pick(heap, left), _pick(heap, right), _pick(heap, place)
        child = torch.where((right < counted) & (first < second).logical_not(), right, left)
        sinks = (child < counted) & (_pick(heap, child) <= own)
        swapped = torch.where(at == place, child, torch.where(at == child, place, at))
        swapped = torch.where(sinks, swapped, at).clamp(max=len(heap) - 1)
        heap, owners, place = heap.gather(0, swapped), owners.gather(0, swapped), torch.where(sinks, child, place)
    return heap, owners


def _listed(buffer: Buffer) -> Found:
    """The keys in order, how many there are, whether that is all, and the places in the list."""
    listed = buffer.keys.gather(0, buffer.order)
    size = (listed != EMPTY).sum()
    return listed, size, size == len(listed), torch.arange(len(listed), device=listed.device)


def _first(x: Tensor) -> Tensor:
    return x.narrow(0, 0, 1).squeeze(0)


def _pick(x: Tensor, at: Tensor) -> Tensor:
    """The entry at a place that is a tensor; the last one beyond the end."""
    return x.gather(0, at.clamp(max=len(x) - 1).view(1)).squeeze(0)


def _row(rows: Tensor, slot: Tensor) -> Tensor:
    if hasattr(rows, "full_tensor"):  # a DTensor, which takes numbers that are tensors, and no vectors of them
        kept = [torch.where(slot == c, row, 0) for c, row in enumerate(rows.unbind(0))]
        return torch.stack(kept).sum(0)
    return rows.index_select(0, slot.view(1)).squeeze(0)


def _put(rows: Tensor, slot: Tensor, row: Tensor) -> Tensor:
    if hasattr(rows, "full_tensor"):
        return torch.stack([torch.where(slot == c, row, old) for c, old in enumerate(rows.unbind(0))])
    return rows.index_copy(0, slot.view(1), row.unsqueeze(0))
