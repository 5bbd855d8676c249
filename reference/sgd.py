"""SGD with momentum, as torch.optim computes it.

The first momentum buffer is the gradient itself, undampened. Without momentum there is no buffer.

keras differs from torch in: lr is inside the momentum buffer, so that a schedule acts on new gradients alone; the decay
is decoupled (keras 3, src/optimizers/sgd.py and base_optimizer.py; scikit-learn's MLP has lr inside, too).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from stepgauge.reference.rule import Array, Rule, Sum


@dataclass(frozen=True)
class SGD(Rule):
    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    dialects: ClassVar[tuple[str, ...]] = ("torch", "keras")
    foreign: ClassVar[tuple[str, ...]] = ("keras",)
    required_laws: ClassVar[int] = 4

    class State(NamedTuple):
        momentum_buffer: Array | None  # b, shape and dtype of p; None before the first gradient

    def check(self) -> None:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("Invalid nesterov: True (needs momentum above 0 and dampening 0)")

    def init(self, p: Array) -> State:
        return self.State(None)

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        if self.dialect == "keras":
            return self.step_keras(p, g, s)
        g = g + self.weight_decay * p if self.weight_decay else g
        if self.momentum == 0:
            return p - self.lr * g, s
        b = g if s.momentum_buffer is None else self.momentum * s.momentum_buffer + (1 - self.dampening) * g
        d = g + self.momentum * b if self.nesterov else b
        p = p - self.lr * d
        return p, self.State(b)

    def step_keras(self, p: Array, g: Array, s: State) -> tuple[Array, State]:
        p = (1 - self.lr * self.weight_decay) * p
        at_rate_one = SGD(1.0, self.momentum, self.dampening, nesterov=self.nesterov)
        return at_rate_one.step(p, self.lr * g, s)
