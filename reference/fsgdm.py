"""FSGDM (Li et al., "On the Performance Analysis of Momentum Method: A Frequency Domain Perspective", ICLR 2025,
arXiv 2411.19671).

A momentum filter m_t = u_t m_{t-1} + v g_t whose pole moves, stage by stage, from 0 towards 1: with t counted from 1,
stage k = floor(t N / Sigma) has u = k / (k + c N), and passes the frequency w with gain v / |1 - u exp(-iw)|.
Beyond Sigma the stages, and the pole with them, go on; a step is counted also where there is no gradient.

released differs from published in (fsgdm 1.0, measured):
- the first buffer is the gradient itself, not v times it;
- a stage lasts floor(Sigma / N) steps, not Sigma / N, so uneven stages end early and outnumber N.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.hyperparameters import ABOVE_ZERO, AT_LEAST_ZERO, POSITIVE_INTEGER, Hyperparameter
from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class FSGDM(Rule):
    lr: float = 0.1
    weight_decay: float = 5e-4
    c_scaling: float = 0.033
    v_coefficient: float = 1.0
    n_stages: int = 300
    sigma: int = 117_000

    dialects: ClassVar[tuple[str, ...]] = ("published", "released")
    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "c_scaling": Hyperparameter(ABOVE_ZERO, (0.15, 0.033, 0.8), refused=-1.0),
        "v_coefficient": Hyperparameter(AT_LEAST_ZERO, (1.0, 0.3, 1.7), off=1, refused=-1.0),
        # Lively stages are uneven, and passed in a few steps.
        "n_stages": Hyperparameter(POSITIVE_INTEGER, (range(1, 7), 12), lively=3, refused=0),
        "sigma": Hyperparameter(POSITIVE_INTEGER, range(6, 14), lively=7, refused=0),
    }
    required_laws: ClassVar[int] = 11

    class State(NamedTuple):
        step: int  # calls so far, those without a gradient included
        momentum_buffer: Array | None  # m, shape and dtype of p; released: None before the first gradient

    def check(self) -> None:
        if self.sigma < self.n_stages:
            raise ValueError(f"Invalid sigma: {self.sigma} (must be at least n_stages, {self.n_stages})")

    def init(self, p: Array) -> State:
        return self.State(0, None if self.dialect == "released" else np.zeros_like(p))

    def skip(self, s: State) -> State:
        return s._replace(step=s.step + 1)

    def pole(self, t: int) -> float:
        """u_t, in [0, 1)."""
        c, n, sigma = self.c_scaling, self.n_stages, self.sigma
        if self.dialect == "released":
            length = sigma // n
            start = t // length * length
            return start / (start + c * sigma)
        k = t * n // sigma  # in integers: floor(t / (sigma / n)) of a rounded quotient picks wrong stages
        return k / (k + c * n)

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        t = s.step + 1
        u, v = self.pole(t), self.v_coefficient
        d = g + self.weight_decay * p if self.weight_decay else g
        m = d if s.momentum_buffer is None else u * s.momentum_buffer + v * d
        p = p - self.lr * m
        return p, self.State(t, m)
