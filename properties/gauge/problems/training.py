"""Problems as in training: schedulers move hyperparameters, warm-ups start from lr 0, gradients arrive in place."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stepgauge.properties.gauge.problems.foci import ON_LAYERS, Focus
from stepgauge.properties.gauge.problems.recipe import Change, Hyperparameters, ParameterGroup, Recipe
from stepgauge.properties.gauge.problems.regimes import off_value
from stepgauge.reference import RULES

STEPS = 9
# A warm-up from 0, a restart, and a rate that passes through 0.
SCHEDULES = ((0.0, 0.25, 0.5, 1.0), (1.0, 0.5, 0.0), (0.0, 0.0, 1.0, 0.1))


def foci_of_training(rule: str) -> dict[str, Focus]:
    """What the problems have in common before anything moves: dampening and switches, which exclude each other."""
    switches = [name for name in RULES[rule].hyperparameter_names() if RULES[rule].is_switch(name)]
    moving: Mapping[str, Sequence[Any]] = {"momentum": (0.82, 0.47, 0.91), "weight_decay": (0.02, 0.35)}
    damped = {**moving, "dampening": (0.28, 0.61, 0.0)}
    switched = {**moving, "dampening": (0.0,), **dict.fromkeys(switches, (True, True, False))}
    return {"training": _focus(rule, damped), "training, switches on": _focus(rule, switched)}


def _focus(rule: str, where: Mapping[str, Sequence[Any]]) -> Focus:
    if RULES[rule].sees_layers:
        return Focus(("random", "uneven"), groups=(1, 2), where=where, **ON_LAYERS)
    return Focus(("random", "row-orthogonal", "uneven"), groups=(1, 2), absent="gaps", where=where)


def as_in_training(recipe: Recipe, movable: Collection[str], fixed: Hyperparameters, k: int) -> Recipe:
    """The recipe with every hyperparameter that schedulers move moved once; `k` counts the problems.

    Every other problem has no decay, which would make a new gradient of the caller's.
    """
    rng = np.random.default_rng(recipe.seed)
    if k % 2 == 0 and "weight_decay" in movable and "weight_decay" not in fixed:
        plain = tuple(ParameterGroup({**h, "weight_decay": 0.0}, members) for h, members in recipe.groups)
        recipe, movable = replace(recipe, groups=plain), [name for name in movable if name != "weight_decay"]
    moving = replace(recipe, steps=STEPS, schedule=SCHEDULES[k % len(SCHEDULES)], in_place=True)
    changes: list[Change] = []
    for name in RULES[recipe.rule].hyperparameter_names():
        if name in movable:
            step = int(rng.integers(1, STEPS - 1))
            candidates = list(_values(recipe, name))
            for choice in rng.permutation(len(candidates)):
                change = Change(step, name, candidates[choice])
                if _is_legal(recipe, [*changes, change]):
                    changes.append(change)
                    break
    return replace(moving, changes=tuple(changes))


def movable(rule: str) -> Iterator[str]:
    """The hyperparameters that may change in mid-run, beside lr, which has a schedule of its own."""
    for name in RULES[rule].hyperparameter_names():
        if name != "lr" and RULES[rule].hyperparameter(name).moves:
            yield name


def elsewhere(rule: str, hyperparameters: Hyperparameters, names: Collection[str]) -> Hyperparameters:
    """Other legal values of the hyperparameters named, the same parts of the rule in play."""
    recipe = Recipe(rule, (ParameterGroup(hyperparameters, (0,)),), ((1,),))
    changes: list[Change] = []
    for name in names:
        legal = (c for value in _values(recipe, name) if _is_legal(recipe, [*changes, c := Change(0, name, value)]))
        changes += [change for change in [next(legal, None)] if change]
    return {**hyperparameters, **{change.name: change.value for change in changes}}


def _values(recipe: Recipe, name: str) -> Iterator[Any]:
    """Other values that bring no part of the rule into play: nobody says what a buffer is that was never kept.

    A number that a part is gone with stays it, and no other becomes it; a switch may be turned off.
    """
    held = [group.hyperparameters[name] for group in recipe.groups]
    off = off_value(recipe.rule, name)
    if RULES[recipe.rule].is_switch(name):
        yield from [False] if any(held) else []
        return
    values = RULES[recipe.rule].hyperparameter(name).values
    alike = [value for value in values if all((value == off) == (before == off) for before in held)]
    # Rather one that moves in every group than in some.
    yield from [value for value in alike if value not in held] or [v for v in alike if any(v != h for h in held)]


def _is_legal(recipe: Recipe, changes: list[Change]) -> bool:
    """Whether every group accepts the changes, and none lets decay blow the parameters up (see `sampling`)."""
    for hyperparameters, _ in recipe.groups:
        for moved in _stages(hyperparameters, changes):
            try:
                RULES[recipe.rule](**moved)
            except ValueError:
                return False
            if moved["lr"] * moved.get("weight_decay", 0) > 1 - min(moved.get("momentum", 0), 1):
                return False
    return True


def _stages(hyperparameters: Hyperparameters, changes: list[Change]) -> Iterator[Hyperparameters]:
    """The hyperparameters of a group after each of the changes."""
    moved = dict(hyperparameters)
    yield moved
    for change in sorted(changes, key=lambda c: c.step):
        moved = {**moved, change.name: change.value}
        yield moved
