from collections.abc import Iterable, Sequence
from inspect import Signature
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from stepgauge.reference import Group, Rule

class Optimizer:
    rule: ClassVar[type[Rule]]
    __signature__: ClassVar[Signature]
    def __init__(
        self, params: Iterable[NDArray[Any]], *, maximize: bool = False, threads: int = 1, **hyperparameters: Any
    ) -> None: ...
    @classmethod
    def from_groups(
        cls,
        groups: Sequence[Group],
        params: Iterable[NDArray[Any]],
        states: Sequence[Any] | None = None,
        *,
        maximize: bool = False,
        threads: int = 1,
    ) -> Self: ...
    @property
    def params(self) -> list[NDArray[Any]]: ...
    @property
    def maximize(self) -> bool: ...
    @property
    def threads(self) -> int: ...
    @property
    def groups(self) -> list[Group]: ...
    @groups.setter
    def groups(self, groups: Sequence[Group]) -> None: ...
    @property
    def states(self) -> list[Any]: ...
    @states.setter
    def states(self, states: Sequence[Any]) -> None: ...
    def set(self, **hyperparameters: Any) -> None: ...
    def step(self, grads: Iterable[NDArray[Any] | None]) -> None: ...
