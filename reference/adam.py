"""Adam (Kingma & Ba, arXiv 1412.6980, Algorithm 1), as torch.optim computes it.

eps stands outside the square root, both bias corrections are applied separately, weight decay is added to the
gradient. With amsgrad the largest second moment so far, not corrected for bias, takes the place of the current one.

keras differs from torch in: eps is added to the root before the correction of its bias; the decay is decoupled
(keras 3, src/optimizers/adam.py and base_optimizer.py; scikit-learn's eps stands there, too).
optax differs from torch in: amsgrad keeps the largest corrected second moment (optax, scale_by_amsgrad).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class Adam(Rule):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    dialects: ClassVar[tuple[str, ...]] = ("torch", "optax", "keras")
    foreign: ClassVar[tuple[str, ...]] = ("optax", "keras")
    required_laws: ClassVar[int] = 0

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient
        exp_avg: Array  # m, shape and dtype of p
        exp_avg_sq: Array  # v, likewise
        max_exp_avg_sq: Array  # the largest v so far, likewise; zeros without amsgrad

    def init(self, p: Array) -> State:
        return self.State(0, np.zeros_like(p), np.zeros_like(p), np.zeros_like(p))

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        if self.dialect == "keras":
            return self.descend((1 - self.lr * self.weight_decay) * p, g, s)
        g = g + self.weight_decay * p if self.weight_decay else g
        return self.descend(p, g, s)

    def descend(self, p: Array, g: Array, s: State) -> tuple[Array, State]:
        """The step without decay."""
        beta1, beta2 = self.betas
        t = s.step + 1
        m = beta1 * s.exp_avg + (1 - beta1) * g
        v = beta2 * s.exp_avg_sq + (1 - beta2) * g * g
        v_max = np.maximum(s.max_exp_avg_sq, v) if self.amsgrad else s.max_exp_avg_sq
        denom = np.sqrt(v_max if self.amsgrad else v) / (1 - beta2**t) ** 0.5 + self.eps
        if self.dialect == "keras":
            denom = (np.sqrt(v_max if self.amsgrad else v) + self.eps) / (1 - beta2**t) ** 0.5
        elif self.dialect == "optax" and self.amsgrad:
            v_max = np.maximum(s.max_exp_avg_sq, v / (1 - beta2**t))
            denom = np.sqrt(v_max) + self.eps
        p = p - self.lr / (1 - beta1**t) * (m / denom)
        return p, self.State(t, m, v, v_max)
