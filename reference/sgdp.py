"""SGDP (Heo et al., "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights", ICLR 2021,
arXiv 2006.08217; the algorithm figure of the project page).

SGD with momentum whose update loses its radial component on scale-invariant weights. Dampening acts from the first
step on, and the decay is divided by 1 - momentum: both as released, where the figure is silent.

released differs from published in: without nesterov the projection is written back into the stored momentum, because
the update is projected in place and is the buffer (adamp 0.1.0 to 0.3.0, measured).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.projection import project
from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class SGDP(Rule):
    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    eps: float = 1e-8
    delta: float = 0.1
    wd_ratio: float = 0.1

    dialects: ClassVar[tuple[str, ...]] = ("published", "released")
    required_laws: ClassVar[int] = 12

    class State(NamedTuple):
        momentum_buffer: Array  # b, shape and dtype of p

    def check(self) -> None:
        if self.momentum >= 1 and self.weight_decay > 0:
            raise ValueError(f"Invalid momentum: {self.momentum} (must be below 1 with weight_decay)")

    def init(self, p: Array) -> State:
        return self.State(np.zeros_like(p))

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        b = self.momentum * s.momentum_buffer + (1 - self.dampening) * g
        d = g + self.momentum * b if self.nesterov else b
        u, invariant = project(p, g, d, self.delta, self.eps)
        stored = u if self.dialect == "released" and not self.nesterov else b
        if self.weight_decay:
            decay = self.lr * self.weight_decay * (self.wd_ratio if invariant else 1)
            p = (1 - decay / (1 - self.momentum)) * p
        p = p - self.lr * u
        return p, self.State(stored)
