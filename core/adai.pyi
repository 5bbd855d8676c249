from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class Adai(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.1, 0.99),
        eps: float = 0.001,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
