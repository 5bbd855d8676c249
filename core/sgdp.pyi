from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class SGDP(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
