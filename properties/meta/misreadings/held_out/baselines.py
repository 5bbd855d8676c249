"""Held-out wrong ports of SGD, Adam, AdamW and RMSprop; the docstrings state the mistakes."""

import math
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.baselines import AdamPort, AdamWPort, RMSpropPort, SGDPort


class SGDRateInDecay(SGDPort):
    """Adds lr * weight_decay times the weight to the gradient where the rule adds weight_decay times it."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=group["lr"] * group["weight_decay"])


class SGDForgetsFirstGradient(SGDPort):
    """Creates the buffer empty and leaves the first gradient out of it where the rule starts it with that."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        if group["momentum"] and "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(d)
            return d
        return super().direction(state, d, group)


class SGDNesterovRolesSwapped(SGDPort):
    """Adds momentum times the gradient to the buffer where the look-ahead adds momentum times the buffer."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return state["momentum_buffer"].add(d, alpha=group["momentum"])


class SGDBuffersByPlace(SGDPort):
    """Keeps the buffers by place among today's gradients where each parameter keeps its own."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        buffers: dict[Any, State] = group.setdefault("buffers", {})
        for i, p in enumerate(params):
            d = self.decayed(p, p.grad, group)
            self.move(p, self.direction(buffers.setdefault((i, p.shape), {}), d, group), group)


class SGDSharedFirstBuffer(SGDPort):
    """Makes the first gradient itself the buffer, so that an in-place look-ahead changes the buffer too."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = d

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return d.add_(state["momentum_buffer"], alpha=group["momentum"])


class AdamFirstBetaInBothCorrections(AdamPort):
    """Corrects the second moment with beta1 where the rule corrects it with beta2."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, 0)


class AdamMaximumNotKept(AdamPort):
    """Takes AMSGrad's maximum without storing it where the rule keeps it for the steps to come."""

    def largest(self, state: State, group: Group) -> Tensor:
        return torch.maximum(state["max_exp_avg_sq"], state["exp_avg_sq"])


class AdamRootInPlace(AdamPort):
    """Takes the root of the stored second moment in place where the rule leaves the moment as it is."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v.sqrt_() / math.sqrt(correction) + eps


class AdamLerpsByBeta(AdamPort):
    """Moves the first moment to the gradient by beta1 where the rule moves it by 1 - beta1."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(d, beta1)
        self.square(state, d, beta2)


class AdamNeverForgetsSquares(AdamPort):
    """Adds up the weighted squares where the rule multiplies the second moment by beta2 first."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        state["exp_avg_sq"].addcmul_(d, d, value=1 - beta2)


class AdamWDecaysTwice(AdamWPort):
    """Adds the decay to the gradient besides shrinking the weight where the rule does the latter alone."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        coupled = g.add(p, alpha=group["weight_decay"])
        super().decayed(p, g, group)
        return coupled


class AdamWDecaysAtDefaultRate(AdamWPort):
    """Shrinks the weight at the rate of the constructor where the rule takes the present one of the group."""

    def shrink(self, p: Tensor, group: Group) -> None:
        super().shrink(p, {**group, "lr": self.defaults["lr"]})


class AdamWRootOfFirstCorrection(AdamWPort):
    """Divides the step by the root of the first moment's correction where the rule divides by all of it."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        correction = super().correction(state, group, moment)
        return math.sqrt(correction) if moment == 0 else correction


class AdamWMaximumOfTensor(AdamWPort):
    """Takes AMSGrad's maximum over the elements of the tensor where the rule takes it over the steps."""

    def largest(self, state: State, group: Group) -> Tensor:
        v = state["exp_avg_sq"]
        return v.max().expand_as(v) if v.numel() else v


class AdamWWeighsSquareByFirstBeta(AdamWPort):
    """Weighs the new square by 1 - beta1 where the rule weighs it by 1 - beta2."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(d, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(d, d, value=1 - beta1)


class RMSpropFirstQuotientTwice(RMSpropPort):
    """Starts the momentum with the first quotient and adds it again where the rule starts with zeros."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        if not state.get("started"):
            state["started"] = True
            state["momentum_buffer"].copy_(u)
        return super().accumulate(state, u, group)


class RMSpropSquareInFull(RMSpropPort):
    """Adds the new square in full where the rule weighs it by 1 - alpha."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        state["grad_avg"].lerp_(d, 1 - group["alpha"])
        state["square_avg"].mul_(group["alpha"]).addcmul_(d, d)


class RMSpropCentresWithMomentumAlone(RMSpropPort):
    """Centres the average square in the branch of the momentum alone where the rule does without it too."""

    def denominator(self, state: State, group: Group) -> Tensor:
        return super().denominator(state, {**group, "centered": group["centered"] and group["momentum"] > 0})


class RMSpropDecaysQuotient(RMSpropPort):
    """Adds the decay to the quotient where the rule adds it to the gradient."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        self.decay = group["weight_decay"] * p
        super().update(p, g, {**group, "weight_decay": 0})

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        quotient = d / self.denominator(state, group) + self.decay
        return self.accumulate(state, quotient, group) if group["momentum"] > 0 else quotient


class RMSpropMomentumByAlpha(RMSpropPort):
    """Multiplies the momentum's buffer by alpha where the rule multiplies it by momentum."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        return super().accumulate(state, u, {**group, "momentum": group["alpha"]})


HELD_OUT = (
    SGDRateInDecay,
    SGDForgetsFirstGradient,
    SGDNesterovRolesSwapped,
    SGDBuffersByPlace,
    SGDSharedFirstBuffer,
    AdamFirstBetaInBothCorrections,
    AdamMaximumNotKept,
    AdamRootInPlace,
    AdamLerpsByBeta,
    AdamNeverForgetsSquares,
    AdamWDecaysTwice,
    AdamWDecaysAtDefaultRate,
    AdamWRootOfFirstCorrection,
    AdamWMaximumOfTensor,
    AdamWWeighsSquareByFirstBeta,
    RMSpropFirstQuotientTwice,
    RMSpropSquareInFull,
    RMSpropCentresWithMomentumAlone,
    RMSpropDecaysQuotient,
    RMSpropMomentumByAlpha,
)
