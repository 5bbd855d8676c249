"""Adai, AdaiW and AdaiV2 as published, and wrong ports of them.

`AdaiPort` and `AdaiV2Port` compute the rules. Every other optimizer here overrides one small piece
of one of them and thereby computes something else; its docstring states the misreading.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepgauge.properties.meta.misreadings.adamp import Group, State

Pairs = list[tuple[Tensor, Group]]


class AdaiPort(Optimizer):
    """The published rule: one mean over all parameters of all groups that have a gradient."""

    rule = "adai"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.1, 0.99),
        eps: float = 1e-3,
        weight_decay: float = 0,
        decoupled: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if pairs:
            self.step_pairs(pairs)
        return loss

    def step_pairs(self, pairs: Pairs) -> None:
        gradients = [self.prepare(p, group) for p, group in pairs]
        for (p, group), g, mean in zip(pairs, gradients, self.means(pairs), strict=True):
            self.update(p, g, mean, group)

    def prepare(self, p: Tensor, group: Group) -> Tensor:
        """Bring the second moment up to date and return the gradient of the first."""
        state = self.state[p]
        if not state:
            self.begin(state, p)
        self.count(state, group)
        g = self.decayed(p, p.grad, group)
        self.square(state, g, group)
        return g

    def begin(self, state: State, p: Tensor) -> None:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(p)
        state["exp_avg_sq"] = torch.zeros_like(p)
        state["beta1_prod"] = torch.ones_like(p)

    def count(self, state: State, group: Group) -> None:
        state["step"] += 1

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        if group["decoupled"]:
            self.shrink(p, group)
            return g
        return g.add(p, alpha=group["weight_decay"])

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])

    def square(self, state: State, g: Tensor, group: Group) -> None:
        beta2 = group["betas"][1]
        state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        state = self.state[p]
        return state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])

    def means(self, pairs: Pairs) -> list[Any]:
        """The mean that each parameter is compared with."""
        return [self.mean(pairs)] * len(pairs)

    def mean(self, pairs: Pairs) -> Any:
        total = sum(self.corrected(p, group).sum() for p, group in pairs)
        return total / sum(p.numel() for p, _ in pairs)

    def update(self, p: Tensor, g: Tensor, mean: Any, group: Group) -> None:
        state = self.state[p]
        beta1 = self.inertia(self.ratio(p, mean, group), group)
        self.accumulate(state, g, beta1, group)
        self.move(p, self.direction(state, beta1, group), group)

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        vh = self.corrected(p, group)
        return torch.where(torch.as_tensor(mean == 0), torch.zeros_like(vh), vh / mean)

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(1 - group["betas"][0] * ratio, group)

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return beta1.clamp(0.0, 1 - group["eps"])

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        state["beta1_prod"].mul_(beta1)
        state["exp_avg"].mul_(beta1).add_(self.weight(beta1, group) * g)

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return 1 - beta1

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"] / (1 - state["beta1_prod"])

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])


class AdaiMeanOfTensor(AdaiPort):
    """Takes the mean of each tensor by itself where the rule takes one over all parameters."""

    def means(self, pairs: Pairs) -> list[Any]:
        return [self.mean([pair]) for pair in pairs]


class AdaiMeanOfGroup(AdaiPort):
    """Takes the mean of each group by itself where the rule takes one over all groups."""

    def means(self, pairs: Pairs) -> list[Any]:
        return [self.mean([other for other in pairs if other[1] is group]) for _, group in pairs]


class AdaiMeanOfMeans(AdaiPort):
    """Averages the means of the tensors where the rule weighs each tensor by its size."""

    def mean(self, pairs: Pairs) -> Any:
        return sum(self.corrected(p, group).mean() for p, group in pairs) / len(pairs)


class AdaiMeanOverAllSizes(AdaiPort):
    """Divides by the size of all parameters where the rule counts those with a gradient."""

    def mean(self, pairs: Pairs) -> Any:
        total = sum(self.corrected(p, group).sum() for p, group in pairs)
        return total / sum(p.numel() for group in self.param_groups for p in group["params"])


class AdaiMeanOverAllStates(AdaiPort):
    """Takes the mean over every parameter seen so far where the rule asks for a gradient today."""

    def mean(self, pairs: Pairs) -> Any:
        everyone = [(p, group) for group in self.param_groups for p in group["params"] if self.state[p]]
        return super().mean(everyone)


class AdaiMeanSoFar(AdaiPort):
    """Takes the mean over the parameters visited so far, in one loop, where the rule needs two."""

    def means(self, pairs: Pairs) -> list[Any]:
        return [self.mean(pairs[: i + 1]) for i in range(len(pairs))]


class AdaiMeanOfLastStep(AdaiPort):
    """Compares with the mean of the step before, save at first, where the rule takes today's."""

    def mean(self, pairs: Pairs) -> Any:
        today = super().mean(pairs)
        last, self.last = getattr(self, "last", today), today
        return last


class AdaiMeanUncorrected(AdaiPort):
    """Takes the mean of the second moments before their bias correction."""

    def mean(self, pairs: Pairs) -> Any:
        total = sum(self.state[p]["exp_avg_sq"].sum() for p, _ in pairs)
        return total / sum(p.numel() for p, _ in pairs)


class AdaiSumOfSquares(AdaiPort):
    """Compares with the sum of the second moments where the rule compares with their mean."""

    def mean(self, pairs: Pairs) -> Any:
        return sum(self.corrected(p, group).sum() for p, group in pairs)


class AdaiMedian(AdaiPort):
    """Compares with the median of the second moments where the rule compares with their mean."""

    def mean(self, pairs: Pairs) -> Any:
        return torch.cat([self.corrected(p, group).flatten() for p, group in pairs]).median()


class AdaiLargest(AdaiPort):
    """Compares with the largest second moment where the rule compares with the mean."""

    def mean(self, pairs: Pairs) -> Any:
        return torch.stack([self.corrected(p, group).max() for p, group in pairs]).max()


class AdaiRootOfMoments(AdaiPort):
    """Compares the roots of the second moments where the rule compares the moments."""

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        return super().corrected(p, group).sqrt()


class AdaiUncorrectedMoments(AdaiPort):
    """Leaves the bias of the second moments uncorrected, as if it always cancelled in the ratio."""

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        return self.state[p]["exp_avg_sq"]


class AdaiCorrectsOneStepAhead(AdaiPort):
    """Corrects the second moment with the number of the next step where the rule takes this one's."""

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        state = self.state[p]
        return state["exp_avg_sq"] / (1 - group["betas"][1] ** (state["step"] + 1))


class AdaiSquaresOfToday(AdaiPort):
    """Compares today's squared gradients where the rule compares their moving averages."""

    def square(self, state: State, g: Tensor, group: Group) -> None:
        super().square(state, g, {**group, "betas": (group["betas"][0], 0.0)})

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        return self.state[p]["exp_avg_sq"]


class AdaiEpsAddedToMean(AdaiPort):
    """Adds eps to the mean, as if to guard the division, besides bounding beta1 by 1 - eps."""

    def mean(self, pairs: Pairs) -> Any:
        return super().mean(pairs) + pairs[0][1]["eps"]


class AdaiInverseRatio(AdaiPort):
    """Divides the mean by the second moment where the rule divides the moment by the mean."""

    def ratio(self, p: Tensor, mean: Any, group: Group) -> Tensor:
        return mean / self.corrected(p, group)


class AdaiComplement(AdaiPort):
    """Takes beta0 times the ratio for beta1 where the rule takes its complement."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(group["betas"][0] * ratio, group)


class AdaiComplementOfBeta(AdaiPort):
    """Multiplies the ratio by 1 - beta0 where the rule multiplies it by beta0."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(1 - (1 - group["betas"][0]) * ratio, group)


class AdaiBoundedByOne(AdaiPort):
    """Bounds beta1 by a number next to 1 where the rule bounds it by 1 - eps."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return super().bounded(beta1, {**group, "eps": 1e-8})


class AdaiBoundedByEps(AdaiPort):
    """Bounds beta1 by eps from below where the rule bounds it by 0."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return beta1.clamp(group["eps"], 1 - group["eps"])


class AdaiNoLowerBound(AdaiPort):
    """Lets beta1 fall below 0 where the rule bounds it."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return beta1.clamp_max(1 - group["eps"])


class AdaiMeanInertia(AdaiPort):
    """Gives a whole tensor the mean of its beta1 where each element has its own."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return super().bounded(beta1, group).mean().expand_as(beta1)


class AdaiFullGradient(AdaiPort):
    """Adds the whole gradient to the first moment where the rule adds its (1 - beta1) part."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return torch.ones_like(beta1)


class AdaiConstantWeight(AdaiPort):
    """Weighs the new gradient by beta0 where the rule weighs it by 1 - beta1."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return torch.full_like(beta1, group["betas"][0])


class AdaiPowerCorrection(AdaiPort):
    """Corrects the first moment with a power of today's beta1 where the rule takes the product of all."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"] / (1 - beta1 ** state["step"])


class AdaiNoFirstCorrection(AdaiPort):
    """Leaves the bias of the first moment uncorrected."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"]


class AdaiStoresCorrection(AdaiPort):
    """Writes the corrected moment back where the rule keeps it apart."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"].div_(1 - state["beta1_prod"])


class AdaiDividesByRoot(AdaiPort):
    """Divides the step by the root of the second moment, as Adam does, where the rule does not."""

    def update(self, p: Tensor, g: Tensor, mean: Any, group: Group) -> None:
        self.root = self.corrected(p, group).sqrt() + group["eps"]
        super().update(p, g, mean, group)

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        super().move(p, u / self.root, group)


class AdaiUndecayedSquare(AdaiPort):
    """Leaves the coupled decay out of the second moment where it enters both moments."""

    def prepare(self, p: Tensor, group: Group) -> Tensor:
        self.raw = p.grad
        return super().prepare(p, group)

    def square(self, state: State, g: Tensor, group: Group) -> None:
        super().square(state, self.raw, group)


class AdaiDecayedSquareAlone(AdaiPort):
    """Leaves the coupled decay out of the first moment where it enters both moments."""

    def prepare(self, p: Tensor, group: Group) -> Tensor:
        super().prepare(p, group)
        return p.grad


class AdaiAlwaysDecoupled(AdaiPort):
    """Shrinks the weight whatever `decoupled` says where the rule couples the decay without it."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return super().decayed(p, g, {**group, "decoupled": True})


class AdaiAlwaysCoupled(AdaiPort):
    """Adds the decay to the gradient whatever `decoupled` says."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return super().decayed(p, g, {**group, "decoupled": False})


class AdaiDecayWithoutRate(AdaiPort):
    """Shrinks the weight by weight_decay alone where the rule multiplies it by the learning rate."""

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["weight_decay"])


class AdaiDecayAfterStep(AdaiPort):
    """Shrinks the weight after the step where the rule shrinks it before."""

    def shrink(self, p: Tensor, group: Group) -> None:
        pass

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        super().move(p, u, group)
        if group["decoupled"]:
            super().shrink(p, group)


class AdaiSharedCounter(AdaiPort):
    """Counts the calls once for all parameters where each parameter counts its own gradients."""

    def step_pairs(self, pairs: Pairs) -> None:
        self.calls = getattr(self, "calls", 0) + 1
        super().step_pairs(pairs)

    def count(self, state: State, group: Group) -> None:
        state["step"] = self.calls


class AdaiFirstGroupForAll(AdaiPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_pairs(self, pairs: Pairs) -> None:
        super().step_pairs([(p, self.param_groups[0]) for p, _ in pairs])


class AdaiSingleMoments(AdaiPort):
    """Keeps the moments in single precision where they have the precision of the parameter."""

    def begin(self, state: State, p: Tensor) -> None:
        super().begin(state, p)
        state["exp_avg"] = state["exp_avg"].float()
        state["exp_avg_sq"] = state["exp_avg_sq"].float()


class AdaiV2Port(AdaiPort):
    """The rule of the README: a power of the ratio, a dampened gradient and a factor of the step."""

    rule = "adaiv2"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.1, 0.99),
        eps: float = 1e-3,
        weight_decay: float = 0,
        dampening: float = 1.0,
        decoupled: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decoupled)
        self.defaults["dampening"] = dampening
        for group in self.param_groups:
            group.setdefault("dampening", dampening)

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return super().inertia(ratio ** self.exponent(group["dampening"]), group)

    def exponent(self, dampening: float) -> float:
        return 1 / (3 - 2 * dampening)

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return (1 - beta1) ** group["dampening"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        super().move(p, u * self.scale(group["betas"][0], group["dampening"]), group)

    def scale(self, beta0: float, dampening: float) -> float:
        return beta0 ** (1 - dampening)


class AdaiV2BareRatio(AdaiV2Port):
    """Takes the ratio itself where the rule takes its 1 / (3 - 2 d)-th power."""

    def exponent(self, dampening: float) -> float:
        return 1.0


class AdaiV2InverseExponent(AdaiV2Port):
    """Raises the ratio to 3 - 2 d where the rule takes that root of it."""

    def exponent(self, dampening: float) -> float:
        return 3 - 2 * dampening


class AdaiV2OtherExponent(AdaiV2Port):
    """Raises the ratio to 1 / (1 + 2 d), with d for 1 - d, where the rule takes 1 / (3 - 2 d)."""

    def exponent(self, dampening: float) -> float:
        return 1 / (1 + 2 * dampening)


class AdaiV2DampeningAsExponent(AdaiV2Port):
    """Raises the ratio to the dampening where the rule takes its 1 / (3 - 2 d)-th power."""

    def exponent(self, dampening: float) -> float:
        return dampening


class AdaiV2PowerOfProduct(AdaiV2Port):
    """Raises beta0 along with the ratio where the rule raises the ratio alone."""

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        power = (group["betas"][0] * ratio) ** self.exponent(group["dampening"])
        return self.bounded(1 - power, group)


class AdaiV2PowerOfMoments(AdaiV2Port):
    """Takes the mean of the powers of the second moments where the rule takes the power of the ratio."""

    def corrected(self, p: Tensor, group: Group) -> Tensor:
        return super().corrected(p, group) ** self.exponent(group["dampening"])

    def inertia(self, ratio: Tensor, group: Group) -> Tensor:
        return self.bounded(1 - group["betas"][0] * ratio, group)


class AdaiV2NoScale(AdaiV2Port):
    """Leaves out the factor beta0^(1 - d) of the step."""

    def scale(self, beta0: float, dampening: float) -> float:
        return 1.0


class AdaiV2OtherScale(AdaiV2Port):
    """Multiplies the step by beta0^d where the rule multiplies it by beta0^(1 - d)."""

    def scale(self, beta0: float, dampening: float) -> float:
        return beta0**dampening


class AdaiV2InverseScale(AdaiV2Port):
    """Divides the step by beta0^(1 - d) where the rule multiplies it by that."""

    def scale(self, beta0: float, dampening: float) -> float:
        return beta0 ** (dampening - 1)


class AdaiV2ScaleOfInertia(AdaiV2Port):
    """Scales each element by (1 - beta1)^(1 - d) where the rule scales the step by beta0^(1 - d)."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return super().direction(state, beta1, group) * (1 - beta1) ** (1 - group["dampening"])

    def scale(self, beta0: float, dampening: float) -> float:
        return 1.0


class AdaiV2Undampened(AdaiV2Port):
    """Weighs the new gradient by 1 - beta1 where the rule takes the d-th power of that."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return 1 - beta1


class AdaiV2TorchDampening(AdaiV2Port):
    """Weighs the new gradient by 1 - d, as torch's dampening does."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return torch.full_like(beta1, 1 - group["dampening"])


class AdaiV2OtherWeight(AdaiV2Port):
    """Weighs the new gradient by (1 - beta1)^(1 - d) where the rule takes the d-th power."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return (1 - beta1) ** (1 - group["dampening"])


class AdaiV2PowerOfInertia(AdaiV2Port):
    """Weighs the new gradient by 1 - beta1^d where the rule takes (1 - beta1)^d."""

    def weight(self, beta1: Tensor, group: Group) -> Tensor:
        return 1 - beta1 ** group["dampening"]


class AdaiV2CorrectsWithWeight(AdaiV2Port):
    """Corrects the first moment with the product of 1 - beta3 where the rule takes that of beta1."""

    def accumulate(self, state: State, g: Tensor, beta1: Tensor, group: Group) -> None:
        weight = self.weight(beta1, group)
        state["beta1_prod"].mul_(1 - weight)
        state["exp_avg"].mul_(beta1).add_(weight * g)


class AdaiV2CoupledDecay(AdaiV2Port):
    """Adds the decay to the gradient, as Adai does by default, whatever `decoupled` says."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return super().decayed(p, g, {**group, "decoupled": False})


class AdaiV2ScaledDecay(AdaiV2Port):
    """Multiplies the decay by beta0^(1 - d) too where the rule scales the step alone."""

    def shrink(self, p: Tensor, group: Group) -> None:
        scale = self.scale(group["betas"][0], group["dampening"])
        p.mul_(1 - group["lr"] * group["weight_decay"] * scale)


class AdaiV2MeanOfGroup(AdaiV2Port):
    """Takes the mean of each group by itself where the rule takes one over all groups."""

    def means(self, pairs: Pairs) -> list[Any]:
        return [self.mean([other for other in pairs if other[1] is group]) for _, group in pairs]


class AdaiV2MeanOverAllStates(AdaiV2Port):
    """Takes the mean over every parameter seen so far where the rule asks for a gradient today."""

    def mean(self, pairs: Pairs) -> Any:
        everyone = [(p, group) for group in self.param_groups for p in group["params"] if self.state[p]]
        return super().mean(everyone)


class AdaiV2PowerCorrection(AdaiV2Port):
    """Corrects the first moment with a power of today's beta1 where the rule takes the product of all."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        return state["exp_avg"] / (1 - beta1 ** state["step"])


MISREADINGS = (
    AdaiMeanOfTensor,
    AdaiMeanOfGroup,
    AdaiMeanOfMeans,
    AdaiMeanOverAllSizes,
    AdaiMeanOverAllStates,
    AdaiMeanSoFar,
    AdaiMeanOfLastStep,
    AdaiMeanUncorrected,
    AdaiSumOfSquares,
    AdaiMedian,
    AdaiLargest,
    AdaiRootOfMoments,
    AdaiUncorrectedMoments,
    AdaiCorrectsOneStepAhead,
    AdaiSquaresOfToday,
    AdaiEpsAddedToMean,
    AdaiInverseRatio,
    AdaiComplement,
    AdaiComplementOfBeta,
    AdaiBoundedByOne,
    AdaiBoundedByEps,
    AdaiNoLowerBound,
    AdaiMeanInertia,
    AdaiFullGradient,
    AdaiConstantWeight,
    AdaiPowerCorrection,
    AdaiNoFirstCorrection,
    AdaiStoresCorrection,
    AdaiDividesByRoot,
    AdaiUndecayedSquare,
    AdaiDecayedSquareAlone,
    AdaiAlwaysDecoupled,
    AdaiAlwaysCoupled,
    AdaiDecayWithoutRate,
    AdaiDecayAfterStep,
    AdaiSharedCounter,
    AdaiFirstGroupForAll,
    AdaiSingleMoments,
    AdaiV2BareRatio,
    AdaiV2InverseExponent,
    AdaiV2OtherExponent,
    AdaiV2DampeningAsExponent,
    AdaiV2PowerOfProduct,
    AdaiV2PowerOfMoments,
    AdaiV2NoScale,
    AdaiV2OtherScale,
    AdaiV2InverseScale,
    AdaiV2ScaleOfInertia,
    AdaiV2Undampened,
    AdaiV2TorchDampening,
    AdaiV2OtherWeight,
    AdaiV2PowerOfInertia,
    AdaiV2CorrectsWithWeight,
    AdaiV2CoupledDecay,
    AdaiV2ScaledDecay,
    AdaiV2MeanOfGroup,
    AdaiV2MeanOverAllStates,
    AdaiV2PowerCorrection,
)
