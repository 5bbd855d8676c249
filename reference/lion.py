"""Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, arXiv 2302.06675, Algorithm 2).

The sign of an interpolation between momentum and gradient: beta1 weighs what is stepped along, beta2 what is kept. The
momentum starts at zero and is not corrected for its bias; the decay is decoupled. Where the interpolation is exactly
zero, so is its sign.

The step is bounded: an infinite gradient moves its coordinate by lr, as any other does, and makes its momentum
infinite for good. The sign of NaN is NaN, as NumPy has it; torch has 0, so that a port in torch stops moving the
coordinate instead.

released differs from published in: nothing but the order of decay and step, which is rounding (lion-pytorch 0.2.5,
measured; google/automl's own lion for torch and optax, read). Of lion-pytorch's options `decoupled_weight_decay` is
another rule: it divides weight_decay by the lr of the constructor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class Lion(Rule):
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    same_as: ClassVar[Mapping[str, str]] = {"released": "published"}
    bounded_step: ClassVar[bool] = True
    required_laws: ClassVar[int] = 8

    class State(NamedTuple):
        exp_avg: Array  # m, shape and dtype of p

    def init(self, p: Array) -> State:
        return self.State(np.zeros_like(p))

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        beta1, beta2 = self.betas
        c = beta1 * s.exp_avg + (1 - beta1) * g
        p = p - self.lr * (np.sign(c) + self.weight_decay * p)
        m = beta2 * s.exp_avg + (1 - beta2) * g
        return p, self.State(m)
