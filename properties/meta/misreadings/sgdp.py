"""SGDP as published, and wrong ports of it.

`SGDPPort` computes the rule. Every other optimizer here overrides one small piece of it and
thereby computes something else; its docstring states the misreading.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepgauge.properties.meta.misreadings.adamp import Group, ProjectedPort, State


class SGDPPort(ProjectedPort):
    """The published rule: the stored momentum is never projected."""

    rule = "sgdp"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        eps: float = 1e-8,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "eps": eps,
            "delta": delta,
            "wd_ratio": wd_ratio,
        }
        super().__init__(params, defaults)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p)
        self.accumulate(state, g, group)
        u, factor = self.project(p, g, self.direction(state, g, group), group)
        self.apply(p, u, factor, group)

    def begin(self, state: State, p: Tensor) -> None:
        state["momentum_buffer"] = torch.zeros_like(p)

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["momentum_buffer"].mul_(group["momentum"]).add_(g, alpha=1 - group["dampening"])

    def direction(self, state: State, g: Tensor, group: Group) -> Tensor:
        if not group["nesterov"]:
            return state["momentum_buffer"]
        return self.look_ahead(state, g, group)

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return g + group["momentum"] * state["momentum_buffer"]

    def apply(self, p: Tensor, u: Tensor, factor: float, group: Group) -> None:
        self.decay(p, factor, group)
        self.move(p, u, group)

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        if group["weight_decay"] != 0:
            p.mul_(1 - self.decay_rate(group) * factor)

    def decay_rate(self, group: Group) -> float:
        return group["lr"] * group["weight_decay"] / (1 - group["momentum"])

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])


class SGDPSignedCosine(SGDPPort):
    """Compares the signed cosine with the threshold where the rule takes the absolute value."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return functional.cosine_similarity(w, g, dim=1, eps=eps)


class SGDPInnerProduct(SGDPPort):
    """Compares the inner product with the threshold where the rule takes the cosine."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return (w * g).sum(dim=1).abs()


class SGDPMeanCosine(SGDPPort):
    """Takes the mean of the row cosines where the rule takes the maximum."""

    def worst(self, cosines: Tensor) -> Tensor:
        return cosines.mean()


class SGDPBareDelta(SGDPPort):
    """Compares the cosine with delta itself where the rule divides it by the root of the size."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta


class SGDPDeltaOverRootNumel(SGDPPort):
    """Divides delta by the root of the whole size in both views where rows have their own size."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / math.sqrt(w.numel())


class SGDPNoLayerFallback(SGDPPort):
    """Gives up after the row view where the rule goes on to try the whole layer."""

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return (p.shape[0],)


class SGDPLayerOnly(SGDPPort):
    """Tries the whole layer alone where the rule tries the rows first."""

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return (1,)


class SGDPProjectsVectors(SGDPPort):
    """Projects one-dimensional parameters as a single row where the rule leaves them alone."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        if p.ndim != 1:
            return super().project(p, g, u, group)
        tangent, factor = super().project(p[None], g[None], u[None], group)
        return tangent[0], factor


class SGDPTestsMomentum(SGDPPort):
    """Tests the cosine of the momentum with the weight where the rule tests the raw gradient."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return super().project(p, self.state[p]["momentum_buffer"], u, group)


class SGDPProjectsRawWeight(SGDPPort):
    """Projects with the weight as it is where the rule normalises it first."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        return u - w * (w * u).sum(dim=1, keepdim=True)


class SGDPProjectsGradient(SGDPPort):
    """Feeds the projected gradient to the momentum where the rule projects the finished update."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, super().project(p, g, g, group)[0], group)

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return u, super().project(p, g, u, group)[1]


class SGDPProjectsGradientPart(SGDPPort):
    """Projects the gradient's part of the update alone where the rule projects all of it."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, g, group)
        return u - g + tangent, factor


class SGDPStoresLookAhead(SGDPPort):
    """Writes the projected update back into the momentum, with Nesterov's look-ahead too."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, u, group)
        if tangent is not u:
            self.state[p]["momentum_buffer"].copy_(tangent)
        return tangent, factor


class SGDPTorchDampening(SGDPPort):
    """Starts the momentum with the undampened gradient, as torch does."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        first = not state.get("started")
        state["started"] = True
        super().accumulate(state, g, {**group, "dampening": 0} if first else group)


class SGDPUndampenedWithoutMomentum(SGDPPort):
    """Drops the dampening along with the momentum when momentum is 0, as torch does."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, g, group if group["momentum"] else {**group, "dampening": 0})


class SGDPAveragedMomentum(SGDPPort):
    """Weighs the new gradient by 1 - momentum where the rule weighs it by 1 - dampening."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, g, {**group, "dampening": group["momentum"]})


class SGDPNesterovWithoutGradient(SGDPPort):
    """Leaves the gradient out of the look-ahead where the rule adds it."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return group["momentum"] * state["momentum_buffer"]


class SGDPNesterovDampened(SGDPPort):
    """Dampens the gradient in the look-ahead where the rule adds it in full."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return (1 - group["dampening"]) * g + group["momentum"] * state["momentum_buffer"]


class SGDPNesterovFromMomentum(SGDPPort):
    """Looks ahead from the momentum where the rule looks ahead from the gradient."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return (1 + group["momentum"]) * state["momentum_buffer"]


class SGDPPlainDecay(SGDPPort):
    """Decays by lr * weight_decay where the rule divides that by 1 - momentum."""

    def decay_rate(self, group: Group) -> float:
        return group["lr"] * group["weight_decay"]


class SGDPDecayOverDampening(SGDPPort):
    """Divides the decay by 1 - dampening where the rule divides it by 1 - momentum."""

    def decay_rate(self, group: Group) -> float:
        return group["lr"] * group["weight_decay"] / (1 - group["dampening"])


class SGDPCoupledDecay(SGDPPort):
    """Adds the decay to the gradient where the rule shrinks the weight apart from it."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g.add(p, alpha=group["weight_decay"]), group)

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        pass


class SGDPFullDecay(SGDPPort):
    """Decays projected weights in full where the rule scales their decay by wd_ratio."""

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        super().decay(p, 1.0, group)


class SGDPRatioSquared(SGDPPort):
    """Scales the decay by wd_ratio once per view tried where the rule scales it once."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, u, group)
        if tangent is u or self.invariant(p.flatten(1), g.flatten(1), group):
            return tangent, factor
        return tangent, factor**2


class SGDPDecayAfterStep(SGDPPort):
    """Decays the weight after the step where the rule decays it before."""

    def apply(self, p: Tensor, u: Tensor, factor: float, group: Group) -> None:
        self.move(p, u, group)
        self.decay(p, factor, group)


class SGDPRateInBuffer(SGDPPort):
    """Accumulates the gradient times the rate of its day where the rule applies today's rate."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, group["lr"] * g, group)

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return super().look_ahead(state, group["lr"] * g, group)

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(u)


class SGDPFirstGroupForAll(SGDPPort):
    """Reads the hyperparameters of the first group for every group."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g, self.param_groups[0])


class SGDPForgetsEveryHundred(SGDPPort):
    """Empties the momentum after every hundredth step where the rule never does."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["step"] = state.get("step", 0) + 1
        if state["step"] % 100 == 1:
            state["momentum_buffer"].zero_()
        super().accumulate(state, g, group)


class SGDPSingleBuffer(SGDPPort):
    """Keeps the momentum in single precision where it has the precision of the parameter."""

    def begin(self, state: State, p: Tensor) -> None:
        state["momentum_buffer"] = torch.zeros_like(p, dtype=torch.float32)


MISREADINGS = (
    SGDPSignedCosine,
    SGDPInnerProduct,
    SGDPMeanCosine,
    SGDPBareDelta,
    SGDPDeltaOverRootNumel,
    SGDPNoLayerFallback,
    SGDPLayerOnly,
    SGDPProjectsVectors,
    SGDPTestsMomentum,
    SGDPProjectsRawWeight,
    SGDPProjectsGradient,
    SGDPProjectsGradientPart,
    SGDPStoresLookAhead,
    SGDPTorchDampening,
    SGDPUndampenedWithoutMomentum,
    SGDPAveragedMomentum,
    SGDPNesterovWithoutGradient,
    SGDPNesterovDampened,
    SGDPNesterovFromMomentum,
    SGDPPlainDecay,
    SGDPDecayOverDampening,
    SGDPCoupledDecay,
    SGDPFullDecay,
    SGDPRatioSquared,
    SGDPDecayAfterStep,
    SGDPRateInBuffer,
    SGDPFirstGroupForAll,
    SGDPForgetsEveryHundred,
    SGDPSingleBuffer,
)
