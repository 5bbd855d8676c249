"""The adapter of the core's optimizers, which overwrite the arrays they are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepgauge.core import Optimizer
from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.problems.problem import Problem, at_lr_factor
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
        self.defaults = self.factory.rule.defaults()

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
    ) -> Any:
        if layers:
            raise TargetError("is stepped by gradients alone, not by what layers saw")
        problem = Problem(self.rule, tuple(groups), [p.copy() for p in params], [])
        driven = problem.rule_groups(self.factory.rule)
        return {"groups": driven, "optimizer": self.factory.from_groups(driven, problem.initial, maximize=maximize)}

    def step(
        self, grads: Sequence[Array | None], state: Any, lr_factor: float = 1.0, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        optimizer = state["optimizer"]
        optimizer.groups = at_lr_factor(state["groups"], lr_factor)
        optimizer.step(grads)
        return [p.copy() for p in optimizer.params]
