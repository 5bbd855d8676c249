"""RMSprop_C: RMSprop with critical gradients; see `stepgauge.reference.critical`.

released differs from published in (cgoptimizer at 997abaf, measured):
- the buffer is the heap that is none (`released`), or keeps a running sum and aggregates by "sum" alone
  (`released_eff`);
- kappa is ignored, and 0 fails.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepgauge.reference.critical import Critical
from stepgauge.reference.rmsprop import RMSprop


@dataclass(frozen=True)
class RMSprop_C(Critical):
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    required_laws: ClassVar[int] = 3

    @property
    def base(self) -> RMSprop:
        return RMSprop(self.lr, self.alpha, self.eps, self.weight_decay, self.momentum, self.centered)
