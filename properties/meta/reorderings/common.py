"""Sums in other orders, and other precisions and layouts in which a whole port can be run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from stepgauge.properties.meta.misreadings.adamp import Group, State

Sum = Callable[[Tensor], Tensor]
Tensors = list[Tensor]


def reversed_sum(x: Tensor) -> Tensor:
    total = x.new_zeros(x.shape[0])
    for column in x.flip(1).unbind(1):
        total = total + column
    return total


def double_sum(x: Tensor) -> Tensor:
    return x.sum(dim=1, dtype=torch.float64).to(x.dtype)


def chunked_sum(x: Tensor) -> Tensor:
    return torch.stack([part.sum(dim=1) for part in x.split(3, dim=1)]).sum(dim=0)


def pairwise_sum(x: Tensor) -> Tensor:
    while x.shape[1] > 1:
        half = x.shape[1] // 2
        x = torch.cat([x[:, :half] + x[:, half : 2 * half], x[:, 2 * half :]], dim=1)
    return x.sum(dim=1)


def running_sum(x: Tensor) -> Tensor:
    return x.cumsum(dim=1)[:, -1] if x.shape[1] else x.sum(dim=1)


def scaled_length(x: Tensor) -> Tensor:
    """The norms of the rows, each taken after division by the row's largest entry."""
    largest = x.abs().amax(dim=1, keepdim=True)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    return (x / largest).square().sum(dim=1).sqrt() * largest[:, 0]


def weighted(coefficients: tuple[float, ...], terms: tuple[Tensor, ...]) -> Tensor:
    """The sum of the terms as a product of a matrix and a vector."""
    matrix = torch.stack([term.reshape(-1) for term in terms], dim=1)
    return (matrix @ matrix.new_tensor(coefficients)).reshape(terms[0].shape)


def mixed(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The sum a + weight * b, from the point between them."""
    return a.lerp(b, weight / (1 + weight)) * (1 + weight)


class InDouble(Optimizer):
    """Runs the port in double precision, states and all, and rounds the weights alone."""

    def step_group(self, group: Group, params: Tensors) -> None:
        with self.widened(params) as wide:
            super().step_group(group, wide)

    def step_pairs(self, pairs: list[tuple[Tensor, Group]]) -> None:
        with self.widened([p for p, _ in pairs]) as wide:
            super().step_pairs([(w, group) for w, (_, group) in zip(wide, pairs, strict=True)])

    @contextmanager
    def widened(self, params: Tensors) -> Iterator[Tensors]:
        wide = [self.weight_of(p) for p in params]
        for w, p in zip(wide, params, strict=True):
            w.grad = p.grad.double()
            self.open(self.state[p])
            self.state[w] = self.state[p]
        yield wide
        for w, p in zip(wide, params, strict=True):
            p.copy_(w)
            self.close_state(self.state.pop(w), w, p)

    def weight_of(self, p: Tensor) -> Tensor:
        return p.detach().to(torch.float64, copy=True)

    def open(self, state: State) -> None:
        pass

    def close_state(self, state: State, wide: Tensor, p: Tensor) -> None:
        pass


class ThroughDouble(InDouble):
    """Computes each step in double precision, and rounds the weights and all states after it."""

    def open(self, state: State) -> None:
        state.update(tree_map_only(Tensor, lambda t: t.double(), dict(state)))

    def close_state(self, state: State, wide: Tensor, p: Tensor) -> None:
        state.update(tree_map_only(Tensor, lambda t: t.to(p.dtype), dict(state)))


class DoubleWeights(InDouble):
    """Keeps a copy of the weights in double precision, which the weights are rounded from."""

    def weight_of(self, p: Tensor) -> Tensor:
        kept = self.state[p].pop("weight", None)
        return super().weight_of(p) if kept is None or not torch.equal(kept.to(p.dtype), p) else kept

    def close_state(self, state: State, wide: Tensor, p: Tensor) -> None:
        state["weight"] = wide


class Flattened(Optimizer):
    """Steps all parameters of a group that have the same counters as one vector."""

    def step_group(self, group: Group, params: Tensors) -> None:
        with self.flat([(p, group) for p in params]) as pairs:
            for vector, _ in pairs:
                super().step_group(group, [vector])

    def step_pairs(self, pairs: list[tuple[Tensor, Group]]) -> None:
        with self.flat(pairs) as vectors:
            super().step_pairs(vectors)

    @contextmanager
    def flat(self, pairs: list[tuple[Tensor, Group]]) -> Iterator[list[tuple[Tensor, Group]]]:
        alike: dict[Any, list[tuple[Tensor, Group]]] = {}
        for p, group in pairs:
            alike.setdefault((id(group), p.dtype, self.counters(p)), []).append((p, group))
        vectors = [(self.joined([p for p, _ in some]), some[0][1]) for some in alike.values()]
        yield vectors
        for (vector, _), some in zip(vectors, alike.values(), strict=True):
            self.take_apart(vector, [p for p, _ in some])

    def counters(self, p: Tensor) -> tuple[Any, ...]:
        """The names of the states, and the values of those that are no tensors."""
        return tuple((name, None if isinstance(x, Tensor) else x) for name, x in self.state[p].items())

    def joined(self, params: Tensors) -> Tensor:
        vector = torch.cat([p.detach().reshape(-1) for p in params])
        vector.grad = torch.cat([p.grad.reshape(-1) for p in params])
        states = [self.state[p] for p in params]
        self.state[vector] = {
            name: torch.cat([state[name].reshape(-1) for state in states]) if isinstance(x, Tensor) else x
            for name, x in states[0].items()
        }
        return vector

    def take_apart(self, vector: Tensor, params: Tensors) -> None:
        sizes = [p.numel() for p in params]
        for p, part in zip(params, vector.split(sizes), strict=True):
            p.copy_(part.reshape(p.shape))
        for name, x in self.state.pop(vector).items():
            parts = x.split(sizes) if isinstance(x, Tensor) else [x] * len(params)
            for p, part in zip(params, parts, strict=True):
                self.state[p][name] = part.clone().reshape(p.shape) if isinstance(x, Tensor) else part
