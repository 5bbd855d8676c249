"""The adapter of the core's optimizers, which overwrite the arrays they are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepgauge.core import Optimizer
from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved, Problem, move
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.reference import Array, Layer, Seen


@dataclass
class CoreTarget(Target):
    """An optimizer of the core."""

    name: str
    factory: type[Optimizer]
    rule: str
    pinned: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(init=False)
    offers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(self.factory.rule.hyperparameter_names()) & frozenset(self.record.hyperparameter_names())
        self.offers = names - self.pinned.keys()
        self.schedulable = names - {"topC"}  # a buffer has as many slots as it began with
        self.defaults = self.factory.rule.defaults()

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
        in_place: bool = False,
    ) -> Any:
        if layers:
            raise TargetError("is stepped by gradients alone, not by what layers saw")
        problem = Problem(self.rule, tuple(groups), [p.copy() for p in params], [])
        driven = problem.rule_groups(self.factory.rule)
        optimizer = self.factory.from_groups(driven, problem.initial, maximize=maximize)
        return {"groups": driven, "optimizer": optimizer, "memory": {} if in_place else None}

    def step(
        self, grads: Sequence[Array | None], state: Any, moved: Moved = UNMOVED, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        optimizer, memory = state["optimizer"], state["memory"]
        optimizer.groups = move(state["groups"], moved)
        optimizer.step(grads if memory is None else [_kept(memory, i, g) for i, g in enumerate(grads)])
        return [p.copy() for p in optimizer.params]


def _kept(memory: dict[int, Array], i: int, g: Array | None) -> Array | None:
    """The gradient, in the memory of the parameter's one before."""
    if g is None:
        return None
    memory.setdefault(i, np.empty_like(g))[...] = g
    return memory[i]
