"""Problems: recorded gradients that both sides are fed.

The loop is open: gradients are recorded once (see `expansion`) and then fed to anybody, because a closed loop amplifies
rounding. All numbers are representable in float32, so that one problem serves both precisions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from stepgauge.properties.gauge.cache.encoding import storable
from stepgauge.properties.gauge.cache.run import cached
from stepgauge.properties.gauge.problems.recipe import Change, ParameterGroup, Recipe
from stepgauge.reference import Array, Group, Layer, Rule, Seen, driver

Dtype = Literal["float64", "float32", "bfloat16"]  # in which a problem may be run


class Moved(NamedTuple):
    """What a scheduler has moved since the start, in every group: lr by a factor, other hyperparameters to values."""

    lr_factor: float = 1.0
    others: Mapping[str, Any] = MappingProxyType({})


UNMOVED = Moved()


@storable
@dataclass(frozen=True, eq=False)
class Problem:
    """Parameters, the gradients of every step (None where absent), and the groups; float64 throughout.

    `seen` holds what each layer saw in every step, under the index of its weight; it is empty without layers.
    Two problems are equal if they are the same object, so that what is computed for one can be kept by it.
    """

    rule: str
    groups: tuple[ParameterGroup, ...]
    initial: Sequence[Array]
    gradients: Sequence[Sequence[Array | None]]
    maximize: bool = False
    schedule: tuple[float, ...] = (1.0,)
    changes: tuple[Change, ...] = ()
    in_place: bool = False
    regimes: frozenset[str] = frozenset()
    recipe: Recipe | None = None
    layers: tuple[Layer, ...] = ()
    seen: Sequence[Mapping[int, Seen]] = ()

    @property
    def size(self) -> int:
        return sum(p.size for p in self.initial)

    def place(self, column: int) -> tuple[int, tuple[int, ...]]:
        """The parameter and the index in it of a column of a trajectory."""
        for i, p in enumerate(self.initial):
            if column < p.size:
                return i, tuple(int(k) for k in np.unravel_index(column, p.shape))
            column -= p.size
        raise IndexError(column)

    def cut(self, row: Array) -> list[Array]:
        """A row of a trajectory as parameters."""
        ends = np.cumsum([p.size for p in self.initial])
        return [part.reshape(p.shape) for part, p in zip(np.split(row, ends[:-1]), self.initial, strict=True)]

    def seen_in(self, t: int, dtype: str = "float64") -> dict[int, Seen]:
        """What the layers saw in step t (from 0)."""
        return {i: Seen(*(x.astype(dtype) for x in s)) for i, s in self.seen[t].items()} if self.layers else {}

    def lr_factor(self, t: int) -> float:
        """What lr is multiplied by in step t (from 0)."""
        return self.schedule[t % len(self.schedule)]

    def moved(self, t: int) -> Moved:
        """What a scheduler has moved by step t (from 0)."""
        others = {change.name: change.value for change in self.changes if change.step <= t}
        return Moved(self.lr_factor(t), others)

    def rule_groups(self, rule: type[Rule], dialect: str = "") -> list[Group]:
        return [Group(rule(**hyperparameters, dialect=dialect), members) for hyperparameters, members in self.groups]

    @cached  # so that what is computed for the changed problem is kept, too
    def with_hyperparameters(self, **changes: Any) -> "Problem":
        """The same parameters and gradients under other hyperparameters, in every group."""
        groups = tuple(ParameterGroup({**h, **changes}, members) for h, members in self.groups)
        return replace(self, groups=groups, recipe=None)

    @cached  # likewise
    def scaled(self, *, params: float = 1.0, gradients: float = 1.0) -> "Problem":
        """Initial parameters and gradients multiplied by constants."""
        scaled = [[None if g is None else gradients * g for g in grads] for grads in self.gradients]
        seen = [{i: s._replace(signals=gradients * s.signals) for i, s in now.items()} for now in self.seen]
        return replace(self, initial=[params * p for p in self.initial], gradients=scaled, seen=seen, recipe=None)


GROWTH_STEPS, GROWN = 16, 1000  # an edited text may double a list or a number in every step: seen from these on


@cached  # so that what is computed for it is kept, too
def in_bfloat16(problem: Problem) -> Problem:
    """The problem with the nearest numbers that bfloat16 has; what layers see stays as it is."""
    gradients = [[None if g is None else _in_bfloat16(g) for g in grads] for grads in problem.gradients]
    return replace(problem, initial=[_in_bfloat16(p) for p in problem.initial], gradients=gradients)


def _in_bfloat16(x: Array) -> Array:
    """The first 16 bits of float32, rounded to the nearest, half to even."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64).reshape(x.shape)


def flatten(params: Sequence[Any]) -> Array:
    """All parameters end to end, as a row of a trajectory."""
    return np.concatenate([np.asarray(p, dtype=np.float64).ravel() for p in params])


def distance(a: Array, b: Array) -> Array:
    """|a - b|, where NaN is at no distance from NaN, nor an infinity from itself."""
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))


def move(groups: Sequence[Group], moved: Moved) -> list[Group]:
    """The groups as a scheduler has moved them."""
    if moved == UNMOVED:
        return list(groups)
    found = []
    for rule, members in groups:
        lr = rule.hyperparameters()["lr"] * moved.lr_factor
        found.append(Group(rule.but(**{**moved.others, "lr": lr}), members))
    return found


def steps(problem: Problem, groups: Sequence[Group], driver: Any = driver) -> Iterator[list[Any]]:
    """The parameters after each step, as the rules in `groups` compute them under a driver."""
    layers = problem.layers
    params, states = list(problem.initial), driver.init(groups, problem.initial, layers)
    most = GROWN * len(states)
    for t, grads in enumerate(problem.gradients):
        now = move(groups, problem.moved(t))
        seen = problem.seen[t] if layers else None
        # Copies of the lists, because an edited driver may write into what it is given.
        params, states = driver.step(now, params, list(grads), states, layers, seen, maximize=problem.maximize)
        if t >= GROWTH_STEPS and t % 4 == 0 and _size(states) > most:
            raise ValueError("the state grows")
        yield params


def trajectory(problem: Problem, groups: Sequence[Group], driver: Any = driver) -> Iterator[Array]:
    """The same, end to end."""
    return map(flatten, steps(problem, groups, driver))


def _size(x: Any) -> int:
    """The arrays and words that a state consists of."""
    if isinstance(x, (list, tuple)):
        return sum(map(_size, x))
    return x.bit_length() // 64 if isinstance(x, int) else 1


def reference_trajectory(problem: Problem, groups: Sequence[Group], driver: Any = driver) -> Array:
    """The same as an array, shape (steps, size)."""
    with np.errstate(all="ignore"):
        return np.array(list(trajectory(problem, groups, driver)))
