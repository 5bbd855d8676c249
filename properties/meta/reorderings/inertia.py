"""Right ports of Adai and AdaiV2 in other orders of floating-point operations."""

import math
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adai import AdaiPort, AdaiV2Port, Pairs
from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.reorderings.common import (
    DoubleWeights,
    Flattened,
    InDouble,
    ThroughDouble,
    pairwise_sum,
    running_sum,
)


class AdaiMeanOfMeans(AdaiPort):
    """Takes the mean of the tensors' means, weighted by their sizes."""

    def mean(self, pairs: Pairs) -> Any:
        size = sum(p.numel() for p, _ in pairs)
        return sum(self.corrected(p, group).mean() * (p.numel() / size) for p, group in pairs if p.numel())


class AdaiMeanOfAll(AdaiPort):
    """Takes the mean of all tensors put into one vector."""

    def mean(self, pairs: Pairs) -> Any:
        return torch.cat([self.corrected(p, group).reshape(-1) for p, group in pairs]).mean()


class AdaiDoubleMean(AdaiPort):
    """Accumulates the mean in double precision."""

    def mean(self, pairs: Pairs) -> Any:
        total = sum(self.corrected(p, group).sum(dtype=torch.float64) for p, group in pairs)
        return total / sum(p.numel() for p, _ in pairs)


class AdaiRunningSum(AdaiPort):
    """Adds the second moments from the last to the first, one by one."""

    def mean(self, pairs: Pairs) -> Any:
        vector = torch.cat([self.corrected(p, group).reshape(-1) for p, group in pairs])
        return running_sum(vector.flip(0)[None])[0] / len(vector)


class AdaiPairwiseSum(AdaiPort):
    """Adds the second moments in pairs, divided by their number before."""

    def mean(self, pairs: Pairs) -> Any:
        vector = torch.cat([self.corrected(p, group).reshape(-1) for p, group in pairs])
        return pairwise_sum((vector / len(vector))[None])[0]


class AdaiCorrectsSums(AdaiPort):
    """Corrects the sums of the second moments, and the mean when it compares a moment with it."""

    def mean(self, pairs: Pairs) -> Any:
        sums = [self.state[p]["exp_avg_sq"].sum() / self.correction(p, group) for p, group in pairs]
        return sum(reversed(sums)) * (1 / sum(p.numel() for p, _ in pairs))

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        v = self.state[p]["exp_avg_sq"]
        quotient = v / (mean * self.correction(p, group))
        return torch.where(torch.as_tensor(mean == 0), torch.zeros_like(v), quotient)

    def correction(self, p: Tensor, group: Group) -> float:
        return 1 - group["betas"][1] ** self.state[p]["step"]


class AdaiLerp(AdaiPort):
    """Moves the second moment by linear interpolation, and the first along with it."""

    def square(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg_sq"].lerp_(g * g, 1 - group["betas"][1])

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        state["beta1_prod"] = state["beta1_prod"] * beta1
        state["exp_avg"].lerp_(g, 1 - beta1)


class AdaiGains(AdaiPort):
    """Bounds 1 - beta1 in place of beta1, and subtracts what moment and product lose."""

    def update(self, p: Tensor, g: Tensor, mean: Any, group: Group) -> None:
        state = self.state[p]
        gain = self.gain(self.ratio(p, mean, group), group)
        for name in ("exp_avg", "beta1_prod"):
            state[name].sub_(gain * state[name])
        state["exp_avg"].add_(self.part(gain, group) * g)
        self.move(p, self.direction(state, gain, group), group)

    def gain(self, ratio: Tensor, group: Group) -> Tensor:
        return (group["betas"][0] * ratio).clamp(group["eps"], 1.0)

    def part(self, gain: Tensor, group: Group) -> Tensor:
        return gain


class AdaiDifference(AdaiPort):
    """Takes beta1 as the difference of mean and moment over the mean."""

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        vh = self.corrected(p, group)
        inertia = (mean - group["betas"][0] * vh) / mean
        return torch.where(torch.as_tensor(mean == 0), torch.ones_like(vh), inertia)

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(ratio, group)


class AdaiComplement(AdaiPort):
    """Keeps 1 less the product of the betas in place of the product."""

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        rest = state.get("rest", torch.zeros_like(beta1))
        state["rest"] = (1 - beta1) + beta1 * rest
        super().accumulate(state, g, beta1, group)

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"] / state["rest"]


class AdaiLogarithms(AdaiPort):
    """Keeps the logarithm of the product of the betas, which is -inf where a beta was 0."""

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        state["logarithm"] = state.get("logarithm", torch.zeros_like(beta1)) + beta1.log()
        super().accumulate(state, g, beta1, group)

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return -state["exp_avg"] / torch.expm1(state["logarithm"])


class AdaiCorrectedMoment(AdaiPort):
    """Stores the corrected moment, and corrects it anew in each step."""

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        old = 1 - state["beta1_prod"]
        state["beta1_prod"].mul_(beta1)
        moment = state["exp_avg"] * (old * beta1) + self.weight(beta1, group) * g
        state["exp_avg"] = moment / (1 - state["beta1_prod"])

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"]


class AdaiGeometricSums(AdaiPort):
    """Stores the second moment as a sum, and divides it by the sum of the powers of beta2."""

    only_with_constants = True

    def count(self, state: State, group: Group) -> None:
        state["sum"] = 1 + group["betas"][1] * state.get("sum", 0.0)

    def square(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg_sq"] = group["betas"][1] * state["exp_avg_sq"] + g * g

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        return self.state[p]["exp_avg_sq"] / self.state[p]["sum"]


class AdaiReciprocal(AdaiPort):
    """Multiplies the rate by the reciprocal of the correction, and this by the moment."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return (1 - state["beta1_prod"]).reciprocal() * group["lr"] * state["exp_avg"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(u)


class AdaiSeparateProducts(AdaiPort):
    """Rounds every product before it is added, and subtracts the decay."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return super().decayed(p, g, group) if group["decoupled"] else g + group["weight_decay"] * p

    def shrink(self, p: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * group["weight_decay"] * p)

    def square(self, state: State, g: Tensor, group: Group) -> None:
        beta2 = group["betas"][1]
        state["exp_avg_sq"] = (1 - beta2) * (g * g) + beta2 * state["exp_avg_sq"]


class AdaiStepInTwoParts(AdaiPort):
    """Steps along the old moment and along today's gradient apart."""

    def update(self, p: Tensor, g: Tensor, mean: Any, group: Group) -> None:
        state = self.state[p]
        beta1 = self.inertia(self.ratio(p, mean, group), group)
        parts = (beta1 * state["exp_avg"], self.weight(beta1, group) * g)
        self.accumulate(state, g, beta1, group)
        for part in parts:
            self.move(p, part / (1 - state["beta1_prod"]), group)


class AdaiForeach(AdaiPort):
    """Takes the elementwise operations over all parameters of all groups at once."""

    def step_pairs(self, pairs: Pairs) -> None:
        states = [self.state[p] for p, _ in pairs]
        for (p, group), state in zip(pairs, states, strict=True):
            if not state:
                self.begin(state, p)
            self.count(state, group)
        gradients = [self.decayed(p, p.grad, group) for p, group in pairs]
        betas2 = [group["betas"][1] for _, group in pairs]
        squares, moments, products = (
            [state[name] for state in states] for name in ("exp_avg_sq", "exp_avg", "beta1_prod")
        )
        torch._foreach_mul_(squares, betas2)
        torch._foreach_addcmul_(squares, gradients, gradients, [1 - beta2 for beta2 in betas2])
        ratios = [self.ratio(p, mean, group) for (p, group), mean in zip(pairs, self.means(pairs), strict=True)]
        betas1 = [self.inertia(ratio, group) for ratio, (_, group) in zip(ratios, pairs, strict=True)]
        weights = [self.weight(beta1, group) for beta1, (_, group) in zip(betas1, pairs, strict=True)]
        torch._foreach_mul_(products, betas1)
        torch._foreach_mul_(moments, betas1)
        torch._foreach_addcmul_(moments, weights, gradients)
        negated = torch._foreach_div(moments, torch._foreach_sub(products, 1.0))
        for (p, group), u in zip(pairs, torch._foreach_neg(negated), strict=True):
            self.move(p, u, group)


class AdaiFlattened(Flattened, AdaiSeparateProducts):
    """Steps all parameters of a group as one vector, and rounds every product."""


class AdaiInDouble(InDouble, AdaiPort):
    """Computes and keeps everything but the weights in double precision."""


class AdaiThroughDouble(ThroughDouble, AdaiPort):
    """Computes each step in double precision and rounds its results."""


class AdaiDoubleWeights(DoubleWeights, AdaiPort):
    """Keeps the weights in double precision too."""


class AdaiV2MeanOfMeans(AdaiMeanOfMeans, AdaiV2Port):
    """Takes the mean of the tensors' means, weighted by their sizes."""


class AdaiV2RunningSum(AdaiRunningSum, AdaiV2Port):
    """Adds the second moments from the last to the first, one by one."""


class AdaiV2CorrectsSums(AdaiCorrectsSums, AdaiV2Port):
    """Corrects the sums of the second moments, and the mean when it compares a moment with it."""


class AdaiV2Gains(AdaiGains, AdaiV2Port):
    """Bounds 1 - beta1 in place of beta1, and subtracts what moment and product lose."""

    def gain(self, ratio: Tensor, group: Group) -> Tensor:
        return super().gain(ratio ** self.exponent(group["dampening"]), group)

    def part(self, gain: Tensor, group: Group) -> Tensor:
        return gain ** group["dampening"]


class AdaiV2Complement(AdaiComplement, AdaiV2Port):
    """Keeps 1 less the product of the betas in place of the product."""


class AdaiV2Logarithms(AdaiLogarithms, AdaiV2Port):
    """Keeps the logarithm of the product of the betas, which is -inf where a beta was 0."""


class AdaiV2CorrectedMoment(AdaiCorrectedMoment, AdaiV2Port):
    """Stores the corrected moment, and corrects it anew in each step."""


class AdaiV2GeometricSums(AdaiGeometricSums, AdaiV2Port):
    """Stores the second moment as a sum, and divides it by the sum of the powers of beta2."""


class AdaiV2SeparateProducts(AdaiSeparateProducts, AdaiV2Port):
    """Rounds every product before it is added, and subtracts the decay."""


class AdaiV2StepInTwoParts(AdaiStepInTwoParts, AdaiV2Port):
    """Steps along the old moment and along today's gradient apart."""


class AdaiV2Foreach(AdaiForeach, AdaiV2Port):
    """Takes the elementwise operations over all parameters of all groups at once."""


class AdaiV2Flattened(Flattened, AdaiV2Port):
    """Steps all parameters of a group as one vector."""


class AdaiV2InDouble(InDouble, AdaiV2Port):
    """Computes and keeps everything but the weights in double precision."""


class AdaiV2ThroughDouble(ThroughDouble, AdaiV2Port):
    """Computes each step in double precision and rounds its results."""


class AdaiV2PowersByLogarithms(AdaiV2Port):
    """Takes both powers as exponentials of multiples of logarithms."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        power = (ratio.log() * self.exponent(group["dampening"])).exp()
        return self.bounded(1 - group["betas"][0] * power, group)

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return (torch.log1p(-beta1) * group["dampening"]).exp()


class AdaiV2PowerOfEach(AdaiV2Port):
    """Takes the power of moment and mean apart and then their ratio."""

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        vh, exponent = self.corrected(p, group), self.exponent(group["dampening"])
        quotient = vh**exponent / torch.as_tensor(mean) ** exponent
        return torch.where(torch.as_tensor(mean == 0), torch.zeros_like(vh), quotient)

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(1 - group["betas"][0] * ratio, group)


class AdaiV2PowerOfProduct(AdaiV2Port):
    """Takes the factor beta0 into the power."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        exponent = self.exponent(group["dampening"])
        return self.bounded(1 - (group["betas"][0] ** (1 / exponent) * ratio) ** exponent, group)


class AdaiV2ScaledRate(AdaiV2Port):
    """Multiplies the rate by the power of beta0, taken by its logarithm."""

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"] * self.scale(group["betas"][0], group["dampening"]))

    def scale(self, beta0: float, dampening: float) -> float:
        if beta0 == 0:
            return super().scale(beta0, dampening)
        return math.exp((1 - dampening) * math.log(beta0))


class AdaiV2ScaledMoment(AdaiV2Port):
    """Scales the gradient by the power of beta0 before it enters the moment."""

    only_with_constants = True

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return super().weight(beta1, group) * self.scale(group["betas"][0], group["dampening"])

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(u * group["lr"])


REORDERINGS = (
    AdaiMeanOfMeans,
    AdaiMeanOfAll,
    AdaiDoubleMean,
    AdaiRunningSum,
    AdaiPairwiseSum,
    AdaiCorrectsSums,
    AdaiLerp,
    AdaiGains,
    AdaiDifference,
    AdaiComplement,
    AdaiLogarithms,
    AdaiCorrectedMoment,
    AdaiGeometricSums,
    AdaiReciprocal,
    AdaiSeparateProducts,
    AdaiStepInTwoParts,
    AdaiForeach,
    AdaiFlattened,
    AdaiInDouble,
    AdaiThroughDouble,
    AdaiDoubleWeights,
    AdaiV2MeanOfMeans,
    AdaiV2RunningSum,
    AdaiV2CorrectsSums,
    AdaiV2Gains,
    AdaiV2Complement,
    AdaiV2Logarithms,
    AdaiV2CorrectedMoment,
    AdaiV2GeometricSums,
    AdaiV2SeparateProducts,
    AdaiV2StepInTwoParts,
    AdaiV2Foreach,
    AdaiV2Flattened,
    AdaiV2InDouble,
    AdaiV2ThroughDouble,
    AdaiV2PowersByLogarithms,
    AdaiV2PowerOfEach,
    AdaiV2PowerOfProduct,
    AdaiV2ScaledRate,
    AdaiV2ScaledMoment,
)
