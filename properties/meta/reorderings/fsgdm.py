"""Right ports of FSGDM in other orders of floating-point operations."""

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort
from stepgauge.properties.meta.reorderings.common import Tensors


class FSGDMOuterGain(FSGDMPort):
    """Keeps the buffer without v and multiplies the step by it."""

    def gain(self, u: float, group: Group) -> float:
        return 1.0

    def move(self, p: Tensor, m: Tensor, group: Group) -> None:
        p.add_(m, alpha=-group["lr"] * group["v_coefficient"])


class FSGDMCountedStage(FSGDMPort):
    """Counts the stage up, carrying the remainder from step to step in whole numbers."""

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


REORDERINGS = (
    FSGDMOuterGain,
    FSGDMCountedStage,
    FSGDMStageInSteps,
    FSGDMReciprocalCoefficient,
    FSGDMSubtractedLeak,
    FSGDMStepInTwoParts,
    FSGDMForeach,
)
