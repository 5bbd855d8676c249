"""FSGDM as published, and wrong ports of it.

`FSGDMPort` computes the rule. Every other optimizer here overrides one small piece of it and
thereby computes something else; its docstring states the misreading.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepgauge.properties.meta.misreadings.adamp import Group, State


class FSGDMPort(Optimizer):
    """The published rule: an empty first buffer and stages cut at the real Sigma / N."""

    rule = "fsgdm"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        c_scaling: float = 0.033,
        v_coefficient: float = 1.0,
        n_stages: int = 300,
        sigma: int = 117000,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "c_scaling": c_scaling,
            "v_coefficient": v_coefficient,
            "n_stages": n_stages,
            "sigma": sigma,
            "step": 0,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["step"] += 1
            self.step_group(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        u = self.coefficient(group["step"], group)
        for p in params:
            self.update(p, p.grad, u, group)

    def coefficient(self, t: int, group: Group) -> float:
        k = self.stage(t, group)
        return k / (k + group["c_scaling"] * group["n_stages"])

    def stage(self, t: int, group: Group) -> int:
        return t * group["n_stages"] // group["sigma"]

    def gain(self, u: float, group: Group) -> float:
        return group["v_coefficient"]

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p)
        d = self.decayed(p, g, group)
        self.accumulate(state, d, u, group)
        self.move(p, self.direction(state, d, u, group), group)

    def begin(self, state: State, p: Tensor) -> None:
        state["momentum_buffer"] = torch.zeros_like(p)

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g.add(p, alpha=group["weight_decay"])

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        state["momentum_buffer"].mul_(u).add_(d, alpha=self.gain(u, group))

    def direction(self, state: State, d: Tensor, u: float, group: Group) -> Tensor:
        return state["momentum_buffer"]

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.add_(m, alpha=-group["lr"])


class FSGDMContinuousCoefficient(FSGDMPort):
    """Computes u from the step itself where the rule holds it through a stage."""

    def coefficient(self, t: int, group: Group) -> float:
        return t / (t + group["c_scaling"] * group["sigma"])


class FSGDMCeilingStage(FSGDMPort):
    """Rounds the stage up where the rule rounds it down."""

    def stage(self, t: int, group: Group) -> int:
        return -(-t * group["n_stages"] // group["sigma"])


class FSGDMNearestStage(FSGDMPort):
    """Rounds to the nearest stage where the rule rounds down."""

    def stage(self, t: int, group: Group) -> int:
        return (2 * t * group["n_stages"] + group["sigma"]) // (2 * group["sigma"])


class FSGDMCountsFromZero(FSGDMPort):
    """Counts the steps from 0 where the rule counts from 1."""

    def stage(self, t: int, group: Group) -> int:
        return super().stage(t - 1, group)


class FSGDMFlooredDelta(FSGDMPort):
    """Rounds the length of a stage down to whole steps where the rule takes Sigma / N as it is."""

    def coefficient(self, t: int, group: Group) -> float:
        delta = group["sigma"] // group["n_stages"]
        start = t // delta * delta
        return start / (start + group["c_scaling"] * group["sigma"])


class FSGDMGradientAsFirstBuffer(FSGDMPort):
    """Starts the buffer with the gradient itself where the rule multiplies it by v."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        first = not state.get("started")
        state["started"] = True
        super().accumulate(state, d, u, {**group, "v_coefficient": 1.0} if first else group)


class FSGDMInertiaFromStages(FSGDMPort):
    """Takes mu = c * N beside a stage counted in steps where mu is c * Sigma."""

    def coefficient(self, t: int, group: Group) -> float:
        start = self.stage(t, group) * group["sigma"] / group["n_stages"]
        return start / (start + group["c_scaling"] * group["n_stages"])


class FSGDMInertiaWithoutSigma(FSGDMPort):
    """Takes c itself for mu where the rule multiplies it by Sigma."""

    def coefficient(self, t: int, group: Group) -> float:
        start = self.stage(t, group) * group["sigma"] / group["n_stages"]
        return start / (start + group["c_scaling"])


class FSGDMCappedStage(FSGDMPort):
    """Stops the stages at N where the rule lets them grow past the last planned step."""

    def stage(self, t: int, group: Group) -> int:
        return min(super().stage(t, group), group["n_stages"])


class FSGDMUnitGain(FSGDMPort):
    """Adds the gradient as it is where the rule multiplies it by v."""

    def gain(self, u: float, group: Group) -> float:
        return 1.0


class FSGDMAveragingGain(FSGDMPort):
    """Weighs the gradient by 1 - u, as a moving average, where the rule weighs it by v."""

    def gain(self, u: float, group: Group) -> float:
        return 1 - u


class FSGDMGainAndComplement(FSGDMPort):
    """Weighs the gradient by v * (1 - u) where the rule weighs it by v alone."""

    def gain(self, u: float, group: Group) -> float:
        return group["v_coefficient"] * (1 - u)


class FSGDMGainOnFirstStep(FSGDMPort):
    """Multiplies the first gradient alone by v where the rule multiplies every gradient."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        first = not state.get("started")
        state["started"] = True
        super().accumulate(state, d, u, group if first else {**group, "v_coefficient": 1.0})


class FSGDMDecoupledDecay(FSGDMPort):
    """Shrinks the weight apart from the buffer where the rule adds the decay to the gradient."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        super().move(p, m, group)


class FSGDMDecayPastBuffer(FSGDMPort):
    """Adds the decay to the finished buffer where the rule accumulates it in the buffer."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return g

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        super().move(p, m + group["v_coefficient"] * group["weight_decay"] * p, group)


class FSGDMDecayWithoutGain(FSGDMPort):
    """Multiplies the gradient alone by v where the rule multiplies the decay by it too."""

    def decayed(self, p: Tensor, g: Tensor, group: Group) -> Tensor:
        return group["v_coefficient"] * g + group["weight_decay"] * p

    def gain(self, u: float, group: Group) -> float:
        return 1.0


class FSGDMNesterov(FSGDMPort):
    """Steps along v * g + u * m, as Nesterov does, where the rule steps along m."""

    def direction(self, state: State, d: Tensor, u: float, group: Group) -> Tensor:
        return group["v_coefficient"] * d + u * state["momentum_buffer"]


class FSGDMCountsPerParameter(FSGDMPort):
    """Counts the steps of each parameter where the rule counts those of the group."""

    def update(self, p: Tensor, g: Tensor, u: float, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p)
        state["step"] = state.get("step", 0) + 1
        super().update(p, g, self.coefficient(state["step"], group), group)


class FSGDMForgetsAtStage(FSGDMPort):
    """Empties the buffer when a stage begins where the rule carries it over."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        if self.stage(group["step"], group) != self.stage(group["step"] - 1, group):
            for p in group["params"]:
                if self.state[p]:
                    self.state[p]["momentum_buffer"].zero_()
        super().step_group(group, params)


class FSGDMFirstGroupForAll(FSGDMPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class FSGDMSingleBuffer(FSGDMPort):
    """Keeps the buffer in single precision where it has the precision of the parameter."""

    def begin(self, state: State, p: Tensor) -> None:
        state["momentum_buffer"] = torch.zeros_like(p, dtype=torch.float32)


MISREADINGS = (
    FSGDMContinuousCoefficient,
    FSGDMCeilingStage,
    FSGDMNearestStage,
    FSGDMCountsFromZero,
    FSGDMFlooredDelta,
    FSGDMGradientAsFirstBuffer,
    FSGDMInertiaFromStages,
    FSGDMInertiaWithoutSigma,
    FSGDMCappedStage,
    FSGDMUnitGain,
    FSGDMAveragingGain,
    FSGDMGainAndComplement,
    FSGDMGainOnFirstStep,
    FSGDMDecoupledDecay,
    FSGDMDecayPastBuffer,
    FSGDMDecayWithoutGain,
    FSGDMNesterov,
    FSGDMCountsPerParameter,
    FSGDMForgetsAtStage,
    FSGDMFirstGroupForAll,
    FSGDMSingleBuffer,
)
