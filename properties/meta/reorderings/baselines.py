"""Right ports of SGD, Adam, AdamW and RMSprop in other orders of floating-point operations."""

import math

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.baselines import AdamPort, AdamWPort, RMSpropPort, SGDPort
from stepgauge.properties.meta.reorderings.common import (
    DoubleWeights,
    Flattened,
    InDouble,
    Tensors,
    ThroughDouble,
    mixed,
    weighted,
)


class SGDSeparateProducts(SGDPort):
    """Rounds every product before it is added."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g + group["weight_decay"] * p

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        part = (1 - group["dampening"]) * d
        state["momentum_buffer"] = part + group["momentum"] * state["momentum_buffer"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * u)


class SGDLerp(SGDPort):
    """Moves the buffer by linear interpolation and then stretches it."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        part = 1 - group["dampening"]
        total = group["momentum"] + part
        state["momentum_buffer"].lerp_(d, part / total).mul_(total)


class SGDDecayLerp(SGDPort):
    """Adds the decay as a point between the gradient and the weight."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return mixed(g, p, group["weight_decay"])


class SGDSubtractedLeak(SGDPort):
    """Subtracts (1 - momentum) * buffer from the buffer and adds the gradient to the rest."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        m = state["momentum_buffer"]
        m.sub_((1 - group["momentum"]) * m).add_(d).sub_(group["dampening"] * d)


class SGDSplit(SGDPort):
    """The update as a multiple `reach` of the decayed gradient and what the old buffer adds to it."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state, momentum = self.state[p], group["momentum"]
        old = state["momentum_buffer"].clone() if "momentum_buffer" in state else torch.zeros_like(p)
        part = 1 - group["dampening"] if "momentum_buffer" in state else 1.0
        self.direction(state, self.decayed(p, g, group), group)
        ahead = group["nesterov"] and momentum != 0
        reach = 1 + momentum * part if ahead else part
        self.combine(p, g, reach, (momentum**2 if ahead else momentum) * old, group)

    def combine(self, p: Tensor, g: Tensor, reach: float, kept: Tensor, group: Group) -> None:
        raise NotImplementedError


class SGDDecayOnWeight(SGDSplit):
    """Shrinks the weight by what today's decay adds to the update, and steps without it."""

    def combine(self, p: Tensor, g: Tensor, reach: float, kept: Tensor, group: Group) -> None:
        shrink = group["lr"] * reach * group["weight_decay"]
        p.mul_(1 - shrink).sub_(group["lr"] * (kept + reach * g))


class SGDStepInTwoParts(SGDSplit):
    """Steps along the old buffer and along today's gradient apart."""

    def combine(self, p: Tensor, g: Tensor, reach: float, kept: Tensor, group: Group) -> None:
        d = self.decayed(p, g, group)
        p.sub_(group["lr"] * kept)
        p.sub_(group["lr"] * reach * d)


class SGDOneExpression(SGDSplit):
    """Distributes the rate over gradient, decay and buffer, and adds everything in one expression."""

    def combine(self, p: Tensor, g: Tensor, reach: float, kept: Tensor, group: Group) -> None:
        lr = group["lr"]
        p.copy_(p - (lr * reach) * g - (lr * reach * group["weight_decay"]) * p - lr * kept)


class SGDMatrixProduct(SGDSplit):
    """Adds weight, gradient and old buffer as a product of a matrix and a vector."""

    def combine(self, p: Tensor, g: Tensor, reach: float, kept: Tensor, group: Group) -> None:
        lr = group["lr"]
        shrunk = 1 - lr * reach * group["weight_decay"]
        p.copy_(weighted((-lr, -lr * reach, shrunk), (kept, g, p)))


class SGDDecayIntoBuffer(SGDPort):
    """Adds gradient and decay to the buffer one by one."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        part = 1 - group["dampening"]
        g, shrink = state["today"]
        state["momentum_buffer"].mul_(group["momentum"]).add_(shrink, alpha=part).add_(g, alpha=part)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        self.state[p]["today"] = (g, group["weight_decay"] * p)
        super().update(p, g, group)
        del self.state[p]["today"]


class SGDTwoBuffers(SGDPort):
    """Keeps one buffer of the gradients and one of the weights, and adds them in the step."""

    only_with_constants = True

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        parts = [
            self.direction(state.setdefault("gradients", {}), g, group),
            self.direction(state.setdefault("weights", {}), p.clone(), group),
        ]
        self.move(p, parts[0] + group["weight_decay"] * parts[1], group)


class SGDVelocity(SGDPort):
    """Stores the buffer times the learning rate, and rescales it when the rate changes."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state, momentum, scale = self.state[p], group["momentum"], group["lr"] or 1.0
        d = self.decayed(p, g, group)
        if "velocity" in state:
            part = scale * (1 - group["dampening"])
            state["velocity"].mul_(momentum * (scale / state["scale"])).add_(d, alpha=part)
        else:
            state["velocity"] = scale * d
        state["scale"] = scale
        if group["lr"] == 0:
            return
        if momentum == 0:
            p.sub_(scale * d)
        elif group["nesterov"]:
            p.sub_(scale * d).sub_(momentum * state["velocity"])
        else:
            p.sub_(state["velocity"])


class SGDAverage(SGDPort):
    """Stores the buffer times 1 - momentum, as a moving average, and divides the update by it."""

    only_with_constants = True

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = self.rest(group) * d

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        part = self.rest(group) * (1 - group["dampening"])
        state["momentum_buffer"].mul_(group["momentum"]).add_(d, alpha=part)

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        if group["momentum"] == 0:
            return d
        super().direction(state, d, group | {"nesterov": False})
        buffer = state["momentum_buffer"] / self.rest(group)
        return d + group["momentum"] * buffer if group["nesterov"] else buffer

    def rest(self, group: Group) -> float:
        return 1 - group["momentum"] if group["momentum"] < 1 else 1.0


class SGDDampenedStep(SGDPort):
    """Accumulates undampened gradients and dampens the step, where dampening is below 1."""

    only_with_constants = True

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = d / self.part(group)

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        fresh = d if group["dampening"] < 1 else torch.zeros_like(d)
        state["momentum_buffer"] = torch.add(fresh, state["momentum_buffer"], alpha=group["momentum"])

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return d / self.part(group) + group["momentum"] * state["momentum_buffer"]

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        return d if group["momentum"] == 0 else self.part(group) * super().direction(state, d, group)

    def part(self, group: Group) -> float:
        return 1 - group["dampening"] if group["dampening"] < 1 else 1.0


class SGDHistory(SGDPort):
    """Keeps the last gradients by themselves and adds them to the buffer four at a time."""

    only_with_constants = True

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["base"], state["momentum_buffer"], state["recent"] = d.clone(), d.clone(), []

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        state["recent"].append((1 - group["dampening"]) * d)
        powers = [group["momentum"] ** k for k in range(len(state["recent"]), -1, -1)]
        state["momentum_buffer"] = weighted(tuple(powers), (state["base"], *state["recent"]))
        if len(state["recent"]) == 4:
            state["base"], state["recent"] = state["momentum_buffer"], []


class SGDExpandedLookAhead(SGDPort):
    """Looks ahead from the old buffer, and rounds every product before it is added."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        momentum, part = group["momentum"], 1 - group["dampening"]
        state["ahead"] = (1 + momentum * part) * d + momentum**2 * state["momentum_buffer"]
        state["momentum_buffer"] = momentum * state["momentum_buffer"] + part * d

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        return state.pop("ahead", (1 + group["momentum"]) * d)


class SGDForeach(SGDPort):
    """Takes the operations over all parameters of a group at once, the rate multiplied first."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        shrinks = torch._foreach_mul(params, group["weight_decay"])
        decayed = torch._foreach_add(shrinks, [p.grad for p in params])
        pairs = zip(params, decayed, strict=True)
        updates = [self.direction(self.state[p], d, group) for p, d in pairs]
        torch._foreach_sub_(params, torch._foreach_mul(updates, group["lr"]))


class SGDAddcmul(SGDPort):
    """Scales gradient and buffer elementwise by full tensors."""

    def accumulate(self, state: State, d: Tensor, group: Group) -> None:
        ones = torch.ones_like(d)
        part = (1 - group["dampening"]) * d
        state["momentum_buffer"] = part.addcmul(state["momentum_buffer"], ones, value=group["momentum"])

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(torch.full_like(u, group["lr"]).mul_(u))


class SGDFlattened(Flattened, SGDLerp):
    """Steps all parameters of a group as one vector, by linear interpolation."""


class SGDInDouble(InDouble, SGDPort):
    """Computes and keeps everything but the weights in double precision."""


class SGDThroughDouble(ThroughDouble, SGDPort):
    """Computes each step in double precision and rounds its results."""


class SGDDoubleWeights(DoubleWeights, SGDPort):
    """Keeps the weights in double precision too."""


class SGDDoubleTwoBuffers(ThroughDouble, SGDTwoBuffers):
    """Keeps gradients and weights in two buffers, and adds them in double precision."""


class AdamLerp(AdamPort):
    """Moves both moments by linear interpolation."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(d, 1 - beta1)
        state["exp_avg_sq"].lerp_(d * d, 1 - beta2)


class AdamCorrectsFirst(AdamPort):
    """Corrects both moments before it divides them."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v / correction).sqrt() + eps

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(u / self.correction(state, group, 0) * group["lr"])


class AdamRescaledRate(AdamPort):
    """Puts the correction of the second moment into eps and into the learning rate."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v.sqrt() + eps * math.sqrt(correction)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        root = math.sqrt(self.correction(state, group, 1))
        p.add_(u, alpha=-group["lr"] * root / self.correction(state, group, 0))


class AdamReciprocals(AdamPort):
    """Multiplies by the reciprocals of the corrections."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v.sqrt().mul_(1 / math.sqrt(correction)).add_(eps)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(u * (1 / self.correction(state, group, 0)) * group["lr"])


class AdamRsqrt(AdamPort):
    """Takes the root of the second moment as the reciprocal of its reciprocal root."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v / correction).rsqrt().reciprocal() + eps


class AdamPowerRoot(AdamPort):
    """Adds eps in units of the uncorrected moment and divides the root by a power of the correction."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v**0.5 + eps * correction**0.5) * correction**-0.5


class AdamRootState(AdamPort):
    """Stores the root of the second moment and moves it as the hypotenuse of old root and gradient."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        state["exp_avg_sq"] = torch.hypot(math.sqrt(beta2) * state["exp_avg_sq"], math.sqrt(1 - beta2) * d)

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return v / math.sqrt(correction) + eps


class AdamRunningProducts(AdamPort):
    """Keeps running products of the betas in place of their powers."""

    only_with_constants = True

    def count(self, state: State, group: Group) -> None:
        products = state.get("products", (1.0, 1.0))
        state["products"] = tuple(x * beta for x, beta in zip(products, group["betas"], strict=True))

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - state["products"][moment]

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(group["lr"] / self.correction(state, group, 0) * u)


class AdamGeometricSums(AdamPort):
    """Stores sums in place of averages, and divides them by sums of the betas' powers."""

    only_with_constants = True

    def count(self, state: State, group: Group) -> None:
        sums = state.get("sums", (0.0, 0.0))
        state["sums"] = tuple(1 + beta * x for x, beta in zip(sums, group["betas"], strict=True))

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(d)
        state["exp_avg_sq"].mul_(beta2).addcmul_(d, d)

    def correction(self, state: State, group: Group, moment: int) -> float:
        return state["sums"][moment]


class AdamCorrectedStates(AdamPort):
    """Stores the corrected moments and moves them by a weight that depends on the step."""

    only_with_constants = True

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        weights = [(1 - group["betas"][i]) / self.correction(state, group, i) for i in (0, 1)]
        m, v = state["exp_avg"], state.setdefault("corrected", torch.zeros_like(d))
        m.add_(weights[0] * (d - m))
        v.mul_(1 - weights[1]).addcmul_(d, d, value=weights[1])
        state["exp_avg_sq"] = v * self.correction(state, group, 1)

    def denominator(self, state: State, group: Group) -> Tensor:
        return super().denominator(state, group) if group["amsgrad"] else state["corrected"].sqrt() + group["eps"]

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.add_(u, alpha=-group["lr"])


class AdamLogCorrection(AdamPort):
    """Computes the corrections as -expm1(t * log(beta)), and takes the rate into the quotient."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        beta = group["betas"][moment]
        return -math.expm1(state["step"] * math.log(beta)) if beta > 0 else 1.0

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_((group["lr"] * u) / self.correction(state, group, 0))


class AdamAddcdiv(AdamPort):
    """Divides the first moment and adds it to the weight in one operation."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if "step" not in state:
            self.begin(state, p, g)
        self.count(state, group)
        self.moments(state, self.decayed(p, g, group), group)
        self.step_along(p, state, self.denominator(state, group), group)

    def step_along(self, p: Tensor, state: State, denominator: Tensor, group: Group) -> None:
        p.addcdiv_(state["exp_avg"], denominator, value=-group["lr"] / self.correction(state, group, 0))


class AdamScaledMoment(AdamAddcdiv):
    """Scales the first moment by the rate and then divides it."""

    def step_along(self, p: Tensor, state: State, denominator: Tensor, group: Group) -> None:
        rate = group["lr"] / self.correction(state, group, 0)
        p.sub_((rate * state["exp_avg"]).div_(denominator))


class AdamScaledDenominator(AdamAddcdiv):
    """Divides the denominator by the rate, where the rate is not zero."""

    def step_along(self, p: Tensor, state: State, denominator: Tensor, group: Group) -> None:
        if group["lr"] != 0:
            p.sub_(state["exp_avg"] / (denominator * (self.correction(state, group, 0) / group["lr"])))


class AdamSeparateProducts(AdamPort):
    """Rounds every product before it is added."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g + group["weight_decay"] * p

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"] = beta1 * state["exp_avg"] + (1 - beta1) * d
        state["exp_avg_sq"] = beta2 * state["exp_avg_sq"] + (1 - beta2) * (d * d)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.copy_(p - group["lr"] * u / self.correction(state, group, 0))


class AdamScaledSquare(AdamPort):
    """Scales the gradient by the root of 1 - beta2 before it squares it."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        scaled = math.sqrt(1 - beta2) * d
        state["exp_avg_sq"].mul_(beta2).add_(scaled.square())


class AdamSubtractedLeaks(AdamPort):
    """Moves both moments by multiples of their distance to the gradient and to its square."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.sub_(m - d, alpha=1 - beta1)
        v.sub_((1 - beta2) * v).add_((1 - beta2) * d * d)


class AdamMatrixProduct(AdamPort):
    """Adds old moment and gradient as a product of a matrix and a vector."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"] = weighted((beta1, 1 - beta1), (state["exp_avg"], d))
        state["exp_avg_sq"] = weighted((1 - beta2, beta2), (d * d, state["exp_avg_sq"]))


class AdamStepInTwoParts(AdamPort):
    """Steps along the old moment and along today's gradient apart."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1 = group["betas"][0]
        state["parts"] = (beta1 * state["exp_avg"], (1 - beta1) * d)
        super().moments(state, d, group)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        denominator = self.denominator(state, group)
        for part in state.pop("parts"):
            super().move(p, part / denominator, state, group)


class AdamForeach(AdamPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if "step" not in state:
                self.begin(state, p, p.grad)
            self.count(state, group)
        self.group_moments(states, [self.decayed(p, p.grad, group) for p in params], group)
        roots = list(torch._foreach_sqrt([self.second(state, group) for state in states]))
        torch._foreach_div_(roots, [math.sqrt(self.correction(state, group, 1)) for state in states])
        torch._foreach_add_(roots, group["eps"])
        rates = [-group["lr"] / self.correction(state, group, 0) for state in states]
        torch._foreach_addcdiv_(params, [state["exp_avg"] for state in states], roots, rates)

    def group_moments(self, states: list[State], gradients: Tensors, group: Group) -> None:
        beta1, beta2 = group["betas"]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_lerp_([state["exp_avg"] for state in states], gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

    def second(self, state: State, group: Group) -> Tensor:
        return self.largest(state, group) if group["amsgrad"] else state["exp_avg_sq"]


class AdamDecayLerp(AdamPort):
    """Adds the decay as a point between the gradient and the weight."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return mixed(g, p, group["weight_decay"])


class AdamFlattened(Flattened, AdamLerp):
    """Steps all parameters of a group as one vector, by linear interpolation."""


class AdamInDouble(InDouble, AdamPort):
    """Computes and keeps everything but the weights in double precision."""


class AdamThroughDouble(ThroughDouble, AdamPort):
    """Computes each step in double precision and rounds its results."""


class AdamDoubleWeights(DoubleWeights, AdamPort):
    """Keeps the weights in double precision too."""


class AdamWLerp(AdamLerp, AdamWPort):
    """Moves both moments by linear interpolation."""


class AdamWCorrectsFirst(AdamCorrectsFirst, AdamWPort):
    """Corrects both moments before it divides them."""


class AdamWRescaledRate(AdamRescaledRate, AdamWPort):
    """Puts the correction of the second moment into eps and into the learning rate."""


class AdamWReciprocals(AdamReciprocals, AdamWPort):
    """Multiplies by the reciprocals of the corrections."""


class AdamWRsqrt(AdamRsqrt, AdamWPort):
    """Takes the root of the second moment as the reciprocal of its reciprocal root."""


class AdamWRootState(AdamRootState, AdamWPort):
    """Stores the root of the second moment and moves it as the hypotenuse of old root and gradient."""


class AdamWRunningProducts(AdamRunningProducts, AdamWPort):
    """Keeps running products of the betas in place of their powers."""


class AdamWGeometricSums(AdamGeometricSums, AdamWPort):
    """Stores sums in place of averages, and divides them by sums of the betas' powers."""


class AdamWCorrectedStates(AdamCorrectedStates, AdamWPort):
    """Stores the corrected moments and moves them by a weight that depends on the step."""


class AdamWLogCorrection(AdamLogCorrection, AdamWPort):
    """Computes the corrections as -expm1(t * log(beta)), and takes the rate into the quotient."""


class AdamWAddcdiv(AdamAddcdiv, AdamWPort):
    """Divides the first moment and adds it to the weight in one operation."""


class AdamWScaledDenominator(AdamScaledDenominator, AdamWPort):
    """Divides the denominator by the rate, where the rate is not zero."""


class AdamWScaledSquare(AdamScaledSquare, AdamWPort):
    """Scales the gradient by the root of 1 - beta2 before it squares it."""


class AdamWSubtractedLeaks(AdamSubtractedLeaks, AdamWPort):
    """Moves both moments by multiples of their distance to the gradient and to its square."""


class AdamWMatrixProduct(AdamMatrixProduct, AdamWPort):
    """Adds old moment and gradient as a product of a matrix and a vector."""


class AdamWStepInTwoParts(AdamStepInTwoParts, AdamWPort):
    """Steps along the old moment and along today's gradient apart."""


class AdamWForeach(AdamForeach, AdamWPort):
    """Takes the elementwise operations over all parameters of a group at once."""


class AdamWFlattened(Flattened, AdamWLerp):
    """Steps all parameters of a group as one vector, by linear interpolation."""


class AdamWInDouble(InDouble, AdamWPort):
    """Computes and keeps everything but the weights in double precision."""


class AdamWThroughDouble(ThroughDouble, AdamWPort):
    """Computes each step in double precision and rounds its results."""


class AdamWDoubleWeights(DoubleWeights, AdamWPort):
    """Keeps the weights in double precision too."""


class AdamWSubtractedDecay(AdamWPort):
    """Subtracts the decay from the weight and the step from the rest."""

    def shrink(self, p: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * group["weight_decay"] * p)


class AdamWExponentialDecay(AdamWPort):
    """Computes the factor of the decay as exp(log1p(-x)), where x is below 1, and steps by subtraction."""

    def shrink(self, p: Tensor, group: Group) -> None:
        x = group["lr"] * group["weight_decay"]
        p.mul_(math.exp(math.log1p(-x)) if x < 1 else 1 - x)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(group["lr"] * (u / self.correction(state, group, 0)))


class AdamWDecayInStep(AdamWPort):
    """Adds the decay to the direction and takes the rate out of both."""

    def shrink(self, p: Tensor, group: Group) -> None:
        pass

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.sub_(group["lr"] * (u / self.correction(state, group, 0) + group["weight_decay"] * p))


class AdamWDecayAsMatrix(AdamWPort):
    """Adds shrunk weight and step as a product of a matrix and a vector."""

    def shrink(self, p: Tensor, group: Group) -> None:
        pass

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        lr = group["lr"]
        p.copy_(weighted((1 - lr * group["weight_decay"], -lr / self.correction(state, group, 0)), (p, u)))


class AdamWDecaysLast(AdamWPort):
    """Shrinks after the step, which it stretches for it; where that is not possible, before."""

    def shrink(self, p: Tensor, group: Group) -> None:
        if self.factor(group) <= 0.5:
            super().shrink(p, group)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        factor = self.factor(group)
        if factor <= 0.5:
            super().move(p, u, state, group)
        else:
            p.add_(u, alpha=-group["lr"] / (factor * self.correction(state, group, 0))).mul_(factor)

    def factor(self, group: Group) -> float:
        return 1 - group["lr"] * group["weight_decay"]


class RMSpropLerp(RMSpropPort):
    """Moves both averages by linear interpolation."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        state["square_avg"].lerp_(d * d, 1 - group["alpha"])
        state["grad_avg"].lerp_(d, 1 - group["alpha"])


class RMSpropAddcdiv(RMSpropPort):
    """Divides the gradient and adds it to weight or buffer in one operation."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if "square_avg" not in state:
            self.begin(state, p)
        d = self.decayed(p, g, group)
        self.averages(state, d, group)
        if group["momentum"] > 0:
            state["momentum_buffer"].mul_(group["momentum"]).addcdiv_(d, self.denominator(state, group))
            self.move(p, state["momentum_buffer"], group)
        else:
            p.addcdiv_(d, self.denominator(state, group), value=-group["lr"])


class RMSpropReciprocal(RMSpropPort):
    """Multiplies the gradient by the reciprocal of the denominator."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        quotient = d * self.denominator(state, group).reciprocal()
        return self.accumulate(state, quotient, group) if group["momentum"] > 0 else quotient


class RMSpropRsqrt(RMSpropPort):
    """Takes the root as the reciprocal of the reciprocal root."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return v.rsqrt().reciprocal().add_(eps)


class RMSpropPowerRoot(RMSpropPort):
    """Takes the root as a power of the scaled average, and steps by subtraction."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return (3 * v) ** 0.5 / math.sqrt(3) + eps

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * u)


class RMSpropRootState(RMSpropPort):
    """Stores the root of the average of squares and moves it as a hypotenuse."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, d, group)
        alpha = group["alpha"]
        old = state.setdefault("root_avg", torch.zeros_like(d))
        state["root_avg"] = torch.hypot(math.sqrt(alpha) * old, math.sqrt(1 - alpha) * d)

    def denominator(self, state: State, group: Group) -> Tensor:
        root = state["root_avg"]
        return self.root(root**2 - state["grad_avg"] ** 2, group["eps"]) if group["centered"] else root + group["eps"]


class RMSpropSums(RMSpropPort):
    """Stores sums in place of averages, and multiplies them by 1 - alpha and its root."""

    only_with_constants = True

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        state["square_avg"].mul_(group["alpha"]).addcmul_(d, d)
        state["grad_avg"].mul_(group["alpha"]).add_(d)

    def denominator(self, state: State, group: Group) -> Tensor:
        rest = 1 - group["alpha"]
        v = state["square_avg"] - rest * state["grad_avg"] ** 2 if group["centered"] else state["square_avg"]
        return math.sqrt(rest) * v.sqrt() + group["eps"]


class RMSpropFactoredVariance(RMSpropPort):
    """Takes the variance as the product of root plus mean and root minus mean."""

    def variance(self, state: State) -> Tensor:
        root, mean = state["square_avg"].sqrt(), state["grad_avg"].abs()
        return (root + mean) * (root - mean)

    def root(self, v: Tensor, eps: float) -> Tensor:
        return eps + v**0.5


class RMSpropRunningVariance(RMSpropPort):
    """Keeps the variance itself, to which a gradient adds its squared distance to the mean."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        alpha = group["alpha"]
        distance = d - state["grad_avg"]
        kept = state.setdefault("variance", torch.zeros_like(d))
        kept.mul_(alpha).add_(alpha * (1 - alpha) * distance**2)
        state["square_avg"] = alpha * state["square_avg"] + (1 - alpha) * d**2
        state["grad_avg"].add_((1 - alpha) * distance)

    def variance(self, state: State) -> Tensor:
        return state["variance"]


class RMSpropVelocity(RMSpropPort):
    """Stores the buffer times the learning rate, and rescales it when the rate changes."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        scale = group["lr"] or 1.0
        state["momentum_buffer"].mul_(group["momentum"] * scale / state.get("scale", 1.0)).add_(scale * u)
        state["scale"] = scale
        return state["momentum_buffer"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        if group["momentum"] > 0:
            p.sub_(u if group["lr"] != 0 else 0.0)
        else:
            p.sub_(group["lr"] * u)


class RMSpropStepInTwoParts(RMSpropPort):
    """Steps along the old buffer and along today's quotient apart."""

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        state["momentum_buffer"].mul_(group["momentum"])
        parts = torch.stack([state["momentum_buffer"], u])
        state["momentum_buffer"] = state["momentum_buffer"] + u
        return parts

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        for part in u if u.ndim > p.ndim else [u]:
            p.sub_(group["lr"] * part)


class RMSpropSubtractedLeaks(RMSpropPort):
    """Moves averages and buffer by multiples of what they lose."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        rest = 1 - group["alpha"]
        state["square_avg"].sub_(rest * state["square_avg"]).add_(rest * d * d)
        state["grad_avg"].add_(d - state["grad_avg"], alpha=rest)

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        m = state["momentum_buffer"]
        return m.sub_((1 - group["momentum"]) * m).add_(u)


class RMSpropSeparateProducts(RMSpropPort):
    """Rounds every product before it is added."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g + group["weight_decay"] * p

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        alpha = group["alpha"]
        state["square_avg"] = (1 - alpha) * (d * d) + alpha * state["square_avg"]
        state["grad_avg"] = (1 - alpha) * d + alpha * state["grad_avg"]

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.copy_(p - group["lr"] * u)


class RMSpropScaledSquare(RMSpropPort):
    """Scales the gradient by the root of 1 - alpha before it squares it."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        super().averages(state, d, group)
        scaled = math.sqrt(1 - group["alpha"]) * d
        old = state.get("old", torch.zeros_like(d))
        state["square_avg"] = old * group["alpha"] + scaled * scaled
        state["old"] = state["square_avg"].clone()


class RMSpropMatrixProduct(RMSpropPort):
    """Adds old average and gradient as a product of a matrix and a vector."""

    def averages(self, state: State, d: Tensor, group: Group) -> None:
        alpha = group["alpha"]
        state["square_avg"] = weighted((alpha, 1 - alpha), (state["square_avg"], d * d))
        state["grad_avg"] = weighted((1 - alpha, alpha), (d, state["grad_avg"]))


class RMSpropDecayLerp(RMSpropPort):
    """Adds the decay as a point between the gradient and the weight."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return mixed(g, p, group["weight_decay"])


class RMSpropAverage(RMSpropPort):
    """Stores the buffer times 1 - momentum, as a moving average, and divides the update by it."""

    only_with_constants = True

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        rest = 1 - group["momentum"] if group["momentum"] < 1 else 1.0
        state["momentum_buffer"].mul_(group["momentum"]).add_(u, alpha=rest)
        return state["momentum_buffer"] / rest

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * u)


class RMSpropHistory(RMSpropPort):
    """Keeps the last quotients by themselves and adds them to the buffer four at a time."""

    only_with_constants = True

    def accumulate(self, state: State, u: Tensor, group: Group) -> Tensor:
        recent = state.setdefault("recent", [])
        recent.append(u.clone())
        powers = [group["momentum"] ** k for k in range(len(recent), -1, -1)]
        buffer = weighted(tuple(powers), (state["momentum_buffer"], *recent))
        if len(recent) == 4:
            state["momentum_buffer"], state["recent"] = buffer, []
        return buffer

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        p.copy_(weighted((1.0, -group["lr"]), (p, u)))


class RMSpropForeach(RMSpropPort):
    """Takes the elementwise operations over all parameters of a group at once."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if "square_avg" not in state:
                self.begin(state, p)
        decayed = torch._foreach_add(torch._foreach_mul(params, group["weight_decay"]), [p.grad for p in params])
        squares, means = ([state[name] for state in states] for name in ("square_avg", "grad_avg"))
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, decayed, decayed, 1 - group["alpha"])
        torch._foreach_lerp_(means, decayed, 1 - group["alpha"])
        if group["centered"]:
            squares = torch._foreach_sub(squares, torch._foreach_mul(means, means))
        roots = torch._foreach_add(torch._foreach_sqrt(squares), group["eps"])
        updates = torch._foreach_div(decayed, roots)
        if group["momentum"] > 0:
            buffers = [state["momentum_buffer"] for state in states]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            updates = buffers
        torch._foreach_sub_(params, torch._foreach_mul(updates, group["lr"]))


class RMSpropFlattened(Flattened, RMSpropLerp):
    """Steps all parameters of a group as one vector, by linear interpolation."""


class RMSpropInDouble(InDouble, RMSpropPort):
    """Computes and keeps everything but the weights in double precision."""


class RMSpropThroughDouble(ThroughDouble, RMSpropPort):
    """Computes each step in double precision and rounds its results."""


class RMSpropDoubleWeights(DoubleWeights, RMSpropPort):
    """Keeps the weights in double precision too."""


REORDERINGS = (
    SGDSeparateProducts,
    SGDLerp,
    SGDDecayLerp,
    SGDSubtractedLeak,
    SGDDecayOnWeight,
    SGDStepInTwoParts,
    SGDOneExpression,
    SGDMatrixProduct,
    SGDDecayIntoBuffer,
    SGDTwoBuffers,
    SGDVelocity,
    SGDAverage,
    SGDDampenedStep,
    SGDHistory,
    SGDExpandedLookAhead,
    SGDForeach,
    SGDAddcmul,
    SGDFlattened,
    SGDInDouble,
    SGDThroughDouble,
    SGDDoubleWeights,
    SGDDoubleTwoBuffers,
    AdamLerp,
    AdamCorrectsFirst,
    AdamRescaledRate,
    AdamReciprocals,
    AdamRsqrt,
    AdamPowerRoot,
    AdamRootState,
    AdamRunningProducts,
    AdamGeometricSums,
    AdamCorrectedStates,
    AdamLogCorrection,
    AdamAddcdiv,
    AdamScaledMoment,
    AdamScaledDenominator,
    AdamSeparateProducts,
    AdamScaledSquare,
    AdamSubtractedLeaks,
    AdamMatrixProduct,
    AdamStepInTwoParts,
    AdamForeach,
    AdamDecayLerp,
    AdamFlattened,
    AdamInDouble,
    AdamThroughDouble,
    AdamDoubleWeights,
    AdamWLerp,
    AdamWCorrectsFirst,
    AdamWRescaledRate,
    AdamWReciprocals,
    AdamWRsqrt,
    AdamWRootState,
    AdamWRunningProducts,
    AdamWGeometricSums,
    AdamWCorrectedStates,
    AdamWLogCorrection,
    AdamWAddcdiv,
    AdamWScaledDenominator,
    AdamWScaledSquare,
    AdamWSubtractedLeaks,
    AdamWMatrixProduct,
    AdamWStepInTwoParts,
    AdamWForeach,
    AdamWFlattened,
    AdamWInDouble,
    AdamWThroughDouble,
    AdamWDoubleWeights,
    AdamWSubtractedDecay,
    AdamWExponentialDecay,
    AdamWDecayInStep,
    AdamWDecayAsMatrix,
    AdamWDecaysLast,
    RMSpropLerp,
    RMSpropAddcdiv,
    RMSpropReciprocal,
    RMSpropRsqrt,
    RMSpropPowerRoot,
    RMSpropRootState,
    RMSpropSums,
    RMSpropFactoredVariance,
    RMSpropRunningVariance,
    RMSpropVelocity,
    RMSpropStepInTwoParts,
    RMSpropSubtractedLeaks,
    RMSpropSeparateProducts,
    RMSpropScaledSquare,
    RMSpropMatrixProduct,
    RMSpropDecayLerp,
    RMSpropAverage,
    RMSpropHistory,
    RMSpropForeach,
    RMSpropFlattened,
    RMSpropInDouble,
    RMSpropThroughDouble,
    RMSpropDoubleWeights,
)
