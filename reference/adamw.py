"""AdamW (Loshchilov & Hutter, arXiv 1711.05101), as torch.optim computes it.

Differs from Adam in the decay alone: the parameter shrinks by lr * weight_decay before the step. (The paper decays
by a schedule multiplier times weight_decay; torch's product with lr is what everybody means by AdamW.)
"""

from dataclasses import dataclass
from typing import ClassVar

from stepgauge.reference.adam import Adam
from stepgauge.reference.rule import Array, Sum


@dataclass(frozen=True)
class AdamW(Adam):
    weight_decay: float = 1e-2

    required_laws: ClassVar[int] = 1

    def step(self, p: Array, g: Array, s: Adam.State, pooled: Sum | None = None) -> tuple[Array, Adam.State]:
        return self.descend((1 - self.lr * self.weight_decay) * p, g, s)
