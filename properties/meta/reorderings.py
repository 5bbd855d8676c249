"""Right ports of AdamP, SGDP and FSGDM in other orders of floating-point operations.

Each computes the published rule and rounds differently from the plain port. A verifier must
accept all of them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepgauge.properties.meta.misreadings.adamp import AdamPPort, Group, ProjectedPort, State
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort
from stepgauge.properties.meta.misreadings.sgdp import SGDPPort

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


class Summed(ProjectedPort):
    """The projection with its inner products and norms taken by `total`."""

    total: Sum

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        inner = self.total(w * g).abs()
        return inner / self.length(w).clamp_min(eps) / self.length(g).clamp_min(eps)

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (self.length(w) + eps)[:, None]
        return u - unit * self.total(unit * u)[:, None]

    def length(self, x: Tensor) -> Tensor:
        return self.total(x * x).sqrt()


class OneCoefficient(ProjectedPort):
    """The projection with one coefficient per row in place of a normalised weight."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        inner = torch.einsum("ij,ij->i", w, u)
        return u - (inner / (w.norm(dim=1) + eps) ** 2)[:, None] * w


class AdamPLerp(AdamPPort):
    """Moves both moments by linear interpolation."""

    def moments(self, state: State, g: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(g, 1 - beta1)
        state["exp_avg_sq"].lerp_(g * g, 1 - beta2)


class AdamPCorrectsFirst(AdamPPort):
    """Corrects both moments before it divides them."""

    def direction(self, state: State, g: Tensor, group: Group) -> Tensor:
        corrected = self.numerator(state, g, group) / self.correction(state, group, 0)
        return corrected / self.denominator(state, group)

    def denominator(self, state: State, group: Group) -> Tensor:
        return (state["exp_avg_sq"] / self.correction(state, group, 1)).sqrt() + group["eps"]

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(group["lr"] * u)


class AdamPRescaledRate(AdamPPort):
    """Puts the correction of the second moment into eps and into the learning rate."""

    def denominator(self, state: State, group: Group) -> Tensor:
        root = self.correction(state, group, 1) ** 0.5
        return state["exp_avg_sq"].sqrt() + group["eps"] * root

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        root = self.correction(state, group, 1) ** 0.5
        p.add_(u, alpha=-group["lr"] * root / self.correction(state, group, 0))


class AdamPSubtractedDecay(AdamPPort):
    """Subtracts the decay from the weight, and divides the moments by addcdiv."""

    def direction(self, state: State, g: Tensor, group: Group) -> Tensor:
        zero = torch.zeros_like(g)
        return zero.addcdiv(self.numerator(state, g, group), self.denominator(state, group))

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        p.sub_(group["lr"] * group["weight_decay"] * factor * p)


class AdamPOneCoefficient(OneCoefficient, AdamPPort):
    """Projects with one coefficient per row."""


class AdamPUnitCosine(AdamPPort):
    """Normalises the weight and the gradient before it multiplies them."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        units = functional.normalize(w, dim=1, eps=eps), functional.normalize(g, dim=1, eps=eps)
        return torch.einsum("ij,ij->i", *units).abs()


class AdamPReversedSums(Summed, AdamPPort):
    """Adds the terms of every inner product from the last to the first."""

    total = staticmethod(reversed_sum)


class AdamPDoubleSums(Summed, AdamPPort):
    """Accumulates every inner product in double precision."""

    total = staticmethod(double_sum)


class AdamPForeach(AdamPPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if not state:
                self.begin(state, p)
            self.count(state, group)
        gradients: Tensors = [p.grad for p in params]
        self.group_moments(states, gradients, group)
        updates = self.group_directions(states, gradients, group)
        self.group_apply(params, gradients, updates, states, group)

    def group_moments(self, states: list[State], gradients: Tensors, group: Group) -> None:
        beta1, beta2 = group["betas"]
        averages = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_lerp_(averages, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

    def group_directions(self, states: list[State], gradients: Tensors, group: Group) -> Tensors:
        pairs = zip(states, gradients, strict=True)
        numerators = [self.numerator(state, g, group) for state, g in pairs]
        roots = list(torch._foreach_sqrt([state["exp_avg_sq"] for state in states]))
        torch._foreach_div_(roots, [self.correction(state, group, 1) ** 0.5 for state in states])
        torch._foreach_add_(roots, group["eps"])
        return list(torch._foreach_div(numerators, roots))

    def group_apply(
        self, params: Tensors, gradients: Tensors, updates: Tensors, states: list[State], group: Group
    ) -> None:
        triples = zip(params, gradients, updates, strict=True)
        projected = [self.project(p, g, u, group) for p, g, u in triples]
        shrink = group["lr"] * group["weight_decay"]
        rates = [-group["lr"] / self.correction(state, group, 0) for state in states]
        steps = [tangent for tangent, _ in projected]
        torch._foreach_mul_(params, [1 - shrink * factor for _, factor in projected])
        torch._foreach_add_(params, torch._foreach_mul(steps, rates))


class SGDPSubtractedDecay(SGDPPort):
    """Subtracts the decay from the weight and the step from the rest."""

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        if group["weight_decay"] != 0:
            p.sub_(p * (self.decay_rate(group) * factor))

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(u * group["lr"])


class SGDPOneCoefficient(OneCoefficient, SGDPPort):
    """Projects with one coefficient per row."""


class SGDPChunkedSums(Summed, SGDPPort):
    """Adds the terms of every inner product in chunks of three."""

    total = staticmethod(chunked_sum)


class SGDPReversedSums(Summed, SGDPPort):
    """Adds the terms of every inner product from the last to the first."""

    total = staticmethod(reversed_sum)


class SGDPExpandedLookAhead(SGDPPort):
    """Looks ahead from the old momentum before it accumulates the gradient."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        momentum, part = group["momentum"], 1 - group["dampening"]
        old = state["momentum_buffer"]
        state["ahead"] = (1 + momentum * part) * g + momentum**2 * old
        state["momentum_buffer"] = part * g + momentum * old

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return state["ahead"]


class SGDPForeach(SGDPPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        for p in params:
            if not self.state[p]:
                self.begin(self.state[p], p)
        gradients: Tensors = [p.grad for p in params]
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients, alpha=1 - group["dampening"])
        updates: Any = buffers
        if group["nesterov"]:
            updates = torch._foreach_add(gradients, buffers, alpha=group["momentum"])
        for p, g, u in zip(params, gradients, updates, strict=True):
            self.apply(p, *self.project(p, g, u, group), group)


class FSGDMOuterGain(FSGDMPort):
    """Keeps the buffer without v and multiplies the step by it."""

    def gain(self, u: float, group: Group) -> float:
        return 1.0

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.add_(m, alpha=-group["lr"] * group["v_coefficient"])


class FSGDMCountedStage(FSGDMPort):
    """Counts the stage up, carrying the remainder from step to step in whole numbers."""

    def stage(self, t: int, group: Group) -> int:
        k, rest = group.get("stage", (0, 0))
        carried, rest = divmod(rest + group["n_stages"], group["sigma"])
        group["stage"] = (k + carried, rest)
        return k + carried


class FSGDMStageInSteps(FSGDMPort):
    """Computes u from the first step of the stage and mu = c * Sigma."""

    def coefficient(self, t: int, group: Group) -> float:
        n, sigma = group["n_stages"], group["sigma"]
        done = t * n - t * n % sigma
        start = done / n
        return start / (start + group["c_scaling"] * sigma)


class FSGDMReciprocalCoefficient(FSGDMPort):
    """Computes u as 1 / (1 + c * N / k), which is 0 in the first stage."""

    def coefficient(self, t: int, group: Group) -> float:
        k = self.stage(t, group)
        return 1 / (1 + group["c_scaling"] * group["n_stages"] / k) if k else 0.0


class FSGDMSubtractedLeak(FSGDMPort):
    """Subtracts (1 - u) * m from the buffer, and adds gradient and decay to it one by one."""

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p)
        m, v = state["momentum_buffer"], group["v_coefficient"]
        m.sub_((1 - u) * m).add_(g, alpha=v).add_(p, alpha=v * group["weight_decay"])
        self.move(p, m, group)


class FSGDMStepInTwoParts(FSGDMPort):
    """Steps along the old buffer and along the gradient apart."""

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        pass

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        state["parts"] = (u * state["momentum_buffer"], self.gain(u, group) * d)
        state["momentum_buffer"] = torch.add(*state["parts"])

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        super().update(p, g, u, group)
        for part in self.state[p].pop("parts"):
            p.sub_(group["lr"] * part)


class FSGDMForeach(FSGDMPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        u = self.coefficient(group["step"], group)
        for p in params:
            if not self.state[p]:
                self.begin(self.state[p], p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        decayed = torch._foreach_add([p.grad for p in params], params, alpha=group["weight_decay"])
        torch._foreach_mul_(buffers, u)
        torch._foreach_add_(buffers, decayed, alpha=self.gain(u, group))
        torch._foreach_add_(params, buffers, alpha=-group["lr"])


REORDERINGS = (
    AdamPLerp,
    AdamPCorrectsFirst,
    AdamPRescaledRate,
    AdamPSubtractedDecay,
    AdamPOneCoefficient,
    AdamPUnitCosine,
    AdamPReversedSums,
    AdamPDoubleSums,
    AdamPForeach,
    SGDPSubtractedDecay,
    SGDPOneCoefficient,
    SGDPChunkedSums,
    SGDPReversedSums,
    SGDPExpandedLookAhead,
    SGDPForeach,
    FSGDMOuterGain,
    FSGDMCountedStage,
    FSGDMStageInSteps,
    FSGDMReciprocalCoefficient,
    FSGDMSubtractedLeak,
    FSGDMStepInTwoParts,
    FSGDMForeach,
)
