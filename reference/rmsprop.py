"""RMSprop (Hinton's lecture, no paper), as torch.optim computes it.

eps stands outside the square root; lr outside the momentum buffer; all averages start at zero.
Centered, the difference v - a^2 cancels, and may round below zero under constant gradients: NaN, as in torch.

keras differs from torch in: eps is inside the root, lr inside the momentum buffer, the decay decoupled (keras 3,
src/optimizers/rmsprop.py and base_optimizer.py). tensorflow and optax, which has no decay, are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class RMSprop(Rule):
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    dialects: ClassVar[tuple[str, ...]] = ("torch", "keras")
    same_as: ClassVar[Mapping[str, str]] = {"tensorflow": "keras", "optax": "keras"}
    foreign: ClassVar[tuple[str, ...]] = ("keras",)
    required_laws: ClassVar[int] = 0

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient; nothing depends on it
        square_avg: Array  # v, shape and dtype of p
        grad_avg: Array  # a, likewise; zeros unless centered
        momentum_buffer: Array  # b, likewise; zeros without momentum

    def init(self, p: Array) -> State:
        return self.State(0, np.zeros_like(p), np.zeros_like(p), np.zeros_like(p))

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        if self.dialect == "keras":
            return self.step_keras(p, g, s)
        alpha = self.alpha
        g = g + self.weight_decay * p if self.weight_decay else g
        v = alpha * s.square_avg + (1 - alpha) * g * g
        a = alpha * s.grad_avg + (1 - alpha) * g if self.centered else s.grad_avg
        variance = v - a * a if self.centered else v
        d = g / (np.sqrt(variance) + self.eps)
        b = self.momentum * s.momentum_buffer + d if self.momentum else s.momentum_buffer
        p = p - self.lr * (b if self.momentum else d)
        return p, self.State(s.step + 1, v, a, b)

    def step_keras(self, p: Array, g: Array, s: State) -> tuple[Array, State]:
        alpha = self.alpha
        p = (1 - self.lr * self.weight_decay) * p
        v = alpha * s.square_avg + (1 - alpha) * g * g
        a = alpha * s.grad_avg + (1 - alpha) * g if self.centered else s.grad_avg
        variance = v - a * a if self.centered else v
        d = self.lr * g / np.sqrt(variance + self.eps)
        b = self.momentum * s.momentum_buffer + d if self.momentum else s.momentum_buffer
        p = p - (b if self.momentum else d)
        return p, self.State(s.step + 1, v, a, b)
