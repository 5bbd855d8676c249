from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from stepgauge.core.optimizer import Optimizer

class SGD_C(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        aggr: str = "sum",
        kappa: float = 1.0,
        topC: int = 10,
        decay: float = 0.7,
        synced: bool = True,
        lr: float = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...

class RMSprop_C(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        aggr: str = "mean",
        kappa: float = 1.0,
        topC: int = 10,
        decay: float = 0.7,
        synced: bool = True,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...

class Adam_C(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        aggr: str = "mean",
        kappa: float = 1.0,
        topC: int = 10,
        decay: float = 0.7,
        synced: bool = True,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...

class AdamW_C(Optimizer):
    def __init__(
        self,
        params: Iterable[NDArray[Any]],
        *,
        aggr: str = "mean",
        kappa: float = 1.0,
        topC: int = 10,
        decay: float = 0.7,
        synced: bool = True,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        dialect: str = "",
        maximize: bool = False,
        threads: int = 1,
    ) -> None: ...
