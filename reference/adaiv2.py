"""AdaiV2 (the authors' repository; not in the paper): Adai with a tempered inertia and a dampened momentum.

With dampening 1 it is Adai. What is said there of the released code holds here.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stepgauge.reference.adai import Adai
from stepgauge.reference.hyperparameters import Hyperparameter, Range
from stepgauge.reference.rule import Array, Sum


@dataclass(frozen=True)
class AdaiV2(Adai):
    dampening: float = 1.0
    decoupled: bool = True

    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        **Adai.own_hyperparameters,
        "dampening": Hyperparameter(Range(lambda x: 0 <= x <= 1, "in [0, 1]"), (1.0, 0.28, 0.0), off=0, lively=0.0),
    }
    required_laws: ClassVar[int] = 5

    def step(self, p: Array, g: Array, s: Adai.State, pooled: Sum | None = None) -> tuple[Array, Adai.State]:
        assert pooled is not None
        beta0, d = self.betas[0], self.dampening
        g, v, v_hat = self.second_moment(p, g, s)
        beta1 = np.clip(1 - beta0 * self.ratio(v_hat, pooled.mean) ** (1 / (3 - 2 * d)), 0, 1 - self.eps)
        prod = s.beta1_prod * beta1
        m = beta1 * s.exp_avg + (1 - beta1) ** d * g
        if self.decoupled:
            p = (1 - self.lr * self.weight_decay) * p
        p = p - self.lr * beta0 ** (1 - d) * (m / (1 - prod))
        return p, self.State(s.step + 1, m, v, prod)
