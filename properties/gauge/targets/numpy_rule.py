"""The adapter of rules with the reference's interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved, Problem, move
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.reference import Array, Layer, Rule, Seen, init, step


@dataclass
class RuleTarget(Target):
    """A rule with the reference's interface."""

    name: str
    factory: type[Rule]
    rule: str
    pinned: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(init=False)
    offers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(self.factory.hyperparameter_names()) & frozenset(self.record.hyperparameter_names())
        self.offers = names - self.pinned.keys()
        self.schedulable = frozenset(names)
        self.defaults = self.factory.defaults()
        self.foreign = self.factory.dialects[0] in self.record.foreign

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
        in_place: bool = False,
    ) -> Any:
        problem = Problem(self.rule, tuple(groups), [p.copy() for p in params], [])
        driven = problem.rule_groups(self.factory)
        states = init(driven, problem.initial, layers)
        return {
            "groups": driven,
            "params": problem.initial,
            "states": states,
            "layers": layers,
            "maximize": maximize,
            "rng": np.random.default_rng(0),
        }

    def step(
        self, grads: Sequence[Array | None], state: Any, moved: Moved = UNMOVED, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        groups = move(state["groups"], moved)
        state["params"], state["states"] = step(
            groups,
            state["params"],
            grads,
            state["states"],
            state["layers"],
            seen,
            maximize=state["maximize"],
            rng=state["rng"],
        )
        return [p.copy() for p in state["params"]]
