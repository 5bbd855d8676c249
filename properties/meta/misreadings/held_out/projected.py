"""Held-out wrong ports of AdamP and SGDP; the docstrings state the mistakes."""

import math

from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import AdamPPort, Group, State
from stepgauge.properties.meta.misreadings.sgdp import SGDPPort


class AdamPNormOfLayer(AdamPPort):
    """Divides every row by the norm of the whole weight where the rule divides it by its own."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (w.norm() + eps)
        return u - unit * (unit * u).sum(dim=1, keepdim=True)


class AdamPRatioOnStep(AdamPPort):
    """Scales the step of projected weights by wd_ratio where the rule scales their decay."""

    def apply(self, p: Tensor, u: Tensor, factor: float, state: State, group: Group) -> None:
        super().apply(p, factor * u, 1.0, state, group)


class AdamPDeltaOverSecondAxis(AdamPPort):
    """Divides delta by the root of the second axis's length where the rule counts a row of the view."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        self.length = p.shape[1] if p.ndim > 1 else 1
        return super().project(p, g, u, group)

    def threshold(self, delta: float, w: Tensor) -> float:
        return delta / math.sqrt(self.length)


class AdamPRatioCarriesOver(AdamPPort):
    """Sets the decay's factor to 1 once per group, so that a projected weight leaves wd_ratio to the next."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        self.factor = 1.0
        super().step_group(group, params)

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        tangent, _ = super().project(p, g, u, group)
        if tangent is not u:
            self.factor = group["wd_ratio"]
        return tangent, self.factor


class AdamPDividesMomentInPlace(AdamPPort):
    """Divides the stored first moment in place where the rule keeps the quotient apart."""

    def direction(self, state: State, g: Tensor, group: Group) -> Tensor:
        return self.numerator(state, g, group).div_(self.denominator(state, group))


class SGDPDecayTimesComplement(SGDPPort):
    """Multiplies the decay by 1 - momentum where the rule divides it by that."""

    def decay_rate(self, group: Group) -> float:
        return group["lr"] * group["weight_decay"] * (1 - group["momentum"])


class SGDPFirstRowDecides(SGDPPort):
    """Tests the cosine of the first row alone where the rule tests the largest of all rows."""

    def worst(self, cosines: Tensor) -> Tensor:
        return cosines[0]


class SGDPEpsInsideNorm(SGDPPort):
    """Adds eps to the squared norm of the weight, under the root, where the rule adds it to the norm."""

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        unit = w / (w.square().sum(dim=1, keepdim=True) + eps).sqrt()
        return u - unit * (unit * u).sum(dim=1, keepdim=True)


class SGDPRemovesGradientsPart(SGDPPort):
    """Takes the gradient's radial part from the update where the rule takes the update's own."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        self.raw = g
        return super().project(p, g, u, group)

    def tangent(self, w: Tensor, u: Tensor, eps: float) -> Tensor:
        radial = self.raw.reshape(w.shape) - super().tangent(w, self.raw.reshape(w.shape), eps)
        return u - radial


class SGDPLengthForAxes(SGDPPort):
    """Projects parameters of more than one entry along the first axis where the rule asks for two axes."""

    def project(self, p: Tensor, g: Tensor, u: Tensor, group: Group) -> tuple[Tensor, float]:
        if p.ndim == 0 or len(p) < 2:
            return u, 1.0
        if p.ndim > 1:
            return super().project(p, g, u, group)
        tangent, factor = super().project(p[:, None], g[:, None], u[:, None], group)
        return tangent[:, 0], factor


HELD_OUT = (
    AdamPNormOfLayer,
    AdamPRatioOnStep,
    AdamPDeltaOverSecondAxis,
    AdamPRatioCarriesOver,
    AdamPDividesMomentInPlace,
    SGDPDecayTimesComplement,
    SGDPFirstRowDecides,
    SGDPEpsInsideNorm,
    SGDPRemovesGradientsPart,
    SGDPLengthForAxes,
)
