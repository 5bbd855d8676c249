"""Right ports of FSGDM in other orders of floating-point operations."""

from fractions import Fraction

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort
from stepgauge.properties.meta.reorderings.common import (
    DoubleWeights,
    Flattened,
    InDouble,
    Tensors,
    ThroughDouble,
    mixed,
    weighted,
)


class FSGDMOuterGain(FSGDMPort):
    """Keeps the buffer without v and multiplies the step by it."""

    only_with_constants = True

    def gain(self, u: float, group: Group) -> float:
        return 1.0

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.add_(m, alpha=-group["lr"] * group["v_coefficient"])


class FSGDMCountedStage(FSGDMPort):
    """Counts the stage up, carrying the remainder from step to step in whole numbers."""

    only_with_constants = True

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


class FSGDMSeparateProducts(FSGDMPort):
    """Rounds every product before it is added."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g + group["weight_decay"] * p

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        state["momentum_buffer"] = self.gain(u, group) * d + u * state["momentum_buffer"]

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * m)


class FSGDMLerp(FSGDMPort):
    """Moves the buffer by linear interpolation and then stretches it."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        v = group["v_coefficient"]
        total = u + v
        if total > 0:
            state["momentum_buffer"].lerp_(d, v / total).mul_(total)
        else:
            state["momentum_buffer"].zero_()


class FSGDMDecayLerp(FSGDMPort):
    """Adds the decay as a point between the gradient and the weight."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return mixed(g, p, group["weight_decay"])


class FSGDMComplementCoefficient(FSGDMPort):
    """Computes u as one less c * N / (k + c * N)."""

    def coefficient(self, t: int, group: Group) -> float:
        inertia = group["c_scaling"] * group["n_stages"]
        return 1 - inertia / (self.stage(t, group) + inertia)


class FSGDMExactCoefficient(FSGDMPort):
    """Computes u in fractions and rounds it once, and v * d before the decay is added to it."""

    def coefficient(self, t: int, group: Group) -> float:
        stage = self.stage(t, group)
        return float(stage / (stage + Fraction(group["c_scaling"]) * group["n_stages"]))

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        v = group["v_coefficient"]
        return v * g + (v * group["weight_decay"]) * p

    def gain(self, u: float, group: Group) -> float:
        return 1.0


class FSGDMDecayOnWeight(FSGDMPort):
    """Shrinks the weight by what today's decay adds to the step, and steps without it."""

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state, v = self.state[p], group["v_coefficient"]
        if not state:
            self.begin(state, p)
        kept = u * state["momentum_buffer"]
        self.accumulate(state, self.decayed(p, g, group), u, group)
        p.mul_(1 - group["lr"] * v * group["weight_decay"]).sub_(group["lr"] * (kept + v * g))


class FSGDMOneExpression(FSGDMPort):
    """Distributes the rate over gradient, decay and buffer, and adds everything in one expression."""

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state, lr, v = self.state[p], group["lr"], group["v_coefficient"]
        if not state:
            self.begin(state, p)
        old = state["momentum_buffer"].clone()
        self.accumulate(state, self.decayed(p, g, group), u, group)
        p.copy_(p - (lr * v) * g - (lr * v * group["weight_decay"]) * p - (lr * u) * old)


class FSGDMMatrixProduct(FSGDMPort):
    """Adds old buffer, gradient and weight as a product of a matrix and a vector."""

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state, v = self.state[p], group["v_coefficient"]
        if not state:
            self.begin(state, p)
        terms = (g, p, state["momentum_buffer"])
        state["momentum_buffer"] = weighted((v, v * group["weight_decay"], u), terms)
        self.move(p, state["momentum_buffer"], group)


class FSGDMTwoBuffers(FSGDMPort):
    """Keeps one buffer of the gradients and one of the weights, and adds them in the step."""

    only_with_constants = True

    def begin(self, state: State, p: Tensor) -> None:
        state["gradients"], state["weights"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state, v = self.state[p], group["v_coefficient"]
        if not state:
            self.begin(state, p)
        for name, term in (("gradients", g), ("weights", p)):
            state[name].mul_(u).add_(term, alpha=v)
        self.move(p, state["gradients"] + group["weight_decay"] * state["weights"], group)


class FSGDMVelocity(FSGDMPort):
    """Stores the buffer times the learning rate, and rescales it when the rate changes."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        scale = group["lr"] or 1.0
        part = scale * group["v_coefficient"]
        state["momentum_buffer"].mul_(u * scale / state.get("scale", 1.0)).add_(d, alpha=part)
        state["scale"] = scale

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        if group["lr"] != 0:
            p.sub_(m)


class FSGDMAverage(FSGDMPort):
    """Stores the buffer over v plus u, as a moving average of today, and stretches it in the step."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        old = state.get("stretch", 1.0)
        state["stretch"] = u + group["v_coefficient"] or 1.0
        state["momentum_buffer"].mul_(u * old).add_(group["v_coefficient"] * d).div_(state["stretch"])

    def direction(self, state: State, d: Tensor, u: float, group: Group) -> Tensor:
        return state["momentum_buffer"] * state["stretch"]


class FSGDMHistory(FSGDMPort):
    """Keeps the last gradients by themselves and adds them to the buffer four at a time."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        terms, factors = state.get("recent", []), state.get("factors", [1.0])
        terms.append(d.clone())
        factors = [u * factor for factor in factors] + [group["v_coefficient"]]
        state["sum"] = weighted(tuple(factors), (state["momentum_buffer"], *terms))
        if len(terms) == 4:
            state["momentum_buffer"], terms, factors = state["sum"], [], [1.0]
        state["recent"], state["factors"] = terms, factors

    def direction(self, state: State, d: Tensor, u: float, group: Group) -> Tensor:
        return state["sum"]


class FSGDMForeachLerp(FSGDMPort):
    """Interpolates all buffers of a group at once, and multiplies the rate before it subtracts."""

    def step_group(self, group: Group, params: Tensors) -> None:
        if not params:
            return
        u, v = self.coefficient(group["step"], group), group["v_coefficient"]
        for p in params:
            if not self.state[p]:
                self.begin(self.state[p], p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        decayed = torch._foreach_add(torch._foreach_mul(params, group["weight_decay"]), [p.grad for p in params])
        torch._foreach_lerp_(buffers, decayed, v / (u + v) if u + v > 0 else 0.0)
        torch._foreach_mul_(buffers, u + v)
        torch._foreach_sub_(params, torch._foreach_mul(buffers, group["lr"]))


class FSGDMFlattened(Flattened, FSGDMSeparateProducts):
    """Steps all parameters of a group as one vector, and rounds every product."""


class FSGDMInDouble(InDouble, FSGDMPort):
    """Computes and keeps everything but the weights in double precision."""


class FSGDMThroughDouble(ThroughDouble, FSGDMPort):
    """Computes each step in double precision and rounds its results."""


class FSGDMDoubleWeights(DoubleWeights, FSGDMPort):
    """Keeps the weights in double precision too."""


REORDERINGS = (
    FSGDMOuterGain,
    FSGDMCountedStage,
    FSGDMStageInSteps,
    FSGDMReciprocalCoefficient,
    FSGDMSubtractedLeak,
    FSGDMStepInTwoParts,
    FSGDMForeach,
    FSGDMSeparateProducts,
    FSGDMLerp,
    FSGDMDecayLerp,
    FSGDMComplementCoefficient,
    FSGDMExactCoefficient,
    FSGDMDecayOnWeight,
    FSGDMOneExpression,
    FSGDMMatrixProduct,
    FSGDMTwoBuffers,
    FSGDMVelocity,
    FSGDMAverage,
    FSGDMHistory,
    FSGDMForeachLerp,
    FSGDMFlattened,
    FSGDMInDouble,
    FSGDMThroughDouble,
    FSGDMDoubleWeights,
)
