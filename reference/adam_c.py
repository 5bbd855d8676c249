"""Adam_C: Adam with critical gradients; see `stepgauge.reference.critical`.

released differs from published in (cgoptimizer at 997abaf, measured):
- the buffer is the heap that is none (`released`), or keeps a running sum and aggregates by "sum" alone
  (`released_eff`);
- kappa is ignored, and 0 fails.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepgauge.reference.adam import Adam
from stepgauge.reference.critical import Critical


@dataclass(frozen=True)
class Adam_C(Critical):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    required_laws: ClassVar[int] = 4

    @property
    def base(self) -> Adam:
        return Adam(self.lr, self.betas, self.eps, self.weight_decay, self.amsgrad)
