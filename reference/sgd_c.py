"""SGD_C: SGD with critical gradients; see `stepgauge.reference.critical`. Decay enters before the buffer.

released differs from published in (cgoptimizer at 997abaf, measured):
- the buffer is the heap that is none (`released`), or keeps a running sum and aggregates by "sum" with kappa 1 alone
  (`released_eff`);
- with kappa = 0 momentum is lost.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepgauge.reference.critical import Critical
from stepgauge.reference.rule import Array
from stepgauge.reference.sgd import SGD


@dataclass(frozen=True)
class SGD_C(Critical):
    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    aggr: str = "sum"

    honours_kappa: ClassVar[bool] = True
    required_laws: ClassVar[int] = 5

    @property
    def base(self) -> SGD:
        momentum = 0.0 if self.kappa == 0 and self.dialect != "published" else self.momentum
        return SGD(self.lr, momentum, self.dampening, nesterov=self.nesterov)

    def stored(self, p: Array, g: Array) -> Array:
        return g + self.weight_decay * p
