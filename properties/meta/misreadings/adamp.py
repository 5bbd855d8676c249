"""AdamP as published, and wrong ports of it.

`AdamPPort` computes the rule. Every other optimizer here overrides one small piece of it and
thereby computes something else; its docstring states the misreading.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

Group = dict[str, Any]
State = dict[str, Any]


class ProjectedPort(Optimizer):
    """The step loop and the projection that AdamP and SGDP share."""

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

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        """The projected update and the factor of the decay."""
        if p.ndim < 2 or p.numel() == 0:
            return u, 1.0
        for rows in self.row_counts(p):
            w = p.reshape(rows, -1)
            if self.invariant(w, g.reshape(rows, -1), group):
                tangent = self.tangent(w, u.reshape(rows, -1), group["eps"])
                return tangent.reshape(p.shape), group["wd_ratio"]
        return u, 1.0

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return p.shape[0], 1

    def invariant(self, w: Tensor, g: Tensor, group: Group) -> bool:
        worst = self.worst(self.cosine(w, g, group["eps"]))
        return bool(worst < self.threshold(group["delta"], w))

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return functional.cosine_similarity(w, g, dim=1, eps=eps).abs()

    def worst(self, cosines: Tensor) -> Tensor:
        return cosines.max()

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / math.sqrt(w.shape[1])

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (w.norm(dim=1, keepdim=True) + eps)
        return u - unit * (unit * u).sum(dim=1, keepdim=True)


class AdamPPort(ProjectedPort):
    """The published rule."""

    rule = "adamp"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "delta": delta,
            "wd_ratio": wd_ratio,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        state = self.state[p]
        if not state:
            self.begin(state, p)
        self.count(state, group)
        self.moments(state, g, group)
        u, factor = self.project(p, g, self.direction(state, g, group), group)
        self.apply(p, u, factor, state, group)

    def begin(self, state: State, p: Tensor) -> None:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(p)
        state["exp_avg_sq"] = torch.zeros_like(p)

    def count(self, state: State, group: Group) -> None:
        state["step"] += 1

    def moments(self, state: State, g: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(g, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)

    def direction(self, state: State, g: Tensor, group: Group) -> Tensor:
        return self.numerator(state, g, group) / self.denominator(state, group)

    def numerator(self, state: State, g: Tensor, group: Group) -> Tensor:
        if not group["nesterov"]:
            return state["exp_avg"]
        return self.look_ahead(state, g, group)

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        return beta1 * state["exp_avg"] + (1 - beta1) * g

    def denominator(self, state: State, group: Group) -> Tensor:
        root = state["exp_avg_sq"].sqrt() / math.sqrt(self.correction(state, group, 1))
        return root + group["eps"]

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - group["betas"][moment] ** state["step"]

    def apply(self, p: Tensor, u: Tensor, factor: float, state: State, group: Group) -> None:
        self.decay(p, factor, group)
        self.move(p, u, state, group)

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"] * factor)

    def move(self, p: Tensor, u: Tensor, state: State, group: Group) -> None:
        p.add_(u, alpha=-group["lr"] / self.correction(state, group, 0))


class AdamPSignedCosine(AdamPPort):
    """Compares the signed cosine with the threshold where the rule takes the absolute value."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return functional.cosine_similarity(w, g, dim=1, eps=eps)


class AdamPMeanCosine(AdamPPort):
    """Takes the mean of the row cosines where the rule takes the maximum."""

    def worst(self, cosines: Tensor) -> Tensor:
        return cosines.mean()


class AdamPMinimumCosine(AdamPPort):
    """Projects all rows as soon as one of them passes the test where the rule asks it of all."""

    def worst(self, cosines: Tensor) -> Tensor:
        return cosines.min()


class AdamPEachRowAlone(AdamPPort):
    """Projects just the rows that pass the test where the rule projects all rows or none."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        if p.ndim < 2 or p.numel() == 0:
            return u, 1.0
        w, v = p.flatten(1), u.flatten(1)
        cosines = self.cosine(w, g.flatten(1), group["eps"])
        passing = cosines < self.threshold(group["delta"], w)
        if not passing.any():
            return super().project(p, g, u, group)
        mixed = torch.where(passing[:, None], self.tangent(w, v, group["eps"]), v)
        return mixed.reshape(p.shape), group["wd_ratio"]


class AdamPBareDelta(AdamPPort):
    """Compares the cosine with delta itself where the rule divides it by the root of the size."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta


class AdamPDeltaOverColumns(AdamPPort):
    """Divides delta by the number of columns where the rule divides it by their root."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / w.shape[1]


class AdamPDeltaOverRootRows(AdamPPort):
    """Divides delta by the root of the number of rows where the rule counts the columns."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / math.sqrt(w.shape[0])


class AdamPDeltaOverRootNumel(AdamPPort):
    """Divides delta by the root of the whole size in both views where rows have their own size."""

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / math.sqrt(w.numel())


class AdamPNoLayerFallback(AdamPPort):
    """Gives up after the row view where the rule goes on to try the whole layer."""

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return (p.shape[0],)


class AdamPLayerFirst(AdamPPort):
    """Tries the whole layer before the rows where the rule prefers the rows."""

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return 1, p.shape[0]


class AdamPLastAxisRows(AdamPPort):
    """Takes the last axis as a row where a row is everything below the first axis."""

    def row_counts(self, p: Tensor) -> tuple[int, ...]:
        return p.numel() // p.shape[-1], 1


class AdamPInputChannels(AdamPPort):
    """Takes the second axis as the channels where the rule takes the first."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        if p.ndim < 2:
            return u, 1.0
        swapped = (x.transpose(0, 1) for x in (p, g, u))
        tangent, factor = super().project(*swapped, group)
        return tangent.transpose(0, 1), factor


class AdamPConvolutionsOnly(AdamPPort):
    """Leaves matrices unprojected where the rule projects everything of two axes or more."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return (u, 1.0) if p.ndim == 2 else super().project(p, g, u, group)


class AdamPProjectsVectors(AdamPPort):
    """Projects one-dimensional parameters as a single row where the rule leaves them alone."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        if p.ndim != 1:
            return super().project(p, g, u, group)
        tangent, factor = super().project(p[None], g[None], u[None], group)
        return tangent[0], factor


class AdamPTestsUpdate(AdamPPort):
    """Tests the cosine of the update with the weight where the rule tests the raw gradient."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return super().project(p, u, u, group)


class AdamPTestsMomentum(AdamPPort):
    """Tests the cosine of the first moment with the weight where the rule tests the gradient."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return super().project(p, self.state[p]["exp_avg"], u, group)


class AdamPEpsAddedCosine(AdamPPort):
    """Adds eps to the norms in the cosine where the rule keeps the norms from falling below eps."""

    def cosine(self, w: Tensor, g: Tensor, eps: float) -> Tensor:
        return ((w / (w.norm(dim=1, keepdim=True) + eps)) * g).sum(1).abs() / (g.norm(dim=1) + eps)


class AdamPClampedNormalizer(AdamPPort):
    """Keeps the norm of the weight from falling below eps where the projection adds eps to it."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = functional.normalize(w, dim=1, eps=eps)
        return u - unit * (unit * u).sum(dim=1, keepdim=True)


class AdamPProjectsRawWeight(AdamPPort):
    """Projects with the weight as it is where the rule normalises it first."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        return u - w * (w * u).sum(dim=1, keepdim=True)


class AdamPNormalizesOnce(AdamPPort):
    """Divides the radial part by the norm of the weight once where the rule divides by it twice."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (w.norm(dim=1, keepdim=True) + eps)
        return u - w * (unit * u).sum(dim=1, keepdim=True)


class AdamPProjectsDecayedWeight(AdamPPort):
    """Projects against the weight after its decay where the rule takes the weight before."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        factor = super().project(p, g, u, group)[1]
        decayed = p * (1 - group["lr"] * group["weight_decay"] * factor)
        return super().project(decayed, g, u, group)[0], factor


class AdamPProjectsGradient(AdamPPort):
    """Feeds the projected gradient to the moments where the rule projects the finished update."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, super().project(p, g, g, group)[0], group)

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        return u, super().project(p, g, u, group)[1]


class AdamPProjectsNumerator(AdamPPort):
    """Projects the first moment before the division where the rule projects the quotient."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        denominator = self.denominator(self.state[p], group)
        tangent, factor = super().project(p, g, u * denominator, group)
        return tangent / denominator, factor


class AdamPStoresProjection(AdamPPort):
    """Writes the projected update back into the first moment where the rule keeps it apart."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, u, group)
        state = self.state[p]
        if tangent is not u:
            state["exp_avg"].copy_(tangent * self.denominator(state, group))
        return tangent, factor


class AdamPEpsInsideRoot(AdamPPort):
    """Adds eps under the square root where the rule adds it to the root."""

    def denominator(self, state: State, group: Group) -> Tensor:
        corrected = state["exp_avg_sq"] / self.correction(state, group, 1)
        return (corrected + group["eps"]).sqrt()


class AdamPEpsBeforeCorrection(AdamPPort):
    """Adds eps before the bias correction of the denominator where the rule adds it after."""

    def denominator(self, state: State, group: Group) -> Tensor:
        root = state["exp_avg_sq"].sqrt() + group["eps"]
        return root / math.sqrt(self.correction(state, group, 1))


class AdamPFixedEps(AdamPPort):
    """Fixes the eps of the denominator at 1e-6 where the rule takes the hyperparameter."""

    def denominator(self, state: State, group: Group) -> Tensor:
        return super().denominator(state, {**group, "eps": 1e-6})


class AdamPClampedDenominator(AdamPPort):
    """Keeps the denominator from falling below eps where the rule adds eps to it."""

    def denominator(self, state: State, group: Group) -> Tensor:
        return super().denominator(state, {**group, "eps": 0.0}).clamp_min(group["eps"])


class AdamPNoFirstCorrection(AdamPPort):
    """Leaves the bias of the first moment uncorrected."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, moment) if moment == 1 else 1.0


class AdamPNoSecondCorrection(AdamPPort):
    """Leaves the bias of the second moment uncorrected."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return super().correction(state, group, moment) if moment == 0 else 1.0


class AdamPCorrectsOneStepAhead(AdamPPort):
    """Corrects the biases with the number of the next step where the rule takes the present one."""

    def correction(self, state: State, group: Group, moment: int) -> float:
        return 1 - group["betas"][moment] ** (state["step"] + 1)


class AdamPSharedCounter(AdamPPort):
    """Counts the calls once for all parameters where each parameter counts its own gradients."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        group["calls"] = group.get("calls", 0) + 1
        super().step_group(group, params)

    def count(self, state: State, group: Group) -> None:
        state["step"] = group["calls"]


class AdamPCoupledDecay(AdamPPort):
    """Adds the decay to the gradient where the rule shrinks the weight apart from it."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g.add(p, alpha=group["weight_decay"]), group)

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        pass


class AdamPRatioWhenUnprojected(AdamPPort):
    """Scales the decay by wd_ratio for unprojected weights where the rule does for projected."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, u, {**group, "wd_ratio": 0.0})
        return tangent, group["wd_ratio"] if factor else 1.0


class AdamPFullDecay(AdamPPort):
    """Decays projected weights in full where the rule scales their decay by wd_ratio."""

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        super().decay(p, 1.0, group)


class AdamPLayerFullDecay(AdamPPort):
    """Scales the decay by wd_ratio in the row view alone where the rule does in both views."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, factor = super().project(p, g, u, group)
        if tangent is u or self.invariant(p.flatten(1), g.flatten(1), group):
            return tangent, factor
        return tangent, 1.0


class AdamPUndecayedVectors(AdamPPort):
    """Spares one-dimensional parameters the decay where the rule decays every parameter."""

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        if p.ndim > 1:
            super().decay(p, factor, group)


class AdamPDecayWithoutRate(AdamPPort):
    """Decays by weight_decay alone where the rule multiplies it by the learning rate."""

    def decay(self, p: Tensor, factor: float, group: Group) -> None:
        p.mul_(1 - group["weight_decay"] * factor)


class AdamPDecayAfterStep(AdamPPort):
    """Decays the weight after the step where the rule decays it before."""

    def apply(self, p: Tensor, u: Tensor, factor: float, state: State, group: Group) -> None:
        self.move(p, u, state, group)
        self.decay(p, factor, group)


class AdamPNesterovOldMoment(AdamPPort):
    """Looks ahead from the moment before this gradient where the rule takes the moment after."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return state["exp_avg"]


class AdamPNesterovFullGradient(AdamPPort):
    """Adds the whole gradient to the look-ahead where the rule adds its (1 - beta1) part."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return group["betas"][0] * state["exp_avg"] + g


class AdamPNesterovNextCorrection(AdamPPort):
    """Corrects the moment in the look-ahead one step ahead, as NAdam does."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        beta1 = group["betas"][0]
        ahead = self.correction(state, group, 0) / (1 - beta1 ** (state["step"] + 1))
        return beta1 * ahead * state["exp_avg"] + (1 - beta1) * g


class AdamPFirstGroupForAll(AdamPPort):
    """Reads the hyperparameters of the first group for every group."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        super().update(p, g, self.param_groups[0])


class AdamPSkipsZeroGradients(AdamPPort):
    """Skips a parameter whose gradient is all zero where the rule carries on with its moments."""

    def update(self, p: Tensor, g: Tensor, group: Group) -> None:
        if g.any():
            super().update(p, g, group)


class AdamPSingleMoments(AdamPPort):
    """Keeps the moments in single precision where they have the precision of the parameter."""

    def begin(self, state: State, p: Tensor) -> None:
        super().begin(state, p)
        state["exp_avg"] = state["exp_avg"].float()
        state["exp_avg_sq"] = state["exp_avg_sq"].float()


MISREADINGS = (
    AdamPSignedCosine,
    AdamPMeanCosine,
    AdamPMinimumCosine,
    AdamPEachRowAlone,
    AdamPBareDelta,
    AdamPDeltaOverColumns,
    AdamPDeltaOverRootRows,
    AdamPDeltaOverRootNumel,
    AdamPNoLayerFallback,
    AdamPLayerFirst,
    AdamPLastAxisRows,
    AdamPInputChannels,
    AdamPConvolutionsOnly,
    AdamPProjectsVectors,
    AdamPTestsUpdate,
    AdamPTestsMomentum,
    AdamPEpsAddedCosine,
    AdamPClampedNormalizer,
    AdamPProjectsRawWeight,
    AdamPNormalizesOnce,
    AdamPProjectsDecayedWeight,
    AdamPProjectsGradient,
    AdamPProjectsNumerator,
    AdamPStoresProjection,
    AdamPEpsInsideRoot,
    AdamPEpsBeforeCorrection,
    AdamPFixedEps,
    AdamPClampedDenominator,
    AdamPNoFirstCorrection,
    AdamPNoSecondCorrection,
    AdamPCorrectsOneStepAhead,
    AdamPSharedCounter,
    AdamPCoupledDecay,
    AdamPRatioWhenUnprojected,
    AdamPFullDecay,
    AdamPLayerFullDecay,
    AdamPUndecayedVectors,
    AdamPDecayWithoutRate,
    AdamPDecayAfterStep,
    AdamPNesterovOldMoment,
    AdamPNesterovFullGradient,
    AdamPNesterovNextCorrection,
    AdamPFirstGroupForAll,
    AdamPSkipsZeroGradients,
    AdamPSingleMoments,
)
