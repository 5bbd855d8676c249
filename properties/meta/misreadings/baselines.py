"""SGD, Adam, AdamW and RMSprop as torch computes them, and wrong ports of them.

`SGDPort`, `AdamPort`, `AdamWPort` and `RMSpropPort` compute the rules. Every other optimizer here
overrides one small piece of one of them and thereby computes something else; its docstring states
the misreading.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepgauge.properties.meta.misreadings.adamp import Group, State


class PlainPort(Optimizer):
    """The step loop of the rules that treat each parameter by itself."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.step_group(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in params:
            self.update(p, p.grad, group)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        raise NotImplementedError

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=group["weight_decay"])


class SGDPort(PlainPort):
    """The rule of torch: the first buffer is the undampened gradient."""

    rule = "sgd"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        d = self.decayed(p, g, group)
        self.move(p, self.direction(self.state[p], d, group), group)

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        if group["momentum"] == 0:
            return d
        if "momentum_buffer" in state:
            self.accumulate(state, d, group)
        else:
            self.begin(state, d, group)
        return self.look_ahead(state, d, group) if group["nesterov"] else state["momentum_buffer"]

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = d.clone()

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"].mul_(group["momentum"]).add_(d, alpha=1 - group["dampening"])

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return d + group["momentum"] * state["momentum_buffer"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])


class SGDDampensFirst(SGDPort):
    """Dampens the first gradient too where the rule starts the buffer with all of it."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = (1 - group["dampening"]) * d


class SGDNeverDampens(SGDPort):
    """Adds the gradient to the buffer in full where the rule dampens it."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        super().accumulate(state, d, {**group, "dampening": 0})


class SGDDampensBuffer(SGDPort):
    """Dampens the sum of the buffer and the gradient where the rule dampens the gradient alone."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        super().accumulate(state, d, {**group, "dampening": 0})
        state["momentum_buffer"].mul_(1 - group["dampening"])


class SGDDampensWithoutMomentum(SGDPort):
    """Dampens the gradient without momentum too where the rule then leaves it as it is."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        return super().direction(state, d, group) if group["momentum"] else (1 - group["dampening"]) * d


class SGDAveragedMomentum(SGDPort):
    """Weighs the new gradient by 1 - momentum where the rule weighs it by 1 - dampening."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        super().accumulate(state, d, {**group, "dampening": group["momentum"]})


class SGDEmptyAveragedMomentum(SGDPort):
    """Averages from an empty buffer where the rule sums up from the first gradient."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = (1 - group["momentum"]) * d

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        super().accumulate(state, d, {**group, "dampening": group["momentum"]})


class SGDNesterovWithoutGradient(SGDPort):
    """Leaves the gradient out of the look-ahead where the rule adds it."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return group["momentum"] * state["momentum_buffer"]


class SGDNesterovFromMomentum(SGDPort):
    """Looks ahead from the momentum where the rule looks ahead from the gradient."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return (1 + group["momentum"]) * state["momentum_buffer"]


class SGDNesterovOldMomentum(SGDPort):
    """Looks ahead with the buffer before this gradient where the rule takes the one after."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return state["momentum_buffer"]


class SGDNesterovStored(SGDPort):
    """Keeps the look-ahead as the next buffer where the rule keeps the buffer apart."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        state["momentum_buffer"] = super().look_ahead(state, d, group)
        return state["momentum_buffer"]


class SGDDecoupledDecay(SGDPort):
    """Shrinks the weight apart from the buffer where the rule adds the decay to the gradient."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        super().move(p, u, group)


class SGDDecayOutsideLookAhead(SGDPort):
    """Leaves the decay out of the look-ahead's gradient where the rule decays it as well."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return super().look_ahead(state, self.raw, group)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        self.raw = g
        return super().decayed(p, g, group)


class SGDDoubledDecay(SGDPort):
    """Takes the decay for the factor of |w|^2 and doubles it where it is the factor of |w|^2 / 2."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=2 * group["weight_decay"])


class SGDUndecayedVectors(SGDPort):
    """Spares one-dimensional parameters the decay where the rule decays every parameter."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return super().decayed(p, g, group) if p.ndim > 1 else g


class SGDRateInBuffer(SGDPort):
    """Accumulates the gradient times the rate of its day where the rule applies today's rate."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        return super().direction(state, group["lr"] * d, group)

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(u)


class SGDMissingGradientIsZero(SGDPort):
    """Moves a parameter without gradient along its old buffer where the rule leaves it alone."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in group["params"]:
            self.update(p, torch.zeros_like(p) if p.grad is None else p.grad, group)


class SGDFirstGroupForAll(SGDPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class SGDSingleBuffer(SGDPort):
    """Keeps the momentum in single precision where it has the precision of the parameter."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = d.to(torch.float32, copy=True)


class AdamPort(PlainPort):
    """The rule of torch: eps outside the root, after the bias correction, and a coupled decay."""

    rule = "adam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if "step" not in state:
            self.begin(state, p, g)
        self.count(state, group)
        self.moments(state, self.decayed(p, g, group), group)
        self.move(p, state["exp_avg"] / self.denominator(state, group), state, group)

    def begin(self, state: State, p: Tensor, g: Tensor) -> None:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(p)
        state["exp_avg_sq"] = torch.zeros_like(p)
        state["max_exp_avg_sq"] = torch.zeros_like(p)

    def count(self, state: State, group: Group) -> None:
        state["step"] += 1

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(d, alpha=1 - beta1)
        self.square(state, d, beta2)

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        state["exp_avg_sq"].mul_(beta2).addcmul_(d, d, value=1 - beta2)

    def denominator(self, state: State, group: Group) -> Tensor:
        v = self.largest(state, group) if group["amsgrad"] else state["exp_avg_sq"]
        return self.root(v, self.correction(state, group, 1), group["eps"])

    def largest(self, state: State, group: Group) -> Tensor:
        return torch.maximum(state["max_exp_avg_sq"], state["exp_avg_sq"], out=state["max_exp_avg_sq"])

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v.sqrt() / math.sqrt(correction) + eps

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - group["betas"][moment] ** state["step"]

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.add_(u, alpha=-group["lr"] / self.correction(state, group, 0))


class AdamNoFirstCorrection(AdamPort):
    """Leaves the bias of the first moment uncorrected."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, moment) if moment == 1 else 1.0


class AdamNoSecondCorrection(AdamPort):
    """Leaves the bias of the second moment uncorrected."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, moment) if moment == 0 else 1.0


class AdamCorrectsOneStepAhead(AdamPort):
    """Corrects the biases with the number of the next step where the rule takes the present one."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - group["betas"][moment] ** (state["step"] + 1)


class AdamUnrootedCorrection(AdamPort):
    """Divides the root by the second correction itself where the rule divides by its root."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v.sqrt() / correction + eps


class AdamEpsInsideRoot(AdamPort):
    """Adds eps under the square root where the rule adds it to the root."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v / correction + eps).sqrt()


class AdamEpsBeforeCorrection(AdamPort):
    """Adds eps before the bias correction of the denominator where the rule adds it after."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v.sqrt() + eps) / math.sqrt(correction)


class AdamClampedDenominator(AdamPort):
    """Keeps the denominator from falling below eps where the rule adds eps to it."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return super().root(v, correction, 0.0).clamp_min(eps)


class AdamSwappedBetas(AdamPort):
    """Takes the first beta for the second moment and the second for the first."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g, {**group, "betas": group["betas"][::-1]})


class AdamBeginsWithGradient(AdamPort):
    """Starts the first moment with the gradient where the rule starts it with zeros."""

    def begin(self, state: State, p: Tensor, g: Tensor) -> None:
        super().begin(state, p, g)
        state["exp_avg"] = g.clone()


class AdamCentredSquare(AdamPort):
    """Squares the distance of the gradient from the first moment where the rule squares the gradient."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        super().square(state, d - state["exp_avg"], beta2)


class AdamSquareOfMoment(AdamPort):
    """Averages the square of the first moment where the rule averages that of the gradient."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        super().square(state, state["exp_avg"], beta2)


class AdamUndecayedSquare(AdamPort):
    """Leaves the decay out of the second moment where it enters both moments."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        self.raw = g
        return super().decayed(p, g, group)

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        super().square(state, self.raw, beta2)


class AdamDecoupledDecay(AdamPort):
    """Shrinks the weight apart from the moments where the rule adds the decay to the gradient."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return g


class AdamMaximumOfCorrected(AdamPort):
    """Takes AMSGrad's maximum of the corrected moments where torch takes it before the correction."""

    def largest(self, state: State, group: Group) -> Tensor:
        correction = self.correction(state, group, 1)
        corrected = state["exp_avg_sq"] / correction
        torch.maximum(state["max_exp_avg_sq"], corrected, out=state["max_exp_avg_sq"])
        return state["max_exp_avg_sq"] * correction


class AdamMaximumStored(AdamPort):
    """Goes on averaging from AMSGrad's maximum where the rule keeps the average apart."""

    def largest(self, state: State, group: Group) -> Tensor:
        return state["exp_avg_sq"].copy_(super().largest(state, group))


class AdamMaximumUncorrected(AdamPort):
    """Leaves AMSGrad's maximum uncorrected where torch corrects its bias."""

    def denominator(self, state: State, group: Group) -> Tensor:
        if not group["amsgrad"]:
            return super().denominator(state, group)
        return self.root(self.largest(state, group), 1.0, group["eps"])


class AdamSharedCounter(AdamPort):
    """Counts the calls once for all parameters where each parameter counts its own gradients."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        group["calls"] = group.get("calls", 0) + 1
        super().step_group(group, params)

    def count(self, state: State, group: Group) -> None:
        state["step"] = group["calls"]


class AdamCountsEveryParameter(AdamPort):
    """Advances one counter with every parameter where each parameter counts its own gradients."""

    def count(self, state: State, group: Group) -> None:
        group["calls"] = group.get("calls", 0) + 1
        state["step"] = group["calls"]


class AdamFirstGroupForAll(AdamPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class AdamSingleMoments(AdamPort):
    """Keeps the moments in single precision where they have the precision of the parameter."""

    def begin(self, state: State, p: Tensor, g: Tensor) -> None:
        super().begin(state, p, g)
        for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            state[name] = state[name].float()


class AdamWPort(AdamPort):
    """The rule of torch: the weight is shrunk by lr * weight_decay before the step."""

    rule = "adamw"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        self.shrink(p, group)
        return g

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])


class AdamWCoupledDecay(AdamWPort):
    """Adds the decay to the gradient where the rule shrinks the weight apart from it."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=group["weight_decay"])


class AdamWDecayWithoutRate(AdamWPort):
    """Shrinks the weight by weight_decay alone where the rule multiplies it by the learning rate."""

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["weight_decay"])


class AdamWDecayAfterStep(AdamWPort):
    """Shrinks the weight after the step where the rule shrinks it before."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u, state, group)
        self.shrink(p, group)


class AdamWDecayWithCorrectedRate(AdamWPort):
    """Shrinks the weight with the bias-corrected rate where the rule takes the bare one."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u.add(p, alpha=group["weight_decay"]), state, group)


class AdamWDecayInDirection(AdamWPort):
    """Adds the decay to the moment before the division where the rule keeps it out of the quotient."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        decay = group["weight_decay"] * p / self.denominator(state, group)
        super().move(p, u + decay, state, group)


class AdamWUndecayedVectors(AdamWPort):
    """Spares one-dimensional parameters the decay where the rule decays every parameter."""

    def shrink(self, p: Tensor, group: Group) -> None:
        if p.ndim > 1:
            super().shrink(p, group)


class AdamWDecaysWithoutGradient(AdamWPort):
    """Shrinks a parameter without gradient too where the rule leaves it alone."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in group["params"]:
            if p.grad is None:
                self.shrink(p, group)
        super().step_group(group, params)


class AdamWExponentialDecay(AdamWPort):
    """Shrinks the weight by exp(-lr * weight_decay) where the rule takes 1 - lr * weight_decay."""

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(math.exp(-group["lr"] * group["weight_decay"]))


class AdamWEpsBeforeCorrection(AdamWPort):
    """Adds eps before the bias correction of the denominator where the rule adds it after."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v.sqrt() + eps) / math.sqrt(correction)


class AdamWNoSecondCorrection(AdamWPort):
    """Leaves the bias of the second moment uncorrected."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, moment) if moment == 0 else 1.0


class AdamWNesterov(AdamWPort):
    """Steps along the look-ahead of the first moment where the rule steps along the moment."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        super().moments(state, d, group)
        self.ahead = group["betas"][0] * state["exp_avg"] + (1 - group["betas"][0]) * d

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, self.ahead / self.denominator(state, group), state, group)


class AdamWFirstGroupForAll(AdamWPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class RMSpropPort(PlainPort):
    """The rule of torch: momentum of the quotients, eps outside the root, nothing bias-corrected."""

    rule = "rmsprop"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if "square_avg" not in state:
            self.begin(state, p)
        d = self.decayed(p, g, group)
        self.averages(state, d, group)
        self.move(p, self.direction(state, d, group), group)

    def begin(self, state: State, p: Tensor) -> None:
        state["square_avg"] = torch.zeros_like(p)
        state["grad_avg"] = torch.zeros_like(p)
        state["momentum_buffer"] = torch.zeros_like(p)

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        alpha = group["alpha"]
        state["square_avg"].mul_(alpha).addcmul_(d, d, value=1 - alpha)
        state["grad_avg"].mul_(alpha).add_(d, alpha=1 - alpha)

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        quotient = d / self.denominator(state, group)
        return self.accumulate(state, quotient, group) if group["momentum"] > 0 else quotient

    def denominator(self, state: State, group: Group) -> Tensor:
        return self.root(self.variance(state) if group["centered"] else state["square_avg"], group["eps"])

    def variance(self, state: State) -> Tensor:
        return state["square_avg"] - state["grad_avg"] ** 2

    def root(self, v: Tensor, eps: float) -> Tensor:
        return v.sqrt() + eps

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        return state["momentum_buffer"].mul_(group["momentum"]).add_(u)

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])


class RMSpropEpsInsideRoot(RMSpropPort):
    """Adds eps under the square root, as TensorFlow does, where torch adds it to the root."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return (v + eps).sqrt()


class RMSpropNoRoot(RMSpropPort):
    """Divides by the average square itself where the rule divides by its root."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return v + eps


class RMSpropBeginsWithOnes(RMSpropPort):
    """Starts the average square with ones, as TensorFlow does, where torch starts it with zeros."""

    def begin(self, state: State, p: Tensor) -> None:
        super().begin(state, p)
        state["square_avg"].fill_(1)


class RMSpropBeginsWithSquare(RMSpropPort):
    """Starts the average square with the first square where the rule averages it with zeros."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        if not state.get("started"):
            state["started"] = True
            state["square_avg"].addcmul_(d, d)
        super().averages(state, d, group)


class RMSpropSwappedWeights(RMSpropPort):
    """Weighs the new square by alpha where the rule weighs the average by it."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, d, {**group, "alpha": 1 - group["alpha"]})


class RMSpropOldAverage(RMSpropPort):
    """Divides by the average before this gradient where the rule takes the one after, save at first."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        before = state.get("before", self.denominator(state, group))
        state["before"] = self.denominator(state, group)
        quotient = d / before
        return self.accumulate(state, quotient, group) if group["momentum"] > 0 else quotient


class RMSpropCorrectsBias(RMSpropPort):
    """Corrects the bias of the average square, as Adam does, where the rule leaves it."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, d, group)
        state["step"] = state.get("step", 0) + 1

    def denominator(self, state: State, group: Group) -> Tensor:
        correction = 1 - group["alpha"] ** state["step"]
        return super().denominator(state, {**group, "eps": 0.0}) / math.sqrt(correction) + group["eps"]


class RMSpropCentresWithRoot(RMSpropPort):
    """Subtracts the average gradient from the average square where the rule squares it first."""

    def variance(self, state: State) -> Tensor:
        return (state["square_avg"] - state["grad_avg"]).abs()


class RMSpropCentresNumerator(RMSpropPort):
    """Subtracts the average gradient from the numerator as well where the rule centres the square alone."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        return super().direction(state, d - state["grad_avg"] if group["centered"] else d, group)


class RMSpropCentresEachSquare(RMSpropPort):
    """Averages the squared distance from the mean where the rule subtracts the squared mean."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        before = state["square_avg"].clone()
        super().averages(state, d, group)
        if group["centered"]:
            away = d - state["grad_avg"]
            state["square_avg"] = group["alpha"] * before + (1 - group["alpha"]) * away * away

    def variance(self, state: State) -> Tensor:
        return state["square_avg"]


class RMSpropMomentumFirst(RMSpropPort):
    """Accumulates the gradients and divides the sum where the rule accumulates the quotients."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        u = self.accumulate(state, d, group) if group["momentum"] > 0 else d
        return u / self.denominator(state, group)


class RMSpropAveragedMomentum(RMSpropPort):
    """Weighs the quotient by 1 - momentum where the rule adds it in full."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        return super().accumulate(state, (1 - group["momentum"]) * u, group)


class RMSpropNesterov(RMSpropPort):
    """Looks ahead from the quotient, as Nesterov does, where the rule steps along the buffer."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        return u + group["momentum"] * super().accumulate(state, u, group)


class RMSpropDecoupledDecay(RMSpropPort):
    """Shrinks the weight apart from the averages where the rule adds the decay to the gradient."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return g


class RMSpropUndecayedSquare(RMSpropPort):
    """Averages the square of the raw gradient where the decay enters the average too."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        self.raw = g
        return super().decayed(p, g, group)

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, self.raw, group)


class RMSpropMeanOfTensor(RMSpropPort):
    """Averages the squares over the whole tensor where the rule keeps each element apart."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return super().root(v.mean().expand_as(v), eps)


class RMSpropSingleAverages(RMSpropPort):
    """Keeps the averages in single precision where they have the precision of the parameter."""

    def begin(self, state: State, p: Tensor) -> None:
        super().begin(state, p)
        state["square_avg"] = state["square_avg"].float()


MISREADINGS = (
    SGDDampensFirst,
    SGDNeverDampens,
    SGDDampensBuffer,
    SGDDampensWithoutMomentum,
    SGDAveragedMomentum,
    SGDEmptyAveragedMomentum,
    SGDNesterovWithoutGradient,
    SGDNesterovFromMomentum,
    SGDNesterovOldMomentum,
    SGDNesterovStored,
    SGDDecoupledDecay,
    SGDDecayOutsideLookAhead,
    SGDDoubledDecay,
    SGDUndecayedVectors,
    SGDRateInBuffer,
    SGDMissingGradientIsZero,
    SGDFirstGroupForAll,
    SGDSingleBuffer,
    AdamNoFirstCorrection,
    AdamNoSecondCorrection,
    AdamCorrectsOneStepAhead,
    AdamUnrootedCorrection,
    AdamEpsInsideRoot,
    AdamEpsBeforeCorrection,
    AdamClampedDenominator,
    AdamSwappedBetas,
    AdamBeginsWithGradient,
    AdamCentredSquare,
    AdamSquareOfMoment,
    AdamUndecayedSquare,
    AdamDecoupledDecay,
    AdamMaximumOfCorrected,
    AdamMaximumStored,
    AdamMaximumUncorrected,
    AdamSharedCounter,
    AdamCountsEveryParameter,
    AdamFirstGroupForAll,
    AdamSingleMoments,
    AdamWCoupledDecay,
    AdamWDecayWithoutRate,
    AdamWDecayAfterStep,
    AdamWDecayWithCorrectedRate,
    AdamWDecayInDirection,
    AdamWUndecayedVectors,
    AdamWDecaysWithoutGradient,
    AdamWExponentialDecay,
    AdamWEpsBeforeCorrection,
    AdamWNoSecondCorrection,
    AdamWNesterov,
    AdamWFirstGroupForAll,
    RMSpropEpsInsideRoot,
    RMSpropNoRoot,
    RMSpropBeginsWithOnes,
    RMSpropBeginsWithSquare,
    RMSpropSwappedWeights,
    RMSpropOldAverage,
    RMSpropCorrectsBias,
    RMSpropCentresWithRoot,
    RMSpropCentresNumerator,
    RMSpropCentresEachSquare,
    RMSpropMomentumFirst,
    RMSpropAveragedMomentum,
    RMSpropNesterov,
    RMSpropDecoupledDecay,
    RMSpropUndecayedSquare,
    RMSpropMeanOfTensor,
    RMSpropSingleAverages,
)
