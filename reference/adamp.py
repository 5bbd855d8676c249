"""AdamP (Heo et al., "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights", ICLR 2021,
arXiv 2006.08217; the algorithm figure of the project page).

Adam whose update loses its radial component on scale-invariant weights, and whose decay is weaker there.
`published` is bias-corrected with decoupled decay, as the authors' documentation has it; their algorithm figure
leaves out bias correction, decay and the fall-back from rows to the layer.

released differs from published in: nothing (adamp 0.3.0, measured).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.projection import project
from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class AdamP(Rule):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    delta: float = 0.1
    wd_ratio: float = 0.1
    nesterov: bool = False

    same_as: ClassVar[Mapping[str, str]] = {"released": "published"}
    required_laws: ClassVar[int] = 11

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient
        exp_avg: Array  # m, shape and dtype of p; never projected
        exp_avg_sq: Array  # v, likewise

    def init(self, p: Array) -> State:
        return self.State(0, np.zeros_like(p), np.zeros_like(p))

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        lr, (beta1, beta2), eps = self.lr, self.betas, self.eps
        t = s.step + 1
        m = beta1 * s.exp_avg + (1 - beta1) * g
        v = beta2 * s.exp_avg_sq + (1 - beta2) * g * g
        denom = np.sqrt(v) / (1 - beta2**t) ** 0.5 + eps
        look = beta1 * m + (1 - beta1) * g if self.nesterov else m
        u, invariant = project(p, g, look / denom, self.delta, eps)
        decay = lr * self.weight_decay * (self.wd_ratio if invariant else 1)
        p = (1 - decay) * p - lr / (1 - beta1**t) * u
        return p, self.State(t, m, v)
