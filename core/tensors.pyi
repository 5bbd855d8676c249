from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepgauge.core.optimizer import Optimizer
from stepgauge.reference import Rule

class Plan(Optimizer):
    def __init__(
        self,
        optimizer: type[Optimizer],
        rules: Sequence[Rule],
        groups: Sequence[Sequence[Any]],
        members: Sequence[Sequence[tuple[Any, list[Any], Any, bool]]],
        state: Mapping[Any, dict[str, Any]],
        lay: Callable[[Any, Any], Any],
        is_negated: Callable[[Any], bool],
        plain: tuple[type, ...],
    ) -> None: ...
    @property
    def moved(self) -> list[Any]: ...
    @property
    def has_all(self) -> bool: ...
    @property
    def elements(self) -> int: ...
    def set_rules(self, rules: Sequence[Rule]) -> None: ...
    def has(self, p: Any) -> bool: ...
    def holds(
        self,
        groups: Sequence[dict[str, Any]],
        climbs: Sequence[bool],
        state: Mapping[Any, dict[str, Any]],
        new: bool = False,
    ) -> bool: ...
    def step(self, threads: int = 1) -> None: ...  # type: ignore[override]  # the gradients are taken by `holds`
