"""Held-out wrong ports of FSGDM; the docstrings state the mistakes."""

from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort


class FSGDMCountsGroups(FSGDMPort):
    """Advances one counter with every group where each group counts its own calls."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        self.calls = getattr(self, "calls", 0) + 1
        super().step_group({**group, "step": self.calls}, params)


class FSGDMInertiaOfStage(FSGDMPort):
    """Takes mu for c times the length of a stage where the rule takes c times Sigma."""

    def coefficient(self, t: int, group: Group) -> float:
        k = self.stage(t, group)
        return k / (k + group["c_scaling"])


class FSGDMGainOnBuffer(FSGDMPort):
    """Multiplies the sum of the old buffer and the gradient by v where the rule multiplies the gradient."""

    def accumulate(self, state: State, d: Tensor, u: float, group: Group) -> None:
        state["momentum_buffer"].mul_(u).add_(d).mul_(group["v_coefficient"])


class FSGDMLinspaceStages(FSGDMPort):
    """Cuts Sigma into N - 1 stages between N points, as linspace does, where the rule cuts it into N."""

    def coefficient(self, t: int, group: Group) -> float:
        count = group["n_stages"] - 1
        start = t * count // group["sigma"] * group["sigma"] / count if count else 0.0
        return start / (start + group["c_scaling"] * group["sigma"])


class FSGDMFadesIdleBuffers(FSGDMPort):
    """Multiplies the buffer of a parameter without gradient by u where the rule leaves it alone."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        u = self.coefficient(group["step"], group)
        for p in group["params"]:
            if p.grad is None and self.state[p]:
                self.state[p]["momentum_buffer"].mul_(u)
        super().step_group(group, params)


HELD_OUT = (FSGDMCountsGroups, FSGDMInertiaOfStage, FSGDMGainOnBuffer, FSGDMLinspaceStages, FSGDMFadesIdleBuffers)
