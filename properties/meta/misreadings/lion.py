"""Lion as published, and wrong ports of it.

`LionPort` computes the rule. Every other optimizer here overrides one small piece of it and
thereby computes something else; its docstring states the misreading.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.baselines import PlainPort


class LionPort(PlainPort):
    """The published rule."""

    rule = "lion"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p, g)
        u = self.direction(self.interpolated(state, g, group))
        self.decay(p, u, group)
        self.move(p, u, group)
        self.accumulate(state, g, group)

    def begin(self, state: State, p: Tensor, g: Tensor) -> None:
        state["exp_avg"] = torch.zeros_like(p)

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        return beta1 * state["exp_avg"] + (1 - beta1) * g

    def direction(self, c: Tensor) -> Tensor:
        return c.sign()

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        beta2 = group["betas"][1]
        state["exp_avg"].mul_(beta2).add_(g, alpha=1 - beta2)


class LionSwappedBetas(LionPort):
    """Takes beta2 for the interpolation and beta1 for the average, the other way round than the rule."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g, {**group, "betas": group["betas"][::-1]})


class LionStoresInterpolation(LionPort):
    """Keeps the interpolated gradient as the average where the rule averages by beta2."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg"] = self.interpolated(state, g, group)


class LionStoresDirection(LionPort):
    """Averages the signs that it steps along where the rule averages the gradients."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, self.direction(self.interpolated(state, g, group)), group)


class LionAveragesFirst(LionPort):
    """Updates the average before the interpolation where the rule interpolates with the old one."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p, g)
        self.accumulate(state, g, group)
        u = self.direction(self.interpolated(state, g, group))
        self.decay(p, u, group)
        self.move(p, u, group)


class LionStepsAlongAverage(LionPort):
    """Steps along the sign of the average, as signum does, where the rule interpolates it with the gradient."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p, g)
        self.accumulate(state, g, group)
        u = self.direction(state["exp_avg"])
        self.decay(p, u, group)
        self.move(p, u, group)


class LionSignOfGradient(LionPort):
    """Interpolates with the sign of the gradient where the rule takes the sign of the interpolation."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        return super().interpolated(state, g.sign(), group)


class LionSignsBeforeInterpolation(LionPort):
    """Interpolates the signs of average and gradient, and steps along that, where the rule takes the sign last."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        return super().interpolated({"exp_avg": state["exp_avg"].sign()}, g.sign(), group)

    def direction(self, c: Tensor) -> Tensor:
        return c


class LionWholeGradient(LionPort):
    """Adds the gradient to beta1 * m in full where the rule weighs it by 1 - beta1."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        return group["betas"][0] * state["exp_avg"] + g


class LionSums(LionPort):
    """Adds the gradient to the average in full where the rule weighs it by 1 - beta2."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg"].mul_(group["betas"][1]).add_(g)


class LionBeginsWithGradient(LionPort):
    """Starts the average with the first gradient where the rule starts it with zeros."""

    def begin(self, state: State, p: Tensor, g: Tensor) -> None:
        state["exp_avg"] = g.clone()


class LionCorrectedAverage(LionPort):
    """Corrects the average for its bias, as Adam does, where the rule does not."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        steps = state.setdefault("step", 0)
        correction = 1 - group["betas"][1] ** steps if steps else 1.0
        return super().interpolated({"exp_avg": state["exp_avg"] / correction}, g, group)

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, g, group)
        state["step"] += 1


class LionLooksAhead(LionPort):
    """Interpolates the new average with the gradient by beta2, as Nesterov does, where the rule takes the old one."""

    def interpolated(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta2 = group["betas"][1]
        new = beta2 * state["exp_avg"] + (1 - beta2) * g
        return beta2 * new + (1 - beta2) * g


class LionClipped(LionPort):
    """Clips the interpolation to [-1, 1] where the rule takes its sign."""

    def direction(self, c: Tensor) -> Tensor:
        return c.clamp(-1, 1)


class LionTanh(LionPort):
    """Smooths the sign to a hyperbolic tangent."""

    def direction(self, c: Tensor) -> Tensor:
        return torch.tanh(1e3 * c)


class LionNormalised(LionPort):
    """Divides the interpolation by its absolute value plus eps where the rule takes its sign."""

    def direction(self, c: Tensor) -> Tensor:
        return c / (c.abs() + 1e-8)


class LionPositiveAtZero(LionPort):
    """Steps down where the interpolation is exactly zero; the rule then stays."""

    def direction(self, c: Tensor) -> Tensor:
        return torch.where(c >= 0, 1.0, -1.0).to(c.dtype)


class LionScaledSign(LionPort):
    """Multiplies the sign by the mean absolute value of the tensor, as other sign methods do."""

    def direction(self, c: Tensor) -> Tensor:
        return c.sign() * c.abs().mean() if c.numel() else c


class LionUnitLength(LionPort):
    """Divides the step by the root of its size, to length lr, where the rule moves every coordinate by lr."""

    def direction(self, c: Tensor) -> Tensor:
        return c.sign() / max(1, c.numel()) ** 0.5


class LionCoupledDecay(LionPort):
    """Adds the decay to the gradient where the rule shrinks the weight."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, self.decayed(p, g, group), {**group, "weight_decay": 0.0})


class LionDecayInInterpolation(LionPort):
    """Adds the decay to the interpolation, under the sign, where the rule adds it to the sign."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p, g)
        u = self.direction(self.interpolated(state, g, group) + group["weight_decay"] * p)
        self.move(p, u, group)
        self.accumulate(state, g, group)


class LionDecayAfterStep(LionPort):
    """Shrinks the weight after the step where the rule shrinks it before."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        pass

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        super().move(p, u, group)
        super().decay(p, u, group)


class LionDecayWithoutRate(LionPort):
    """Shrinks the weight by weight_decay where the rule multiplies that by lr."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.mul_(1 - group["weight_decay"])


class LionDecayByScheduleAlone(LionPort):
    """Shrinks the weight by weight_decay times lr as a share of the first lr, where the rule takes lr itself."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        first = group.setdefault("initial_rate", group["lr"])
        p.mul_(1 - group["lr"] / first * group["weight_decay"])


class LionExponentialDecay(LionPort):
    """Shrinks the weight by exp(-lr * weight_decay) where the rule has its first two terms."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.mul_(torch.exp(torch.tensor(-group["lr"] * group["weight_decay"], dtype=torch.float64)).item())


class LionCautiousDecay(LionPort):
    """Shrinks just the weights that the step takes towards zero where the rule shrinks all."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"] * (u * p > 0).to(p.dtype))


class LionCautious(LionPort):
    """Leaves out the coordinates whose gradient has the other sign, as cautious optimizers do."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p, g)
        u = self.direction(self.interpolated(state, g, group))
        u = u * (u * g > 0)
        self.decay(p, u, group)
        self.move(p, u, group)
        self.accumulate(state, g, group)


class LionUndecayedVectors(LionPort):
    """Spares vectors and scalars the decay where the rule decays every parameter."""

    def decay(self, p: Tensor, u: Tensor, group: Group) -> None:
        if p.ndim > 1:
            super().decay(p, u, group)


class LionSkipsZeroGradients(LionPort):
    """Takes a gradient of zeros for none where the rule goes on along the average."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        if g.any():
            super().update(p, g, group)


class LionMissingGradientIsZero(LionPort):
    """Steps a parameter without gradient along its average where the rule leaves it alone."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in group["params"]:
            self.update(p, torch.zeros_like(p) if p.grad is None else p.grad, group)


class LionFirstGroupForAll(LionPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class LionSharedAverage(LionPort):
    """Keeps one average for the whole tensor, the mean of its gradient, where the rule keeps one a coordinate."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, g.mean().expand_as(g) if g.numel() else g, group)


MISREADINGS = (
    LionSwappedBetas,
    LionStoresInterpolation,
    LionStoresDirection,
    LionAveragesFirst,
    LionStepsAlongAverage,
    LionSignOfGradient,
    LionSignsBeforeInterpolation,
    LionWholeGradient,
    LionSums,
    LionBeginsWithGradient,
    LionCorrectedAverage,
    LionLooksAhead,
    LionClipped,
    LionTanh,
    LionNormalised,
    LionPositiveAtZero,
    LionScaledSign,
    LionUnitLength,
    LionCoupledDecay,
    LionDecayInInterpolation,
    LionDecayAfterStep,
    LionDecayWithoutRate,
    LionDecayByScheduleAlone,
    LionExponentialDecay,
    LionCautiousDecay,
    LionCautious,
    LionUndecayedVectors,
    LionSkipsZeroGradients,
    LionMissingGradientIsZero,
    LionFirstGroupForAll,
    LionSharedAverage,
)
