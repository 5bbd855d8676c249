"""AdamW_C: AdamW with critical gradients; see `stepgauge.reference.critical`.

What is said at Adam_C of the released code holds here.
"""

from dataclasses import dataclass
from typing import ClassVar

from stepgauge.reference.adam_c import Adam_C
from stepgauge.reference.adamw import AdamW


@dataclass(frozen=True)
class AdamW_C(Adam_C):
    weight_decay: float = 1e-2

    required_laws: ClassVar[int] = 3

    @property
    def base(self) -> AdamW:
        return AdamW(self.lr, self.betas, self.eps, self.weight_decay, self.amsgrad)
