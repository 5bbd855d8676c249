"""Right ports of AdamP and SGDP in other orders of floating-point operations."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepgauge.properties.meta.misreadings.adamp import AdamPPort, Group, ProjectedPort, State
from stepgauge.properties.meta.misreadings.sgdp import SGDPPort
from stepgauge.properties.meta.reorderings.common import (
    InDouble,
    Sum,
    Tensors,
    ThroughDouble,
    chunked_sum,
    double_sum,
    pairwise_sum,
    reversed_sum,
    running_sum,
    scaled_length,
)


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


class Lengths(ProjectedPort):
    """The projection with its norms taken by `length` and multiplied before they divide."""

    length: Sum

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        lengths = self.length(w).clamp_min(eps) * self.length(g).clamp_min(eps)
        return (w * g).sum(dim=1).abs() / lengths

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (self.length(w) + eps)[:, None]
        return u - unit * torch.linalg.vecdot(unit, u)[:, None]


class MatrixProducts(ProjectedPort):
    """The projection with its inner products and norms taken as batched products of matrices."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return self.inner(w, g).abs() / self.length(w).clamp_min(eps) / self.length(g).clamp_min(eps)

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        length = self.length(w) + eps
        return u - (w.mT * (self.inner(w, u) / length) / length).mT

    def length(self, x: Tensor) -> Tensor:
        return self.inner(x, x).sqrt()

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(a[:, None, :], b[:, :, None])[:, 0, 0]


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


class AdamPPairwiseSums(Summed, AdamPPort):
    """Adds the terms of every inner product in pairs."""

    total = staticmethod(pairwise_sum)


class AdamPScaledLengths(Lengths, AdamPPort):
    """Takes norms after division by the largest entry."""

    length = staticmethod(scaled_length)


class AdamPMatrixProducts(MatrixProducts, AdamPPort):
    """Takes inner products and norms as products of matrices."""


class AdamPGeometricSums(AdamPPort):
    """Stores sums in place of averages, and divides them by sums of the betas' powers."""

    only_with_constants = True

    def count(self, state: State, group: Group) -> None:
        sums = state.get("sums", (0.0, 0.0))
        state["sums"] = tuple(1 + beta * x for x, beta in zip(sums, group["betas"], strict=True))

    def moments(self, state: State, g: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(g)
        state["exp_avg_sq"].mul_(beta2).addcmul_(g, g)

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return g + group["betas"][0] * state["exp_avg"]

    def correction(self, state: State, group: Group, moment: int) -> float:
        return state["sums"][moment]


class AdamPStepInTwoParts(AdamPPort):
    """Projects the steps along the old moment and along the gradient apart."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state, (beta1, _) = self.state[p], group["betas"]
        if not state:
            self.begin(state, p)
        self.count(state, group)
        old = beta1 * state["exp_avg"]
        self.moments(state, g, group)
        kept, fresh = (beta1 * old, 1 - beta1**2) if group["nesterov"] else (old, 1 - beta1)
        denominator = self.denominator(state, group)
        first, factor = self.project(p, g, kept / denominator, group)
        second, _ = self.project(p, g, fresh * g / denominator, group)
        self.decay(p, factor, group)
        self.move(p, first, state, group)
        self.move(p, second, state, group)


class AdamPInDouble(InDouble, AdamPPort):
    """Computes and keeps everything but the weights in double precision."""


class AdamPThroughDouble(ThroughDouble, AdamPPort):
    """Computes each step in double precision and rounds its results."""


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


class SGDPPairwiseSums(Summed, SGDPPort):
    """Adds the terms of every inner product in pairs."""

    total = staticmethod(pairwise_sum)


class SGDPRunningSums(Summed, SGDPPort):
    """Takes the last of the running sums as every inner product."""

    total = staticmethod(running_sum)


class SGDPScaledLengths(Lengths, SGDPPort):
    """Takes norms after division by the largest entry."""

    length = staticmethod(scaled_length)


class SGDPMatrixProducts(MatrixProducts, SGDPPort):
    """Takes inner products and norms as products of matrices."""


class SGDPLerp(SGDPPort):
    """Moves the buffer by linear interpolation and then stretches it."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        part = 1 - group["dampening"]
        total = group["momentum"] + part
        if total > 0:
            state["momentum_buffer"].lerp_(g, part / total).mul_(total)
        else:
            state["momentum_buffer"].zero_()


class SGDPStepInTwoParts(SGDPPort):
    """Projects the steps along the old buffer and along the gradient apart."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state, momentum, part = self.state[p], group["momentum"], 1 - group["dampening"]
        if not state:
            self.begin(state, p)
        old = momentum * state["momentum_buffer"]
        self.accumulate(state, g, group)
        kept, fresh = (momentum * old, 1 + momentum * part) if group["nesterov"] else (old, part)
        first, factor = self.project(p, g, kept, group)
        second, _ = self.project(p, g, fresh * g, group)
        self.decay(p, factor, group)
        self.move(p, first, group)
        self.move(p, second, group)


class SGDPInDouble(InDouble, SGDPPort):
    """Computes and keeps everything but the weights in double precision."""


class SGDPThroughDouble(ThroughDouble, SGDPPort):
    """Computes each step in double precision and rounds its results."""


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
    AdamPPairwiseSums,
    AdamPScaledLengths,
    AdamPMatrixProducts,
    AdamPGeometricSums,
    AdamPStepInTwoParts,
    AdamPInDouble,
    AdamPThroughDouble,
    SGDPSubtractedDecay,
    SGDPOneCoefficient,
    SGDPChunkedSums,
    SGDPReversedSums,
    SGDPExpandedLookAhead,
    SGDPForeach,
    SGDPPairwiseSums,
    SGDPRunningSums,
    SGDPScaledLengths,
    SGDPMatrixProducts,
    SGDPLerp,
    SGDPStepInTwoParts,
    SGDPInDouble,
    SGDPThroughDouble,
)
