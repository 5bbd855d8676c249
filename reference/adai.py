"""Adai (Xie et al., "Adaptive Inertia: Disentangling the Effects of Adaptive Learning Rate and Momentum", ICML 2022,
arXiv 2006.15815), and AdaiW, which is Adai with decoupled decay.

Momentum whose inertia beta1 is a coordinate's own: small where the second moment is large beside its mean v_bar over
the whole model. The mean is over every coordinate of all parameters, of all groups, that have a gradient in the step.
So one NaN in a gradient makes every parameter NaN, and after an infinite one all others have the largest inertia.

released differs from published in (adai at e6c1b9d, measured):
- if all pooled gradients are zero, v_hat / v_bar is NaN, not 0;
- coupled decay is written into the gradient itself, which nobody should rely on and this reference does not do.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from stepgauge.reference.hyperparameters import AT_LEAST_ZERO, HYPERPARAMETERS, Hyperparameter, Range
from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class Adai(Rule):
    lr: float
    betas: tuple[float, float] = (0.1, 0.99)
    eps: float = 1e-3
    weight_decay: float = 0.0
    decoupled: bool = False

    dialects: ClassVar[tuple[str, ...]] = ("published", "released")
    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "betas": replace(HYPERPARAMETERS["betas"], allowed=AT_LEAST_ZERO, drawn=((0.13, 0.4, 0.0, 1.6), (0.992, 0.71))),
        "eps": Hyperparameter(Range(lambda x: 0 < x < 1, "in (0, 1)"), (1e-3, 0.02), refused=-1.0),
    }
    required_laws: ClassVar[int] = 10
    pools_over: ClassVar[Literal["all"]] = "all"

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient
        exp_avg: Array  # m, shape and dtype of p
        exp_avg_sq: Array  # v, likewise
        beta1_prod: Array  # the product of all beta1 so far, likewise

    def check(self) -> None:
        if self.betas[1] >= 1:
            raise ValueError(f"Invalid betas: {self.betas} (the second must be in [0, 1))")

    def init(self, p: Array) -> State:
        if 1 - p.dtype.type(self.eps) == 1:
            raise ValueError(f"Invalid eps: {self.eps} (1 - eps rounds to 1 in {p.dtype})")
        return self.State(0, np.zeros_like(p), np.zeros_like(p), np.ones_like(p))

    def second_moment(self, p: Array, g: Array, s: State) -> tuple[Array, Array, Array]:
        """The gradient with coupled decay, v, and v corrected for its bias."""
        beta2, t = self.betas[1], s.step + 1
        g = g if self.decoupled else g + self.weight_decay * p
        v = beta2 * s.exp_avg_sq + (1 - beta2) * g * g
        return g, v, v / (1 - beta2**t)

    def statistic(self, p: Array, g: Array, s: State) -> Sum:
        _, _, v_hat = self.second_moment(p, g, s)
        return Sum(float(np.sum(v_hat)), v_hat.size)

    def ratio(self, v_hat: Array, v_bar: float) -> Array:
        """v_hat / v_bar; no coordinate stands out where all are zero."""
        return np.zeros_like(v_hat) if v_bar == 0 and self.dialect == "published" else v_hat / v_bar

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        assert pooled is not None
        g, v, v_hat = self.second_moment(p, g, s)
        beta1 = np.clip(1 - self.betas[0] * self.ratio(v_hat, pooled.mean), 0, 1 - self.eps)
        prod = s.beta1_prod * beta1
        m = beta1 * s.exp_avg + (1 - beta1) * g
        if self.decoupled:
            p = (1 - self.lr * self.weight_decay) * p
        p = p - self.lr * (m / (1 - prod))
        return p, self.State(s.step + 1, m, v, prod)
