"""What targets share that are driven by keywords: an instance for each group, hyperparameters under the target's names.

An adapter says what an instance is: `begin` makes one over the parameters of a group, `advance` steps it.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, describe
from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target, quiet
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.names import KeywordNames
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array, Layer, Seen
from stepgauge.reference.hyperparameters import HYPERPARAMETERS


@dataclass
class Instance:
    """What steps one group: `made` is the adapter's own."""

    made: Any
    hyperparameters: Mapping[str, Any]
    members: Sequence[int]


@dataclass
class Instances:
    """One run: the instances of all groups, and the parameters that they have moved."""

    params: list[Array]
    each: list[Instance] = field(default_factory=list)


class KeywordTarget(Target):
    """A target that takes its hyperparameters as keywords and knows nothing of groups.

    Raises:
        TargetError: its signature needs what is no hyperparameter of the rule, or it cannot be built.
    """

    takes_maximize = False
    takes_absent = False
    foreign = True
    kind: str  # of the adapter, in words
    movable: frozenset[str] | None = None  # what a scheduler can move; None for whatever is offered
    in_float32: bool = False  # whether its scalars are, whatever its arrays
    names: KeywordNames

    def __init__(self, offer: Offer, theirs: Keywords) -> None:
        self.name, self.factory, self.rule, self.theirs = offer.name, offer.factory, offer.rule, theirs
        keywords = self.keywords = dict(offer.keywords)
        if self.record.sees_layers:
            raise TargetError(f"is {self.kind}, which has no place for the layers that {self.rule} looks at")
        self.names = KeywordNames(
            self.name, self.rule, self.record, offer.renames, theirs.named, is_open=theirs.is_open
        )
        self.names.require_whole(keywords)
        free = theirs.named.keys() - keywords.keys()
        self.offers = frozenset(n for n in self.names.shared if self.names.keywords(n) <= free)
        self.tied = frozenset(n for n in self.offers if theirs.are_tied(self.names.keywords(n)))
        self.pinned = {
            n: self.names.value(n, keywords) for n in self.names.shared if self.names.keywords(n) <= keywords.keys()
        }
        defaults = {n: p.default for n, p in theirs.named.items() if p.default is not p.empty}
        self.defaults = {
            n: self._default(n, defaults) for n in self.offers if self.names.keywords(n) <= defaults.keys()
        }
        self.schedulable = self._movable()
        self.takes_schedule = "lr" in self.schedulable
        ours = {their for n in self.names.shared for their in self.names.keywords(n)}
        self.extra = tuple(n for n in theirs.named if n not in ours and n not in keywords)
        lacking = [n for n in self.extra if n not in defaults]
        if lacking:
            raise TargetError(
                f"is {self.kind} that needs {', '.join(lacking)}, of which {self.rule} has none; "
                f"say --rename OURS={lacking[0]}, or give it: {self.name.partition('(')[0]}({lacking[0]}=VALUE)"
            )
        self.require_buildable()

    def require_buildable(self) -> None:
        """Make one instance at the target's own defaults.

        Raises:
            TargetError: it refuses them, or makes something else.
        """
        try:
            with quiet():
                self.begin([np.zeros((2, 3), dtype=np.float32)], {**self.keywords, **self.required})
        except TargetError:
            raise
        except FOREIGN_ERRORS as error:
            raise TargetError(f"cannot be built: {describe(error)}") from error

    def _movable(self) -> frozenset[str]:
        """The hyperparameters that a scheduler can move."""
        return self.offers if self.movable is None else self.offers & self.movable

    def _default(self, name: str, defaults: Mapping[str, Any]) -> Any:
        """Its own default; None stands for the neutral value where the rule has no None."""
        value = self.names.value(name, defaults)
        return self.record.neutral().get(name, self.record.hyperparameter(name).off) if value is None else value

    @property
    def required(self) -> dict[str, Any]:
        """Lively values, under its own names, of what has no default."""
        lacking = [n for n in self.offers if n not in self.defaults]
        return self.names.translate({n: HYPERPARAMETERS[n].lively for n in lacking})

    def theirs_of(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters under its own names, as far as they are offered, beside the keywords it was given."""
        offered = {n: v for n, v in hyperparameters.items() if n in self.offers}
        return {**self.keywords, **self.names.translate(offered)}

    @abstractmethod
    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        """An instance over copies of the parameters of a group."""

    @abstractmethod
    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        """The parameters of a group after one step of its instance; `keywords` as they have been moved."""

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
        in_place: bool = False,
    ) -> Instances:
        if self.in_float32 and any(p.dtype == np.float64 for p in params):
            raise TargetError(f"is {self.kind}, whose scalars are in float32")
        run = Instances([p.copy() for p in params])
        for hyperparameters, members in groups:
            made = self.begin([run.params[i].copy() for i in members], self.theirs_of(hyperparameters))
            run.each.append(Instance(made, hyperparameters, members))
        return run

    def step(
        self,
        grads: Sequence[Array | None],
        state: Instances,
        moved: Moved = UNMOVED,
        seen: Mapping[int, Seen] | None = None,
    ) -> list[Array]:
        for instance in state.each:
            given = [g.copy() for g in (grads[i] for i in instance.members) if g is not None]
            if len(given) < len(instance.members):
                raise TargetError(f"is {self.kind}, which needs a gradient of every parameter")
            h = instance.hyperparameters
            now = self.theirs_of({**h, **moved.others, "lr": h["lr"] * moved.lr_factor})
            before = [state.params[i] for i in instance.members]
            after = self.advance(instance.made, [p.copy() for p in before], given, now)
            if len(after) != len(before):
                raise ValueError(f"answers {len(after)} parameters for {len(before)}")
            for i, p in zip(instance.members, after, strict=True):
                state.params[i] = p
        return [p.copy() for p in state.params]
