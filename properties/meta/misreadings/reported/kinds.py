"""Wrong ports after the kinds of mistakes in public bug reports, over several rules.

Each kind is of what an update reads and writes when: corrections written back, products used too early, what is kept
by place, cached, or remembered from an earlier step, options and schedules that are not heeded. The docstrings state
the mistakes.
"""

import math
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adai import AdaiPort
from stepgauge.properties.meta.misreadings.adamp import AdamPPort, Group, State
from stepgauge.properties.meta.misreadings.baselines import AdamPort, AdamWPort, RMSpropPort, SGDPort
from stepgauge.properties.meta.misreadings.critical import SGD_CPort
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort
from stepgauge.properties.meta.misreadings.lion import LionPort
from stepgauge.properties.meta.misreadings.sgdp import SGDPPort

# --- corrections and moments -----------------------------------------------------------------------------------------


class AdamNoCorrection(AdamPort):
    """Corrects no bias."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1.0


class AdamWNoCorrection(AdamWPort):
    """Corrects no bias, as BERT's."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1.0


class AdamPNoCorrection(AdamPPort):
    """Corrects no bias, as the algorithm's figure."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1.0


class AdamWritesFirstCorrectionBack(AdamPort):
    """Corrects the stored first moment in place."""

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u, state, group)
        state["exp_avg"].div_(self.correction(state, group, 0))


class AdamWritesSecondCorrectionBack(AdamPort):
    """Corrects the stored second moment in place."""

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u, state, group)
        state["exp_avg_sq"].div_(self.correction(state, group, 1))


class AdamWWritesBothCorrectionsBack(AdamWPort):
    """Corrects both stored moments in place."""

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u, state, group)
        state["exp_avg"].div_(self.correction(state, group, 0))
        state["exp_avg_sq"].div_(self.correction(state, group, 1))


class AdamSumsSquares(AdamPort):
    """Adds the squares to the second moment, which never decays."""

    def square(self, state: State, d: Tensor, beta2: float) -> None:
        state["exp_avg_sq"].addcmul_(d, d, value=1 - beta2)


class AdamSumsGradients(AdamPort):
    """Adds the weighed gradients to the first moment, which never decays."""

    def moments(self, state: State, d: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].add_(d, alpha=1 - beta1)
        self.square(state, d, beta2)


class LionSumsGradients(LionPort):
    """Adds the weighed gradients to the average, which never decays."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["exp_avg"].add_(g, alpha=1 - group["betas"][1])


class AdamReciprocalRoot(AdamPort):
    """Multiplies by the reciprocal root of the second moment and eps together."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return 1 / (v / correction + eps).rsqrt()


class RMSpropReciprocalRoot(RMSpropPort):
    """Adds eps to the reciprocal root, and multiplies by that."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return 1 / (v.clamp_min(1e-300).rsqrt() + eps)


class RMSpropClampsRoot(RMSpropPort):
    """Takes the larger of root and eps."""

    def root(self, v: Tensor, eps: float) -> Tensor:
        return v.sqrt().clamp_min(eps)


class AdamStepsWithEarlierSecondMoment(AdamPort):
    """Divides by the second moment of the step before, and in the first step by its own."""

    def denominator(self, state: State, group: Group) -> Tensor:
        now = super().denominator(state, group)
        before: Tensor = state.get("before", now)
        state["before"] = now
        return before


class AdamStepsWithEarlierFirstMoment(AdamPort):
    """Brings the first moment up to date after the step."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if "step" not in state:
            self.begin(state, p, g)
        self.count(state, group)
        earlier = state["exp_avg"].clone()
        self.moments(state, self.decayed(p, g, group), group)
        self.move(p, earlier / self.denominator(state, group), state, group)


class AdamCountsAfterwards(AdamWPort):
    """Counts the step after the second correction was taken, with 1 for the first."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - group["betas"][moment] ** (max(state["step"] - 1, 1) if moment else state["step"])


# --- Adai, FSGDM, critical gradients: what is used when --------------------------------------------------------------


class AdaiProductAfterItsUse(AdaiPort):
    """Divides by 1 minus the product before this step, but for the first step."""

    def direction(self, state: State, beta1: Tensor, group: Group) -> Tensor:
        before = state.get("before")
        state["before"] = state["beta1_prod"].clone()
        return state["exp_avg"] / (1 - (state["beta1_prod"] if before is None else before))


class AdaiNoUpperBound(AdaiPort):
    """Bounds the inertia from below only, so that a coordinate without gradient divides by zero."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return beta1.clamp_min(0.0)


class AdaiNoLowerBound(AdaiPort):
    """Bounds the inertia from above only."""

    def bounded(self, beta1: Tensor, group: Group) -> Tensor:
        return beta1.clamp_max(1 - group["eps"])


class AdaiMeanOfTheStepBefore(AdaiPort):
    """Compares with the mean of the step before, and in the first with its own."""

    def mean(self, pairs: Any) -> Any:
        now = super().mean(pairs)
        before = getattr(self, "before", now)
        self.before = now
        return before


class FSGDMConstantPole(FSGDMPort):
    """Keeps the pole of the last stage from the start."""

    def coefficient(self, t: int, group: Group) -> float:
        return 1 / (1 + group["c_scaling"])


class FSGDMCommonMomentum(FSGDMPort):
    """Takes 0.9 for the pole, as everybody does for momentum."""

    def coefficient(self, t: int, group: Group) -> float:
        return 0.9


class FSGDMDecaysBesideTheBuffer(FSGDMPort):
    """Decays the parameter, and not the gradient that enters the buffer."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def direction(self, state: State, d: Tensor, u: float, group: Group) -> Tensor:
        return state["momentum_buffer"]

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        super().update(p, g, u, group)


class SGD_CKeepsTheLatest(SGD_CPort):
    """Keeps the latest gradients, whatever their norms."""

    def worthy(self, key: float, buffer: Any) -> bool:
        return True

    def evicted(self, buffer: Any) -> int:
        return 0


# --- decay -----------------------------------------------------------------------------------------------------------


class SGDDecaysBesideTheBuffer(SGDPort):
    """Keeps the decay out of the buffer and adds it to the direction."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        d = self.direction(self.state[p], g, group)
        self.move(p, d + group["weight_decay"] * p, group)


class AdamWDecaysByWeightDecayAlone(AdamWPort):
    """Shrinks by weight_decay, without the rate."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        p.mul_(1 - group["weight_decay"])
        return g


class AdamWDecaysTheStepToo(AdamWPort):
    """Shrinks the parameter after the step."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        super().move(p, u, state, group)
        p.mul_(1 - group["lr"] * group["weight_decay"])


class RMSpropDecaysBesideTheAverages(RMSpropPort):
    """Keeps the decay out of the averages and adds it to the direction."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        before = p.clone()
        super().update(p, g, {**group, "weight_decay": 0.0})
        p.sub_(before, alpha=group["lr"] * group["weight_decay"])


# --- what is kept by place, cached, or remembered --------------------------------------------------------------------


class SGDOneBufferForAll(SGDPort):
    """Keeps one buffer for each shape."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.__dict__.setdefault("buffers", {}).setdefault(p.shape, {})
        self.move(p, self.direction(state, self.decayed(p, g, group), group), group)


class AdamOneCounterForAll(AdamPort):
    """Counts every call of an update, of whichever parameter."""

    def count(self, state: State, group: Group) -> None:
        self.calls = getattr(self, "calls", 0) + 1
        state["step"] = self.calls


class AdamCountsSteps(AdamWPort):
    """Counts steps, also those in which a parameter has no gradient."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        group["calls"] = group.get("calls", 0) + 1
        super().step_group(group, params)

    def count(self, state: State, group: Group) -> None:
        state["step"] = group["calls"]


class LionStatesByPlace(LionPort):
    """Keeps the states by place among the parameters that have a gradient."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        states = group.setdefault("states", {})
        for i, p in enumerate(params):
            self.state[p] = states.setdefault((i, p.shape), {})
            self.update(p, p.grad, group)


class AdamLastGroupForAll(AdamPort):
    """Steps with the hyperparameters of the last group."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g, self.param_groups[-1])


class SGDRateOfTheStepBefore(SGDPort):
    """Steps with the rate that was there in the step before."""

    def move(self, p: Tensor, u: Tensor, group: Group) -> None:
        state = self.state[p]
        super().move(p, u, {**group, "lr": state.get("rate", group["lr"])})
        state["rate"] = group["lr"]


class AdamWRateOnce(AdamWPort):
    """Reads the rate when it is made."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group({**group, "lr": group.setdefault("first_lr", group["lr"])}, params)


class SGDStepsWithOldGradients(SGDPort):
    """Steps again with the gradient of before where there is none."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in group["params"]:
            g = p.grad if p.grad is not None else self.state[p].get("gradient")
            if g is not None:
                self.state[p]["gradient"] = g.clone()
                self.update(p, g, group)


# --- options ---------------------------------------------------------------------------------------------------------


class SGDIgnoresNesterov(SGDPort):
    """Accepts nesterov and does nothing with it."""

    def look_ahead(self, state: State, d: Tensor, group: Group) -> Tensor:
        momentum: Tensor = state["momentum_buffer"]
        return momentum


class SGDIgnoresMomentum(SGDPort):
    """Accepts momentum and does nothing with it."""

    def direction(self, state: State, d: Tensor, group: Group) -> Tensor:
        return d


class AdamIgnoresAmsgrad(AdamPort):
    """Accepts amsgrad and does nothing with it."""

    def largest(self, state: State, group: Group) -> Tensor:
        moment: Tensor = state["exp_avg_sq"]
        return moment


class SGDPNoDivisionOfDecay(SGDPPort):
    """Decays by lr * weight_decay, without the momentum."""

    def decay_rate(self, group: Group) -> float:
        rate: float = group["lr"] * group["weight_decay"]
        return rate


# --- two mistakes at once --------------------------------------------------------------------------------------------


class AdamEpsAndCounter(AdamOneCounterForAll):
    """Counts for all together, and adds eps under the root."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v / correction + eps).sqrt()


class AdamWEpsAndDecay(AdamWDecaysByWeightDecayAlone):
    """Shrinks without the rate, and adds eps before the correction."""

    def root(self, v: Tensor, correction: float, eps: float) -> Tensor:
        return (v.sqrt() + eps) / math.sqrt(correction)


class SGDDampensAndDecays(SGDDecaysBesideTheBuffer):
    """Dampens the first gradient, and keeps the decay out of the buffer."""

    def begin(self, state: State, d: Tensor, group: Group) -> None:
        state["momentum_buffer"] = (1 - group["dampening"]) * d


REPORTED = tuple(
    port
    for port in list(globals().values())
    if isinstance(port, type) and issubclass(port, torch.optim.Optimizer) and port.__module__ == __name__
)
