from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class Lion(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        lr: float = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
