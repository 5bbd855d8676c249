"""Held-out wrong ports of SGD_C, RMSprop_C, Adam_C and AdamW_C; the docstrings state the mistakes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.critical import (
    Adam_CPort,
    AdamW_CPort,
    Buffer,
    CriticalPort,
    RMSprop_CPort,
    SGD_CPort,
)


class UnclonedPort(CriticalPort):
    """Holds the gradients that it is given, which is right as long as nothing else changes them."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        newest = buffer[-1] if buffer else None
        super().insert(buffer, key, g, group)
        if buffer and buffer[-1] is not newest:
            buffer[-1][1] = g


class SGD_CSharesFirstGradient(UnclonedPort, SGD_CPort):
    """Makes the gradient that the buffer holds the first momentum, which then changes it in place."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = d


class SGD_CMeanWithoutKappa(SGD_CPort):
    """Leaves kappa out of `mean` where the rule multiplies the sum of the buffer by it."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return super().aggregate_mean(g, kept, 1.0, group)


class SGD_CMidHalvesGradient(SGD_CPort):
    """Halves the gradient alone in `mid` where the rule halves the sum."""

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g / 2 + kappa * kept.mean(0)


class SGD_CCompoundsForgetting(SGD_CPort):
    """Multiplies the stored keys by decay^t in step t where the rule multiplies them by decay."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        state["t"] = self.t = state.get("t", 0) + 1
        return super().critical(state, g, key, group)

    def forget(self, buffer: Buffer, group: Group) -> None:
        super().forget(buffer, {**group, "decay": group["decay"] ** self.t})


class SGD_CLooksAheadFromGradient(SGD_CPort):
    """Looks ahead from the present gradient where the rule looks ahead from the aggregate."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        self.present = super().kept(p, group)
        return self.present

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return super().look_ahead(state, self.present, group)


class RMSprop_CAveragesTwice(RMSprop_CPort):
    """Updates the averages with the raw gradient and then with the aggregate where the rule does the latter."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.raw = self.decayed(p, p.grad, group)
        return super().gradient(p, key, group)

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, self.raw, group)
        super().averages(state, d, group)


class RMSprop_CBeatsNewest(RMSprop_CPort):
    """Asks a gradient to beat the key stored last where the rule asks it to beat the smallest."""

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return key > buffer[-1][0]


class RMSprop_CForgetsByAlpha(RMSprop_CPort):
    """Multiplies the keys by alpha where the rule multiplies them by decay."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        super().forget(buffer, {**group, "decay": group["alpha"]})


class RMSprop_CKappaTwice(RMSprop_CPort):
    """Multiplies by kappa what it stores and again what it aggregates where the rule does the latter."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        super().insert(buffer, key, group["kappa"] * g, group)


class RMSprop_CMedianInMid(RMSprop_CPort):
    """Takes the median of the buffer in `mid` where the rule takes its mean."""

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.median(0).values) / 2


class Adam_CSumKeepsEvicted(Adam_CPort):
    """Keeps a running sum of the buffer without subtracting what it evicts where the rule sums what it holds."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        total = state.setdefault("total", torch.zeros_like(g))
        u = self.aggregate(g, [total / len(buffer)] * len(buffer) if buffer else [], group)
        newest = buffer[-1] if buffer else None
        self.insert(buffer, key, g, group)
        if buffer and buffer[-1] is not newest:
            total.add_(g)
        self.forget(buffer, group)
        return u


class Adam_CFirstMomentOfRaw(Adam_CPort):
    """Averages the raw gradient in the first moment where both moments take the aggregate."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.raw = self.decayed(p, p.grad, group)
        return super().gradient(p, key, group)

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(self.raw, alpha=1 - beta1)
        self.square(state, d, beta2)


class Adam_CSumsOverElements(Adam_CPort):
    """Sums the buffer over its elements too, into one number, where the rule sums over its gradients."""

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.sum() / len(kept)

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum() / len(kept)) / 2

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum()) / (len(kept) + 1)


class Adam_CDecayInsideAggregate(Adam_CPort):
    """Adds the decay to the gradient before the aggregation where the rule adds it to the aggregate."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.decay = group["weight_decay"] * p
        return super().gradient(p, key, group)

    def aggregate(self, g: Tensor, kept: list[Tensor], group: Group) -> Tensor:
        return super().aggregate(g + self.decay, kept, group)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g if group["kappa"] else super().decayed(p, g, group)


class Adam_CDecaysFirstInPlace(UnclonedPort, Adam_CPort):
    """Adds the decay in place, and so to the first gradient in the buffer, where the rule stores it raw."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return p.grad.clone()

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add_(p, alpha=group["weight_decay"])


class AdamW_CKeepsOldKey(AdamW_CPort):
    """Replaces the gradient of the smallest key and leaves the key where the rule replaces both."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        before = list(buffer)
        super().insert(buffer, key, g, group)
        for old in before:
            if not any(item is old for item in buffer):
                buffer[-1][0] = old[0]


class AdamW_CSumCarriesOver(AdamW_CPort):
    """Goes on adding norms from group to group for the synced key where each group starts from zero."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        self.total = 0.0
        return super().step(closure)

    def pooled(self, norms: list[float]) -> float:
        self.total += super().pooled(norms)
        return self.total


class AdamW_CCountsNewGradient(AdamW_CPort):
    """Counts the buffer for `mean` after today's gradient has come in where the rule counts it before."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        held = min(len(kept) + 1, self.capacity(group))
        return (g + kappa * kept.sum(0)) / (held + 1)


class AdamW_CShrinksFromSecondStep(AdamW_CPort):
    """Leaves the weight unshrunk in the first step, which fills the buffer, where the rule always shrinks it."""

    def shrink(self, p: Tensor, group: Group) -> None:
        if self.state[p]["step"] > 1:
            super().shrink(p, group)


class AdamW_CCachesFullBuffer(AdamW_CPort):
    """Goes on aggregating what the buffer held when it first was full where the rule takes what it holds."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        kept = [gradient for _, gradient in buffer]
        if len(kept) == self.capacity(group):
            kept = state.setdefault("full", kept)
        u = self.aggregate(g, kept, group)
        self.insert(buffer, key, g, group)
        self.forget(buffer, group)
        return u


HELD_OUT = (
    SGD_CSharesFirstGradient,
    SGD_CMeanWithoutKappa,
    SGD_CMidHalvesGradient,
    SGD_CCompoundsForgetting,
    SGD_CLooksAheadFromGradient,
    RMSprop_CAveragesTwice,
    RMSprop_CBeatsNewest,
    RMSprop_CForgetsByAlpha,
    RMSprop_CKappaTwice,
    RMSprop_CMedianInMid,
    Adam_CSumKeepsEvicted,
    Adam_CFirstMomentOfRaw,
    Adam_CSumsOverElements,
    Adam_CDecayInsideAggregate,
    Adam_CDecaysFirstInPlace,
    AdamW_CKeepsOldKey,
    AdamW_CSumCarriesOver,
    AdamW_CCountsNewGradient,
    AdamW_CShrinksFromSecondStep,
    AdamW_CCachesFullBuffer,
)
