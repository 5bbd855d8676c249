from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class SGD(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        lr: float = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
