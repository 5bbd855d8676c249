from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class FSGDM(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        lr: float = 0.1,
        weight_decay: float = 0.0005,
        c_scaling: float = 0.033,
        v_coefficient: float = 1.0,
        n_stages: int = 300,
        sigma: int = 117000,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
