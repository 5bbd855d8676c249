"""SGD_C, RMSprop_C, Adam_C and AdamW_C as published, and wrong ports of them.

`SGD_CPort`, `RMSprop_CPort`, `Adam_CPort` and `AdamW_CPort` compute the rules. Every other
optimizer here overrides one small piece of one of them and thereby computes something else; its
docstring states the misreading.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings import baselines
from stepgauge.properties.meta.misreadings.adamp import Group, State

Buffer = list[list[Any]]  # of [key, gradient]


class CriticalPort(baselines.PlainPort):
    """The buffer: the topC gradients of the largest decayed norms, and their aggregation."""

    def set_critical(self, **critical: Any) -> None:
        self.defaults.update(critical)
        for group in self.param_groups:
            for name, value in critical.items():
                group.setdefault(name, value)

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p, key in zip(params, self.keys(params, group), strict=True):
            self.update(p, self.gradient(p, key, group), group)

    def keys(self, params: list[Tensor], group: Group) -> list[float]:
        norms = [self.norm(p, group) for p in params]
        return [self.pooled(norms)] * len(params) if group["synced"] else norms

    def norm(self, p: Tensor, group: Group) -> float:
        return p.grad.norm().item()

    def pooled(self, norms: list[float]) -> float:
        return sum(norms)

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        """What takes the place of the gradient."""
        g = self.kept(p, group)
        return self.critical(self.state[p], g, key, group) if group["kappa"] else g

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return p.grad

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        u = self.aggregate(g, [kept for _, kept in buffer], group)
        self.insert(buffer, key, g, group)
        self.forget(buffer, group)
        return u

    def aggregate(self, g: Tensor, kept: list[Tensor], group: Group) -> Tensor:
        if not kept:
            return g
        return getattr(self, "aggregate_" + group["aggr"])(g, torch.stack(kept), group["kappa"], group)

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.mean(0)

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.mean(0)) / 2

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum(0)) / (len(kept) + 1)

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        if not math.isfinite(key):
            return
        if len(buffer) >= self.capacity(group):
            if not self.worthy(key, buffer):
                return
            del buffer[self.evicted(buffer)]
        buffer.append([key, g.clone()])

    def capacity(self, group: Group) -> int:
        return group["topC"]

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return key > min(held for held, _ in buffer)

    def evicted(self, buffer: Buffer) -> int:
        return min(range(len(buffer)), key=lambda i: (buffer[i][0], -i))

    def forget(self, buffer: Buffer, group: Group) -> None:
        for item in buffer:
            item[0] *= group["decay"]


class SGD_CPort(CriticalPort, baselines.SGDPort):
    """The published rule: the decayed gradient is kept under the norm of the raw one."""

    rule = "sgd_c"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        kappa: float = 1.0,
        dampening: float = 0.0,
        weight_decay: float = 0,
        momentum: float = 0.0,
        decay: float = 0.7,
        topC: int = 10,
        aggr: str = "sum",
        synced: bool = True,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov)
        self.set_critical(kappa=kappa, decay=decay, topC=topC, aggr=aggr, synced=synced)

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return super().decayed(p, p.grad, group)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g


class SGD_CStoresFirst(SGD_CPort):
    """Stores the gradient before the aggregation where the rule aggregates with the buffer before."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        self.insert(buffer, key, g, group)
        u = self.aggregate(g, [kept for _, kept in buffer], group)
        self.forget(buffer, group)
        return u


class SGD_CAggregatesFirstGradient(SGD_CPort):
    """Aggregates the first gradient with itself where the rule takes it as it is."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        first = not state.get("critical")
        u = super().critical(state, g, key, group)
        return self.aggregate(g, [g], group) if first else u


class SGD_CStoresAggregate(SGD_CPort):
    """Stores the aggregated gradient where the rule stores the present one."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        super().insert(buffer, key, self.aggregate(g, [kept for _, kept in buffer], group), group)


class SGD_CStoresRawGradient(SGD_CPort):
    """Stores the raw gradient and adds the decay to the aggregate where the rule stores the decayed one."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return p.grad

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=group["weight_decay"])


class SGD_CDecoupledDecay(SGD_CPort):
    """Shrinks the weight apart from the buffer where the rule adds the decay to the gradient."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return p.grad


class SGD_CKeyOfDecayed(SGD_CPort):
    """Takes the norm of the decayed gradient for the key where the rule takes that of the raw one."""

    def norm(self, p: Tensor, group: Group) -> float:
        return self.kept(p, group).norm().item()


class SGD_CKeyOfAggregate(SGD_CPort):
    """Takes the norm of the parameter's aggregate for the key where the rule takes the gradients'."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        u = self.aggregate(g, [kept for _, kept in state.get("critical", [])], group)
        return super().critical(state, g, u.norm().item(), group)


class SGD_CSquaredKeys(SGD_CPort):
    """Takes squared norms for keys where the rule takes the norms."""

    def norm(self, p: Tensor, group: Group) -> float:
        return super().norm(p, group) ** 2


class SGD_CNormOfAll(SGD_CPort):
    """Takes the norm of all gradients together for the synced key where the rule adds their norms."""

    def pooled(self, norms: list[float]) -> float:
        return math.hypot(*norms)


class SGD_CLargestNorm(SGD_CPort):
    """Takes the largest of the norms for the synced key where the rule adds them."""

    def pooled(self, norms: list[float]) -> float:
        return max(norms, default=0.0)


class SGD_CFirstKeyForAll(SGD_CPort):
    """Takes the norm of the first parameter for the synced key where the rule adds all norms."""

    def pooled(self, norms: list[float]) -> float:
        return next(iter(norms), 0.0)


class SGD_CAddsBufferSum(SGD_CPort):
    """Adds the sum of the buffer in `sum` where the rule adds its mean."""

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.sum(0)


class SGD_CMidWeightedByKappa(SGD_CPort):
    """Divides `mid` by 1 + kappa where the rule divides it by 2."""

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.mean(0)) / (1 + kappa)


class SGD_CKappaOnAll(SGD_CPort):
    """Multiplies the whole aggregate by kappa where the rule multiplies the buffer alone."""

    def aggregate(self, g: Tensor, kept: list[Tensor], group: Group) -> Tensor:
        return group["kappa"] * super().aggregate(g, kept, {**group, "kappa": 1.0})


class SGD_CEvictsOldest(SGD_CPort):
    """Evicts the oldest gradient where the rule evicts the one of the smallest key."""

    def evicted(self, buffer: Buffer) -> int:
        return 0


class SGD_CNeverForgets(SGD_CPort):
    """Leaves the keys undecayed."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        pass


class SGD_CDecaysGradients(SGD_CPort):
    """Decays the stored gradients along with their keys where the rule decays the keys alone."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        super().forget(buffer, group)
        for item in buffer:
            item[1] *= group["decay"]


class SGD_CBeatsLargest(SGD_CPort):
    """Asks a gradient to beat the largest key where the rule asks it to beat the smallest."""

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return key > max(held for held, _ in buffer)


class SGD_CMomentumFirst(SGD_CPort):
    """Aggregates the momentum with the buffer where the rule accumulates the aggregates."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.key = key
        return self.kept(p, group)

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        u = super().direction(state, d, group)
        if not group["kappa"]:
            return u
        aggregate = self.aggregate(u, [kept for _, kept in state.get("critical", [])], group)
        self.critical(state, d, self.key, group)
        return aggregate


class SGD_CDampensFirst(SGD_CPort, baselines.SGDDampensFirst):
    """Dampens the first aggregate too where the rule starts the buffer with all of it."""


class SGD_CNeverDampens(SGD_CPort, baselines.SGDNeverDampens):
    """Adds the aggregate to the momentum in full where the rule dampens it."""


class SGD_CAveragedMomentum(SGD_CPort, baselines.SGDAveragedMomentum):
    """Weighs the new aggregate by 1 - momentum where the rule weighs it by 1 - dampening."""


class SGD_CFirstGroupForAll(SGD_CPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class RMSprop_CPort(CriticalPort, baselines.RMSpropPort):
    """The published rule: the raw gradient is kept and the decay added to the aggregate."""

    rule = "rmsprop_c"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        aggr: str = "mean",
        synced: bool = True,
    ) -> None:
        super().__init__(params, lr, alpha, eps, weight_decay, momentum, centered)
        self.set_critical(kappa=kappa, decay=decay, topC=topC, aggr=aggr, synced=synced)


class RMSprop_CMeanOfNorms(RMSprop_CPort):
    """Takes the mean of the norms for the synced key where the rule takes their sum."""

    def pooled(self, norms: list[float]) -> float:
        return sum(norms) / max(len(norms), 1)


class RMSprop_CPoolsAllGroups(RMSprop_CPort):
    """Adds the norms of all groups for the synced key where the rule adds those of the group."""

    def keys(self, params: list[Tensor], group: Group) -> list[float]:
        if not group["synced"]:
            return super().keys(params, group)
        everyone = [p for other in self.param_groups for p in other["params"] if p.grad is not None]
        return super().keys(everyone, group)[: len(params)]


class RMSprop_CNeverSynced(RMSprop_CPort):
    """Gives each parameter its own key where the rule pools the norms of the group when asked to."""

    def keys(self, params: list[Tensor], group: Group) -> list[float]:
        return super().keys(params, {**group, "synced": False})


class RMSprop_CAlwaysSynced(RMSprop_CPort):
    """Pools the norms of the group whatever `synced` says."""

    def keys(self, params: list[Tensor], group: Group) -> list[float]:
        return super().keys(params, {**group, "synced": True})


class RMSprop_CNormsSoFar(RMSprop_CPort):
    """Adds up the norms of the parameters visited so far, in one loop, where the rule needs two."""

    def keys(self, params: list[Tensor], group: Group) -> list[float]:
        if not group["synced"]:
            return super().keys(params, group)
        return [super(RMSprop_CNormsSoFar, self).keys(params[: i + 1], group)[-1] for i in range(len(params))]


class RMSprop_CRootMeanSquareKeys(RMSprop_CPort):
    """Takes the root of the mean square for the norm where the rule takes that of the sum."""

    def norm(self, p: Tensor, group: Group) -> float:
        return super().norm(p, group) / math.sqrt(max(p.numel(), 1))


class RMSprop_CAbsoluteKeys(RMSprop_CPort):
    """Takes the sum of the absolute values for the norm where the rule takes the Euclidean norm."""

    def norm(self, p: Tensor, group: Group) -> float:
        return p.grad.abs().sum().item()


class RMSprop_CDividesByHeld(RMSprop_CPort):
    """Divides `mean` by the number held where the rule counts the present gradient too."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum(0)) / len(kept)


class RMSprop_CDividesByCapacity(RMSprop_CPort):
    """Divides `mean` by topC + 1 where the rule divides by the number held and one."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum(0)) / (group["topC"] + 1)


class RMSprop_CMeanOfMean(RMSprop_CPort):
    """Adds the buffer's mean in `mean` where the rule adds its sum before the division."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.mean(0)) / (len(kept) + 1)


class RMSprop_CSquareOfRaw(RMSprop_CPort):
    """Averages the square of the raw gradient where the rule averages that of the aggregate."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.raw = self.decayed(p, p.grad, group)
        return super().gradient(p, key, group)

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, self.raw, group)


class RMSprop_CAggregatesQuotients(RMSprop_CPort):
    """Keeps and aggregates the quotients where the rule does the gradients before the division."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.key = key
        return p.grad

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        u = d / self.denominator(state, group)
        if group["kappa"]:
            u = self.critical(state, u, self.key, group)
        return self.accumulate(state, u, group) if group["momentum"] > 0 else u


class RMSprop_CStoresDecayed(RMSprop_CPort):
    """Stores the decayed gradient, as SGD_C does, where the rule stores the raw one."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return super().decayed(p, p.grad, group)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g


class RMSprop_CStoresEverything(RMSprop_CPort):
    """Puts every gradient in place of the smallest key where the rule asks it to be larger."""

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return True


class RMSprop_CForgetsWhenStoring(RMSprop_CPort):
    """Decays the keys in those steps alone that store a gradient where the rule does in every step."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        self.stored = len(buffer) < self.capacity(group) or self.worthy(key, buffer)
        super().insert(buffer, key, g, group)

    def forget(self, buffer: Buffer, group: Group) -> None:
        if self.stored:
            super().forget(buffer, group)


class RMSprop_CForgetsWhenFull(RMSprop_CPort):
    """Decays the keys once the buffer is full where the rule does from the first step."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        if len(buffer) >= self.capacity(group):
            super().forget(buffer, group)


class RMSprop_CEpsInsideRoot(RMSprop_CPort, baselines.RMSpropEpsInsideRoot):
    """Adds eps under the square root where the rule adds it to the root."""


class RMSprop_CMomentumFirst(RMSprop_CPort, baselines.RMSpropMomentumFirst):
    """Accumulates the aggregates and divides the sum where the rule accumulates the quotients."""


class RMSprop_CDecoupledDecay(RMSprop_CPort, baselines.RMSpropDecoupledDecay):
    """Shrinks the weight apart from the averages where the rule adds the decay to the aggregate."""


class RMSprop_CCorrectsBias(RMSprop_CPort, baselines.RMSpropCorrectsBias):
    """Corrects the bias of the average square where the rule leaves it."""


class RMSprop_CCentresEachSquare(RMSprop_CPort, baselines.RMSpropCentresEachSquare):
    """Averages the squared distance from the mean where the rule subtracts the squared mean."""


class Adam_CPort(CriticalPort, baselines.AdamPort):
    """The published rule: the aggregate takes the gradient's place in both moments."""

    rule = "adam_c"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 0,
        amsgrad: bool = False,
        aggr: str = "mean",
        synced: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
        self.set_critical(kappa=kappa, decay=decay, topC=topC, aggr=aggr, synced=synced)


class Adam_COneMore(Adam_CPort):
    """Holds topC + 1 gradients where the rule holds topC."""

    def capacity(self, group: Group) -> int:
        return group["topC"] + 1


class Adam_CKeepsLatest(Adam_CPort):
    """Holds the last topC gradients where the rule holds those of the largest decayed norms."""

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return True

    def evicted(self, buffer: Buffer) -> int:
        return 0


class Adam_CSquareOfRaw(Adam_CPort):
    """Averages the square of the raw gradient where both moments take the aggregate."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.raw = p.grad
        return super().gradient(p, key, group)

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        super().square(state, self.raw, beta2)


class Adam_CMomentOfRaw(Adam_CPort):
    """Aggregates the first moment of the raw gradients where the rule takes the moment of aggregates."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.key, self.raw = key, p.grad
        return p.grad

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        if group["kappa"]:
            moment = self.aggregate(state["exp_avg"], [kept for _, kept in state.get("critical", [])], group)
            self.critical(state, self.raw, self.key, group)
            u = moment / self.denominator(state, group)
        super().move(p, u, state, group)


class Adam_CNoBypass(Adam_CPort):
    """Aggregates with kappa = 0 too, dividing by 2 or by the number held and one, as Adam does not."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        return self.critical(self.state[p], self.kept(p, group), key, group)


class Adam_CSparesNewKey(Adam_CPort):
    """Decays the keys before it stores the new one where the rule decays the new one at once too."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        before = [id(item) for item in buffer]
        super().insert(buffer, key, g, group)
        super().forget([item for item in buffer if id(item) in before], group)

    def forget(self, buffer: Buffer, group: Group) -> None:
        pass


class Adam_CForgetsEveryCall(Adam_CPort):
    """Decays the keys of a parameter without gradient too where the rule leaves it alone."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in group["params"]:
            if p.grad is None and self.state[p].get("critical"):
                self.forget(self.state[p]["critical"], group)
        super().step_group(group, params)


class Adam_CMeanOverCapacity(Adam_CPort):
    """Divides the buffer's sum by topC in `sum` and `mid` where the rule divides by the number held."""

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.sum(0) / group["topC"]

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return self.aggregate_sum(g, kept, kappa, group) / 2


class Adam_CMidForgetsHalf(Adam_CPort):
    """Leaves `mid` undivided where the rule halves it."""

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.mean(0)


class Adam_CMeanWeightedByKappa(Adam_CPort):
    """Divides `mean` by the sum of its weights where the rule divides by the number of gradients."""

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum(0)) / (1 + kappa * len(kept))


class Adam_CKappaOnGradient(Adam_CPort):
    """Multiplies the present gradient by kappa where the rule multiplies the buffer."""

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return super().aggregate_sum(kappa * g, kept, 1.0, group)

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return super().aggregate_mid(kappa * g, kept, 1.0, group)

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return super().aggregate_mean(kappa * g, kept, 1.0, group)


class Adam_CStoresUnits(Adam_CPort):
    """Stores the gradient divided by its key where the rule stores it as it is."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        super().insert(buffer, key, g / key if key else g, group)


class Adam_CSquaredKeys(Adam_CPort):
    """Takes the sum of squares for keys where the rule takes the norms."""

    def norm(self, p: Tensor, group: Group) -> float:
        return super().norm(p, group) ** 2


class Adam_CStoresDecayed(Adam_CPort):
    """Stores the decayed gradient, as SGD_C does, where the rule stores the raw one."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return super().decayed(p, p.grad, group)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g


class Adam_CNoSecondCorrection(Adam_CPort, baselines.AdamNoSecondCorrection):
    """Leaves the bias of the second moment uncorrected."""


class Adam_CEpsBeforeCorrection(Adam_CPort, baselines.AdamEpsBeforeCorrection):
    """Adds eps before the bias correction of the denominator where the rule adds it after."""


class Adam_CMaximumOfCorrected(Adam_CPort, baselines.AdamMaximumOfCorrected):
    """Takes AMSGrad's maximum of the corrected moments where the rule takes it before the correction."""


class Adam_CDecoupledDecay(Adam_CPort, baselines.AdamDecoupledDecay):
    """Shrinks the weight apart from the moments where the rule adds the decay to the aggregate."""


class Adam_CCountsFromSecond(Adam_CPort):
    """Starts the moments with the second gradient, the first just filling the buffer."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if group["kappa"] == 0 or state.get("filled"):
            super().update(p, g, group)
        state["filled"] = True


class AdamW_CPort(CriticalPort, baselines.AdamWPort):
    """The published rule: the weight is shrunk first, and the raw gradient kept."""

    rule = "adamw_c"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        aggr: str = "mean",
        synced: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
        self.set_critical(kappa=kappa, decay=decay, topC=topC, aggr=aggr, synced=synced)


class AdamW_CStoresFirst(AdamW_CPort):
    """Stores the gradient before the aggregation where the rule aggregates with the buffer before."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        self.insert(buffer, key, g, group)
        u = self.aggregate(g, [kept for _, kept in buffer], group)
        self.forget(buffer, group)
        return u


class AdamW_CStoresAggregate(AdamW_CPort):
    """Stores the aggregated gradient where the rule stores the present one."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        super().insert(buffer, key, self.aggregate(g, [kept for _, kept in buffer], group), group)


class AdamW_CStoresDecayed(AdamW_CPort):
    """Adds the decay to the gradients in the buffer too where the rule shrinks the weight alone."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return p.grad.add(p, alpha=group["weight_decay"])


class AdamW_CKeyOfDecayed(AdamW_CPort):
    """Takes the norm of the gradient and its decay for the key where the rule takes the raw norm."""

    def norm(self, p: Tensor, group: Group) -> float:
        return p.grad.add(p, alpha=group["weight_decay"]).norm().item()


class AdamW_CNeverForgets(AdamW_CPort):
    """Leaves the keys undecayed."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        pass


class AdamW_CSharedForgetting(AdamW_CPort):
    """Decays each parameter's keys once per parameter of the group where the rule does once per step."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        self.times = len(params)
        super().step_group(group, params)

    def forget(self, buffer: Buffer, group: Group) -> None:
        for _ in range(self.times):
            super().forget(buffer, group)


class AdamW_CForgetsComplement(AdamW_CPort):
    """Multiplies the keys by 1 - decay where the rule multiplies them by decay."""

    def forget(self, buffer: Buffer, group: Group) -> None:
        super().forget(buffer, {**group, "decay": 1 - group["decay"]})


class AdamW_CEvictsOldest(AdamW_CPort):
    """Evicts the oldest gradient where the rule evicts the one of the smallest key."""

    def evicted(self, buffer: Buffer) -> int:
        return 0


class AdamW_CEvictsLargest(AdamW_CPort):
    """Evicts the largest key where the rule evicts the smallest."""

    def evicted(self, buffer: Buffer) -> int:
        return max(range(len(buffer)), key=lambda i: buffer[i][0])


class AdamW_CBeatsMean(AdamW_CPort):
    """Asks a gradient to beat the mean of the keys where the rule asks it to beat the smallest."""

    def worthy(self, key: float, buffer: Buffer) -> bool:
        return key > sum(held for held, _ in buffer) / len(buffer)


class AdamW_CNormOfAll(AdamW_CPort):
    """Takes the norm of all gradients together for the synced key where the rule adds their norms."""

    def pooled(self, norms: list[float]) -> float:
        return math.hypot(*norms)


class AdamW_CSumWithoutMean(AdamW_CPort):
    """Adds the sum of the buffer in `sum` and `mid` where the rule adds its mean."""

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + kappa * kept.sum(0)

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (g + kappa * kept.sum(0)) / 2


class AdamW_CBufferAlone(AdamW_CPort):
    """Steps along kappa times the mean of the buffer where the rule joins it to the gradient."""

    def aggregate(self, g: Tensor, kept: list[Tensor], group: Group) -> Tensor:
        return group["kappa"] * torch.stack(kept).mean(0) if kept else g


class AdamW_CWeighedByKeys(AdamW_CPort):
    """Averages the buffer by its decayed keys where every gradient held weighs the same."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        held = state.setdefault("critical", [])
        self.weights = torch.tensor([item[0] for item in held], dtype=g.dtype)
        return super().critical(state, g, key, group)

    def aggregate(self, g: Tensor, kept: list[Tensor], group: Group) -> Tensor:
        total = self.weights.sum()
        if not total > 0:
            return super().aggregate(g, kept, group)
        shares = self.weights * len(kept) / total
        return super().aggregate(g, [share * item for share, item in zip(shares, kept, strict=True)], group)


class AdamW_CSquareOfRaw(AdamW_CPort):
    """Averages the square of the raw gradient where both moments take the aggregate."""

    def gradient(self, p: Tensor, key: float, group: Group) -> Tensor:
        self.raw = p.grad
        return super().gradient(p, key, group)

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        super().square(state, self.raw, beta2)


class AdamW_CCoupledDecay(AdamW_CPort, baselines.AdamWCoupledDecay):
    """Adds the decay to the aggregate where the rule shrinks the weight apart from it."""


class AdamW_CDecayAfterStep(AdamW_CPort, baselines.AdamWDecayAfterStep):
    """Shrinks the weight after the step where the rule shrinks it before."""


class AdamW_CDecayWithoutRate(AdamW_CPort, baselines.AdamWDecayWithoutRate):
    """Shrinks the weight by weight_decay alone where the rule multiplies it by the learning rate."""


class AdamW_CEpsInsideRoot(AdamW_CPort, baselines.AdamEpsInsideRoot):
    """Adds eps under the square root where the rule adds it to the root."""


class AdamW_CCorrectsOneStepAhead(AdamW_CPort, baselines.AdamCorrectsOneStepAhead):
    """Corrects the biases with the number of the next step where the rule takes the present one."""


MISREADINGS = (
    SGD_CStoresFirst,
    SGD_CAggregatesFirstGradient,
    SGD_CStoresAggregate,
    SGD_CStoresRawGradient,
    SGD_CDecoupledDecay,
    SGD_CKeyOfDecayed,
    SGD_CKeyOfAggregate,
    SGD_CSquaredKeys,
    SGD_CNormOfAll,
    SGD_CLargestNorm,
    SGD_CFirstKeyForAll,
    SGD_CAddsBufferSum,
    SGD_CMidWeightedByKappa,
    SGD_CKappaOnAll,
    SGD_CEvictsOldest,
    SGD_CNeverForgets,
    SGD_CDecaysGradients,
    SGD_CBeatsLargest,
    SGD_CMomentumFirst,
    SGD_CDampensFirst,
    SGD_CNeverDampens,
    SGD_CAveragedMomentum,
    SGD_CFirstGroupForAll,
    RMSprop_CMeanOfNorms,
    RMSprop_CPoolsAllGroups,
    RMSprop_CNeverSynced,
    RMSprop_CAlwaysSynced,
    RMSprop_CNormsSoFar,
    RMSprop_CRootMeanSquareKeys,
    RMSprop_CAbsoluteKeys,
    RMSprop_CDividesByHeld,
    RMSprop_CDividesByCapacity,
    RMSprop_CMeanOfMean,
    RMSprop_CSquareOfRaw,
    RMSprop_CAggregatesQuotients,
    RMSprop_CStoresDecayed,
    RMSprop_CStoresEverything,
    RMSprop_CForgetsWhenStoring,
    RMSprop_CForgetsWhenFull,
    RMSprop_CEpsInsideRoot,
    RMSprop_CMomentumFirst,
    RMSprop_CDecoupledDecay,
    RMSprop_CCorrectsBias,
    RMSprop_CCentresEachSquare,
    Adam_COneMore,
    Adam_CKeepsLatest,
    Adam_CSquareOfRaw,
    Adam_CMomentOfRaw,
    Adam_CNoBypass,
    Adam_CSparesNewKey,
    Adam_CForgetsEveryCall,
    Adam_CMeanOverCapacity,
    Adam_CMidForgetsHalf,
    Adam_CMeanWeightedByKappa,
    Adam_CKappaOnGradient,
    Adam_CStoresUnits,
    Adam_CSquaredKeys,
    Adam_CStoresDecayed,
    Adam_CNoSecondCorrection,
    Adam_CEpsBeforeCorrection,
    Adam_CMaximumOfCorrected,
    Adam_CDecoupledDecay,
    Adam_CCountsFromSecond,
    AdamW_CStoresFirst,
    AdamW_CStoresAggregate,
    AdamW_CStoresDecayed,
    AdamW_CKeyOfDecayed,
    AdamW_CNeverForgets,
    AdamW_CSharedForgetting,
    AdamW_CForgetsComplement,
    AdamW_CEvictsOldest,
    AdamW_CEvictsLargest,
    AdamW_CBeatsMean,
    AdamW_CNormOfAll,
    AdamW_CSumWithoutMean,
    AdamW_CBufferAlone,
    AdamW_CWeighedByKeys,
    AdamW_CSquareOfRaw,
    AdamW_CCoupledDecay,
    AdamW_CDecayAfterStep,
    AdamW_CDecayWithoutRate,
    AdamW_CEpsInsideRoot,
    AdamW_CCorrectsOneStepAhead,
)
