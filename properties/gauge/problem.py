"""Problems: recorded gradients that both sides are fed, and the recipes that they are made from.

A recipe is small, prints on a few lines and says everything; NumPy expands it. The loop is open: gradients are recorded
along the reference's trajectory (some kinds depend on the weights) and then fed to anybody, because a closed loop
amplifies rounding. All numbers are representable in float32, so that one problem serves both precisions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.gradients import KINDS
from stepgauge.reference import RULES, Array, Group, Rule, init, step

Shape = tuple[int, ...]
Hyperparameters = Mapping[str, Any]


class Settings(NamedTuple):
    """A parameter group: all hyperparameters of the rule, and the indices of the parameters they hold for."""

    hyperparameters: Hyperparameters
    members: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """What a problem is made from.

    `gradients` names the kind of each step, over and over; `schedule` multiplies lr at each step, likewise. `absent`
    lists, for each parameter, the steps (from 0) in which it has no gradient. `scale` is the size of the initial
    parameters in units of the rule's first displacement, so that large parameters hide nothing; zero included.
    `magnitude` multiplies the gradients.
    """

    rule: str
    groups: tuple[Settings, ...]
    shapes: tuple[Shape, ...]
    gradients: tuple[str, ...] = ("random",)
    absent: tuple[tuple[int, ...], ...] = ()
    schedule: tuple[float, ...] = (1.0,)
    steps: int = 6
    scale: float = 1.0
    magnitude: float = 1.0
    maximize: bool = False
    seed: int = 0

    def __hash__(self) -> int:
        return hash((self.rule, self.shapes, self.gradients, self.steps, self.seed))


@dataclass(frozen=True, eq=False)
class Problem:
    """Parameters, the gradients of every step (None where absent), and the groups; float64 throughout.

    Two problems are equal if they are the same object, so that what is computed for one can be kept by it.
    """

    rule: str
    groups: tuple[Settings, ...]
    initial: Sequence[Array]
    gradients: Sequence[Sequence[Array | None]]
    maximize: bool = False
    schedule: tuple[float, ...] = (1.0,)
    regimes: frozenset[str] = frozenset()
    recipe: Recipe | None = None

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

    def lr_factor(self, t: int) -> float:
        """What lr is multiplied by in step t (from 0)."""
        return self.schedule[t % len(self.schedule)]

    def rule_groups(self, rule: type[Rule], dialect: str = "") -> list[Group]:
        return [Group(rule(**hyperparameters, dialect=dialect), members) for hyperparameters, members in self.groups]

    def with_hyperparameters(self, **changes: Any) -> "Problem":
        """The same parameters and gradients under other hyperparameters, in every group."""
        groups = tuple(Settings({**h, **changes}, members) for h, members in self.groups)
        return replace(self, groups=groups, recipe=None)

    def scaled(self, *, params: float = 1.0, gradients: float = 1.0) -> "Problem":
        """Initial parameters and gradients multiplied by constants."""
        scaled = [[None if g is None else gradients * g for g in grads] for grads in self.gradients]
        return replace(self, initial=[params * p for p in self.initial], gradients=scaled, recipe=None)


def flatten(params: Sequence[Any]) -> Array:
    """All parameters end to end, as a row of a trajectory."""
    return np.concatenate([np.asarray(p, dtype=np.float64).ravel() for p in params])


def distance(a: Array, b: Array) -> Array:
    """|a - b|, where NaN is at no distance from NaN, nor an infinity from itself."""
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))


def scheduled(groups: Sequence[Group], factor: float) -> list[Group]:
    """The groups with lr multiplied, as a scheduler does it."""
    if factor == 1:
        return list(groups)
    return [Group(rule.but(lr=rule.hyperparameters()["lr"] * factor), members) for rule, members in groups]


def reference_trajectory(problem: Problem, groups: Sequence[Group]) -> Array:
    """The parameters after each step, shape (steps, size), as the rules in `groups` compute them."""
    params, states = list(problem.initial), init(groups, problem.initial)
    rows = []
    with np.errstate(all="ignore"):
        for t, grads in enumerate(problem.gradients):
            now = scheduled(groups, problem.lr_factor(t))
            params, states = step(now, params, grads, states, maximize=problem.maximize)
            rows.append(flatten(params))
    return np.array(rows)


@lru_cache(maxsize=4096)
def expand(recipe: Recipe) -> Problem:
    """The problem that a recipe stands for."""
    rng = np.random.default_rng(recipe.seed)
    zeros = [np.zeros(shape) for shape in recipe.shapes]
    blank = Problem(recipe.rule, recipe.groups, zeros, [], recipe.maximize, recipe.schedule)
    groups = blank.rule_groups(RULES[recipe.rule])
    deltas = {i: group.rule.hyperparameters().get("delta", 0.1) for group in groups for i in group.members}
    initial = [
        _float32(recipe.scale * unit * rng.standard_normal(shape))
        for unit, shape in zip(_first_displacements(recipe, blank, groups), recipe.shapes, strict=True)
    ]
    params, states, recorded = list(initial), init(groups, initial), []
    with np.errstate(all="ignore"):
        for t in range(recipe.steps):
            kind = KINDS[recipe.gradients[t % len(recipe.gradients)]]
            grads = [
                None if t in absent else _float32(recipe.magnitude * kind(rng, p, deltas[i]))
                for i, (p, absent) in enumerate(zip(params, _absences(recipe), strict=False))
            ]
            recorded.append(grads)
            now = scheduled(groups, blank.lr_factor(t))
            params, states = step(now, params, grads, states, maximize=recipe.maximize)
    return replace(blank, initial=initial, gradients=recorded, regimes=frozenset(_regimes(recipe)), recipe=recipe)


def _float32(x: Any) -> Array:
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def _absences(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    return recipe.absent or ((),) * len(recipe.shapes)


def _first_displacements(recipe: Recipe, blank: Problem, groups: Sequence[Group]) -> list[float]:
    """How far each parameter's rule moves a zero parameter along a gradient of the recipe's magnitude."""
    grads = [np.full(p.shape, recipe.magnitude) for p in blank.initial]
    moved, _ = step(groups, blank.initial, grads, init(groups, blank.initial))
    return [float(np.max(np.abs(p))) if p.size else 0.0 for p in moved]


def _regimes(recipe: Recipe) -> Iterator[str]:
    """What is special about this problem, in the words of a verdict's "only with …"."""
    absent = _absences(recipe)
    kinds = set(recipe.gradients[: recipe.steps])
    hyperparameters = [group.hyperparameters for group in recipe.groups]
    if any(absent):
        yield "absent gradients"
    if any(0 in steps for steps in absent):
        yield "late gradients"
    if len(recipe.groups) > 1:
        yield "several groups"
    if len(recipe.schedule) > 1:
        yield "an lr schedule"
    if recipe.maximize:
        yield "maximize"
    if recipe.magnitude < 1:
        yield "tiny gradients"
    if recipe.scale == 0:
        yield "parameters that start at zero"
    if recipe.steps > LONG:
        yield f"more than {LONG} steps"
    yield from (f"{kind} gradients" for kind in kinds)
    yield from ("0-d parameters" for shape in recipe.shapes if shape == ())
    for name in hyperparameters[0]:
        values = [h[name] for h in hyperparameters]
        if name in OFF or isinstance(values[0], bool):
            yield from {name if v != OFF.get(name, False) else f"no {name}" for v in values}  # of any group
        elif name == "eps" and any(v >= LARGE_EPS for v in values):
            yield "large eps"


LONG = 100
LARGE_EPS = 1e-4
OFF = {"momentum": 0, "dampening": 0, "weight_decay": 0, "v_coefficient": 1}  # values at which a part of a rule is gone
