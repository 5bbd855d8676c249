"""Held-out wrong ports of Adai and AdaiV2; the docstrings state the mistakes."""

from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adai import AdaiPort, AdaiV2Port, Pairs
from stepgauge.properties.meta.misreadings.adamp import Group, State


class AdaiMeanInProduct(AdaiPort):
    """Multiplies the correcting product by the tensor's mean beta1 where each element has its own."""

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        state["beta1_prod"].mul_(beta1.mean())
        state["exp_avg"].mul_(beta1).add_(self.weight(beta1, group) * g)


class AdaiBoundsRatio(AdaiPort):
    """Bounds the ratio by 0 and 1 - eps before the complement where the rule bounds the complement."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return 1 - group["betas"][0] * self.bounded(ratio, group)


class AdaiUnboundedWeight(AdaiPort):
    """Weighs the new gradient by the complement of beta1 before its bounds where the rule takes it after."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        self.complement = group["betas"][0] * ratio
        return super().inertia(ratio, group)

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return self.complement


class AdaiCountsRows(AdaiPort):
    """Divides the sum of the second moments by the number of rows where the rule counts the elements."""

    def mean(self, pairs: Pairs) -> Any:
        total = sum(self.corrected(p, group).sum() for p, group in pairs)
        return total / sum(len(p) if p.ndim else 1 for p, _ in pairs)


class AdaiLastCorrectionForAll(AdaiPort):
    """Corrects in the second loop with what the first left for the last parameter where each has its own."""

    def step_pairs(self, pairs: Pairs) -> None:
        self.last = pairs[-1]
        super().step_pairs(pairs)

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        last, other = self.last
        vh = self.state[p]["exp_avg_sq"] / (1 - other["betas"][1] ** self.state[last]["step"])
        return torch.where(torch.as_tensor(mean == 0), torch.zeros_like(vh), vh / mean)


class AdaiV2ShrinksTwice(AdaiV2Port):
    """Shrinks the weight in both loops where the rule shrinks it in the first."""

    def update(self, p: Tensor, g: Tensor, mean: Any, group: Group) -> None:
        if group["decoupled"]:
            self.shrink(p, group)
        super().update(p, g, mean, group)


class AdaiV2PowerOfMean(AdaiV2Port):
    """Raises the mean alone to 1 / (3 - 2 d), for want of brackets, where the rule raises the ratio."""

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        return super().ratio(p, mean ** self.exponent(group["dampening"]), group)

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(1 - group["betas"][0] * ratio, group)


class AdaiV2DampensCorrection(AdaiV2Port):
    """Divides by the d-th power of the first moment's correction where the rule divides by the correction."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"] / (1 - state["beta1_prod"]) ** group["dampening"]


class AdaiV2ScaleOfSecondBeta(AdaiV2Port):
    """Multiplies the step by beta2^(1 - d) where the rule multiplies it by beta0^(1 - d)."""

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        super().move(p, u, {**group, "betas": group["betas"][::-1]})


class AdaiV2StoresCorrectedSquare(AdaiV2Port):
    """Corrects the stored second moment in place where the rule keeps the corrected one apart."""

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        ratio = super().ratio(p, mean, group)
        self.state[p]["exp_avg_sq"].div_(1 - group["betas"][1] ** self.state[p]["step"])
        return ratio


HELD_OUT = (
    AdaiMeanInProduct,
    AdaiBoundsRatio,
    AdaiUnboundedWeight,
    AdaiCountsRows,
    AdaiLastCorrectionForAll,
    AdaiV2ShrinksTwice,
    AdaiV2PowerOfMean,
    AdaiV2DampensCorrection,
    AdaiV2ScaleOfSecondBeta,
    AdaiV2StoresCorrectedSquare,
)
