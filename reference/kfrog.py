"""K-FROG, the Kronecker-factored predecessor of FROG (Fullfix/frog-optimizer; one line of its README, no text).

The direction is divided by the root of each row's mean squared signal, and solved against the inputs' second moment
X'X / B, then multiplied by the roots of that matrix's diagonal. There is no normalising scalar and no decay.
Only the weights of Conv2d are preconditioned; everything else steps along its momentum. B, by which the signals too
are scaled, counts the samples of the inputs. A row with an infinite signal does not move. Stated as released
(kfrog.py at 32f2252), which refuses grouped convolutions; so does this reference.

released differs from published in: nothing, for want of a publication.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from stepgauge.reference.conjugate_gradients import conjugate_gradients, plain
from stepgauge.reference.hyperparameters import FRACTION, HYPERPARAMETERS, Hyperparameter
from stepgauge.reference.layers import Chosen, Layer, LayerGradient, subsample
from stepgauge.reference.rule import Array, Generator, Rule, Sum

DENOM_EPS = 1e-10


@dataclass(frozen=True)
class KFrog(Rule):
    lr: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    y_momentum: float = 0.0
    sample_size: int | None = 256  # samples that the inputs' moments are taken from; None for all
    num_iters: int = 4
    batch_averaged: bool = True
    y_sample_size: int | None = None  # likewise, drawn apart, for the signals
    eps: float = 1e-6

    same_as: ClassVar[Mapping[str, str]] = {"released": "published"}
    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "y_momentum": Hyperparameter(FRACTION, (0.0, 0.63), moves=False),  # at 0 no average need be kept
        "y_sample_size": HYPERPARAMETERS["sample_size"],
        "eps": replace(HYPERPARAMETERS["eps"], drawn=(0.04, 0.3)),
    }
    required_laws: ClassVar[int] = 4
    takes_groups: ClassVar[bool] = False

    sees_layers: ClassVar[bool] = True

    class State(NamedTuple):
        step: int  # steps in which this parameter had a gradient
        momentum_buffer: Array  # M, shape and dtype of p
        y_momentum_buffer: Array  # the moving average of the rows' squared signals, shape (rows, 1)

    def check(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("Invalid nesterov: True (needs momentum above 0)")

    def init(self, p: Array) -> State:
        return self.State(0, np.zeros_like(p), np.zeros_like(p[:, :1]) if p.ndim > 1 else np.zeros_like(p))

    def preconditioned(self, layer: Layer) -> Layer | None:
        if layer.geometry is None:
            return None
        if layer.geometry.groups > 1:
            raise ValueError(f"Invalid groups: {layer.geometry.groups} (K-FROG is defined for 1 alone)")
        return layer._replace(bias=None)

    def chosen(self, samples: int, rng: Generator | None) -> Chosen:
        return subsample(samples, self.sample_size, rng), subsample(samples, self.y_sample_size, rng)

    def step(self, p: Array, g: Array | LayerGradient, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        G = g.grad if isinstance(g, LayerGradient) else g
        t = s.step + 1
        M = self.momentum * s.momentum_buffer + G
        e = G + self.momentum * M if self.nesterov else M
        if not isinstance(g, LayerGradient):
            return p - self.lr * e, self.State(t, M, s.y_momentum_buffer)
        B = g.samples
        y = np.sum(g.signals**2, axis=0)[:, None] * (B if self.batch_averaged else 1 / B)
        Y = self.y_momentum * s.y_momentum_buffer + (1 - self.y_momentum) * y
        e = e / np.sqrt(Y / (1 - self.y_momentum**t) + self.eps)
        xx = g.inputs.T @ g.inputs / B
        W = conjugate_gradients(lambda P: P @ xx + self.eps * P, e, self.num_iters, DENOM_EPS, plain)
        p = p - self.lr * (W * np.sqrt(np.diag(xx)))
        return p, self.State(t, M, Y)
