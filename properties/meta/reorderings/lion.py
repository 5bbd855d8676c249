"""Right ports of Lion in other orders of floating-point operations."""

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.lion import LionPort
from stepgauge.properties.meta.reorderings.common import (
    DoubleWeights,
    Flattened,
    InDouble,
    Tensors,
    ThroughDouble,
    weighted,
)


class LionLerp(LionPort):
    """Interpolates from the average towards the gradient, and moves the average likewise."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        return state["exp_avg"].lerp(g, 1 - group["betas"][0])

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg"].lerp_(g, 1 - group["betas"][1])


class LionForeach(LionPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        for p in params:
            if not self.state[p]:
                self.begin(self.state[p], p, p.grad)
        beta1, beta2 = group["betas"]
        grads, averages = [p.grad for p in params], [self.state[p]["exp_avg"] for p in params]
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        directions = torch._foreach_mul(averages, beta1)
        torch._foreach_add_(directions, grads, alpha=1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_add_(params, directions, alpha=-group["lr"])
        torch._foreach_mul_(averages, beta2)
        torch._foreach_add_(averages, grads, alpha=1 - beta2)


class LionForeachLerp(LionPort):
    """Interpolates all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        for p in params:
            if not self.state[p]:
                self.begin(self.state[p], p, p.grad)
        beta1, beta2 = group["betas"]
        grads, averages = [p.grad for p in params], [self.state[p]["exp_avg"] for p in params]
        directions = torch._foreach_lerp(averages, grads, 1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_add_(directions, params, alpha=group["weight_decay"])
        torch._foreach_add_(params, directions, alpha=-group["lr"])
        torch._foreach_lerp_(averages, grads, 1 - beta2)


class LionDecayInStep(LionPort):
    """Adds the decay to the sign and takes one step along both."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        u.add_(p, alpha=group["weight_decay"])


class LionDecayApart(LionPort):
    """Computes sign and decay of the step from the old weight, and subtracts them one by one."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_((group["lr"] * group["weight_decay"]) * p)


class LionOneExpression(LionPort):
    """Writes each update as one expression, out of place."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state, lr, (beta1, beta2) = self.state[p], group["lr"], group["betas"]
        if not state:
            self.begin(state, p, g)
        m = state["exp_avg"]
        p.copy_(p - lr * ((m * beta1 + g * (1 - beta1)).sign() + p * group["weight_decay"]))
        state["exp_avg"] = m * beta2 + g * (1 - beta2)


class LionDividedInterpolation(LionPort):
    """Divides the interpolation by 1 - beta1 before it takes the sign, which is that of m * b / (1 - b) + g."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        return g.add(state["exp_avg"], alpha=beta1 / (1 - beta1))


class LionUnscaledAverage(LionPort):
    """Keeps the sum of the gradients without the factor 1 - beta2, which the interpolation has instead."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1, beta2 = group["betas"]
        return (beta1 * (1 - beta2)) * state["exp_avg"] + (1 - beta1) * g

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg"].mul_(group["betas"][1]).add_(g)


class LionComparisons(LionPort):
    """Takes the sign as a difference of two comparisons."""

    def direction(self, c: Tensor) -> Tensor:
        return (c > 0).to(c.dtype) - (c < 0).to(c.dtype)


class LionComparesSides(LionPort):
    """Compares beta1 * m with (beta1 - 1) * g, and never adds them."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        left, right = beta1 * state["exp_avg"], (beta1 - 1) * g
        return (left > right).to(g.dtype) - (left < right).to(g.dtype)


class LionCopiedSign(LionPort):
    """Copies the sign of the interpolation to lr, where that is not zero."""

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(torch.where(u == 0, torch.zeros_like(u), torch.full_like(u, group["lr"]).copysign(u)))


class LionMatrixProduct(LionPort):
    """Takes interpolation and average as products of a matrix and a vector."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        return weighted((beta1, 1 - beta1), (state["exp_avg"], g))

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        beta2 = group["betas"][1]
        state["exp_avg"] = weighted((beta2, 1 - beta2), (state["exp_avg"], g))


class LionFlattened(Flattened, LionPort):
    """Steps all parameters of a group as one vector."""


class LionInDouble(InDouble, LionPort):
    """Computes and keeps everything but the weights in double precision."""


class LionThroughDouble(ThroughDouble, LionPort):
    """Computes each step in double precision and rounds its results."""


class LionDoubleWeights(DoubleWeights, LionPort):
    """Keeps the weights in double precision too."""


REORDERINGS = (
    LionLerp,
    LionForeach,
    LionForeachLerp,
    LionDecayInStep,
    LionDecayApart,
    LionOneExpression,
    LionDividedInterpolation,
    LionUnscaledAverage,
    LionComparisons,
    LionComparesSides,
    LionCopiedSign,
    LionMatrixProduct,
    LionFlattened,
    LionInDouble,
    LionThroughDouble,
    LionDoubleWeights,
)
