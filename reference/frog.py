"""FROG (Fisher ROw-wise preconditioninG; technical overview in the authors' repository, Fullfix/frog-optimizer).

A natural-gradient step in which every output row has a Fisher matrix of its own, F_j = X' diag(Y_j^2) X, which is
divided by its mean diagonal tr(F_j) / D, damped by tau, and inverted by a few conjugate gradients. The step of a row
has unit length in that Fisher matrix. Momentum comes before the preconditioning, decay is decoupled. Parameters that
are no layer's step along their momentum. A bias is a column of its layer's weights.

The overview's derivation has one gradient for each sample; its operator for convolutions, which the released code
follows and so does this reference, takes every position as a sample. Nesterov's momentum, and a rate of their own for
the other parameters, are in the code alone.

A dead row (tr F_j = 0) with momentum left has the Fisher matrix tau alone: its step has length lr / sqrt(tau).
What is not finite in a gradient or a signal makes its row NaN, in an input every row of the layer.

released differs from published in (frog.py at 32f2252, measured):
- denom_eps is 1e-10, in four places, so that steps depend on the scale of the loss where that is small, and stands
  in for the guard against division by zero: at denom_eps = 0 a row without gradient becomes NaN;
- Conv2d weights alone are preconditioned, no linear layer and no bias (and groups are refused, as is padding 'same');
- decay of the other parameters is coupled, and without nesterov it enters their stored momentum.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.conjugate_gradients import conjugate_gradients, dot, guarded, plain
from stepgauge.reference.hyperparameters import AT_LEAST_ZERO, Hyperparameter
from stepgauge.reference.layers import Chosen, Layer, LayerGradient, subsample
from stepgauge.reference.rule import Array, Generator, Rule, Sum


@dataclass(frozen=True)
class Frog(Rule):
    lr: float = 1e-3
    lr_other_ratio: float = 0.25
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    sample_size: int | None = 24  # samples that the Fisher matrices are estimated from; None for all
    num_iters: int = 4
    tau: float = 1e-6
    batch_averaged: bool = True
    denom_eps: float = 0.0

    dialects: ClassVar[tuple[str, ...]] = ("published", "released")
    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "lr_other_ratio": Hyperparameter(AT_LEAST_ZERO, (0.25, 1.7)),
        # Smaller, and rounding decides where a layer saw too few samples.
        "tau": Hyperparameter(AT_LEAST_ZERO, (0.03, 0.2, 1.1)),
        "denom_eps": Hyperparameter(AT_LEAST_ZERO, (0.0, 1e-10, 1e-4)),
    }
    required_laws: ClassVar[int] = 7

    sees_layers: ClassVar[bool] = True

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient; nothing depends on it
        momentum_buffer: Array  # M, shape and dtype of p

    def check(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("Invalid nesterov: True (needs momentum above 0)")

    def init(self, p: Array) -> State:
        return self.State(0, np.zeros_like(p))

    def preconditioned(self, layer: Layer) -> Layer | None:
        if self.dialect == "published":
            return layer
        return layer._replace(bias=None) if layer.geometry else None

    def chosen(self, samples: int, rng: Generator | None) -> Chosen:
        both = subsample(samples, self.sample_size, rng)
        return both, both

    def step(self, p: Array, g: Array | LayerGradient, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        if not isinstance(g, LayerGradient):
            return self.step_other(p, g, s)
        M, e = self.momenta(g.grad, s)
        h = self.natural_direction(e, g)
        p = (1 - self.lr * self.weight_decay) * p - self.lr * h
        return p, self.State(s.step + 1, M)

    def momenta(self, g: Array, s: State) -> tuple[Array, Array]:
        """The momentum M, and with nesterov the one looked ahead to."""
        M = self.momentum * s.momentum_buffer + g
        return M, g + self.momentum * M if self.nesterov else M

    def natural_direction(self, e: Array, g: LayerGradient) -> Array:
        """F^-1 e / sqrt(<F^-1 e, e>) for every row, F being normalised, damped and inverted approximately."""
        X, Y, eps = g.inputs, g.signals, self.denom_eps
        divide = guarded if self.dialect == "published" else plain
        scale = g.batch**2 / g.samples if self.batch_averaged else 1 / g.samples  # matters beside denom_eps alone
        F = scale * Y**2
        trace = F.T @ np.sum(X * X, axis=1, keepdims=True) / X.shape[1]
        S = divide(F, trace.T + eps)
        W = conjugate_gradients(lambda P: (S * (X @ P.T)).T @ X + self.tau * P, e, self.num_iters, eps, divide)
        inner = dot(W, e)
        return divide(W, np.sqrt(inner + eps))

    def step_other(self, p: Array, g: Array, s: State) -> tuple[Array, State]:
        """A parameter that is no layer's."""
        lr = self.lr * self.lr_other_ratio
        M, e = self.momenta(g, s)
        if self.dialect == "released":
            e = e + self.weight_decay * p
            return p - lr * e, self.State(s.step + 1, M if self.nesterov else e)
        return (1 - self.lr * self.weight_decay) * p - lr * e, self.State(s.step + 1, M)
