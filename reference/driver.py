"""A step of a whole model: groups, layers, absent gradients, pooling and `maximize`, stated once for every rule."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from stepgauge.reference.layers import Layer, LayerGradient, Seen
from stepgauge.reference.network import System, systems_of
from stepgauge.reference.rule import Generator, Rule, Sum

DTYPES = ("float32", "float64")


class Group(NamedTuple):
    """A rule and the indices of the parameters that it moves."""

    rule: Rule
    members: Sequence[int]


def init(groups: Sequence[Group], params: Sequence[Any], layers: Sequence[Layer] = ()) -> list[Any]:
    """The state of every parameter before the first step; with `layers`, of every system (see `network`).

    Raises:
        TypeError: a parameter is no array of float32 or float64.
        ValueError: there are no parameters, or a group names one that is not there or that another group has.
    """
    _require_params(groups, params)
    if layers:
        groups, params = _in_systems(_systems(groups, layers), params)
    states: list[Any] = [None] * len(params)
    for rule, members in groups:
        for i in members:
            states[i] = rule.init(params[i])
    return states


def step(
    groups: Sequence[Group],
    params: Sequence[Any],
    grads: Sequence[Any],
    states: Sequence[Any],
    layers: Sequence[Layer] = (),
    seen: Mapping[int, Seen] | None = None,
    *,
    maximize: bool = False,
    rng: Generator | None = None,
) -> tuple[list[Any], list[Any]]:
    """One step. Returns new parameters and states, mutates nothing.

    Args:
        groups: the rules, and which parameters each moves.
        params: arrays of any shape, float32 or float64.
        grads: of the same shapes and dtypes; None where absent.
        states: as `init` or the step before returned them.
        layers: which parameters are a layer's, for rules that step along what a layer saw.
        seen: that, under the index of the layer's weight.
        maximize: climb instead of descending.
        rng: where samples are drawn from, if a layer saw more than the rule looks at.

    Raises:
        TypeError: a gradient is no array, or not of its parameter's dtype.
        ValueError: a gradient, or what a layer saw, does not fit its parameter.

    >>> import numpy as np
    >>> from stepgauge.reference import SGD
    >>> groups = [Group(SGD(lr=0.1), [0]), Group(SGD(lr=1.0), [1])]
    >>> params = [np.array([1.0, 2.0]), np.array(3.0)]
    >>> params, states = step(groups, params, [np.array([1.0, 1.0]), None], init(groups, params))
    >>> [p.tolist() for p in params]
    [[0.9, 1.9], 3.0]
    """
    _require_gradients(params, grads)
    if not layers:
        return _step(groups, params, grads, states, maximize)
    systems = _systems(groups, layers)
    driven, matrices = _in_systems(systems, params)
    gradients = [g for part in systems for system in part for g in system.gradients(grads, seen or {}, rng)]
    moved, states = _step(driven, matrices, gradients, states, maximize)
    params, parts = list(params), iter(moved)
    for system in (system for part in systems for system in part):
        for i, p in system.join(list(islice(parts, system.size)), params):
            params[i] = p
    return params, states


# What follows, to `_pool`, is published: the step of a model around those of its parameters. A cause of a divergence is
# sought in these three functions, which `stepgauge.properties.gauge.edits` knows by their names.


def _step(
    groups: Sequence[Group], params: Sequence[Any], grads: Sequence[Any], states: Sequence[Any], maximize: bool
) -> tuple[list[Any], list[Any]]:
    params, states = list(params), list(states)
    if maximize:
        grads = [None if g is None else _opposite(g) for g in grads]
    for (rule, members), pooled in zip(groups, _pool(groups, params, grads, states), strict=True):
        for i in members:
            if grads[i] is None:
                states[i] = rule.skip(states[i])
            else:
                p, states[i] = rule.step(params[i], grads[i], states[i], pooled)
                params[i] = np.asarray(p)  # arithmetic on 0-d arrays returns scalars
    return params, states


def _opposite(g: Any) -> Any:
    """The gradient, or what a layer saw, for ascent."""
    return -g if isinstance(g, LayerGradient) else np.asarray(-g)  # arithmetic on 0-d arrays returns scalars


def _pool(
    groups: Sequence[Group], params: Sequence[Any], grads: Sequence[Any], states: Sequence[Any]
) -> list[Sum | None]:
    """For each group, the statistic its rule pools: over the group, over all groups, or none."""
    own = [
        sum((rule.statistic(params[i], grads[i], states[i]) for i in members if grads[i] is not None), Sum(0.0, 0))
        if rule.pools_over != "nothing"
        else None
        for rule, members in groups
    ]
    whole = sum((s for s in own if s is not None), Sum(0.0, 0))
    return [whole if rule.pools_over == "all" else s for (rule, _), s in zip(groups, own, strict=True)]


def _systems(groups: Sequence[Group], layers: Sequence[Layer]) -> list[list[System]]:
    """The systems of each group."""
    by_weight = {layer.weight: layer for layer in layers}
    return [systems_of(rule, members, by_weight) for rule, members in groups]


def _in_systems(systems: Sequence[Sequence[System]], params: Sequence[Any]) -> tuple[list[Group], list[Any]]:
    """Groups of matrices in place of groups of parameters, and the matrices."""
    groups: list[Group] = []
    matrices: list[Any] = []
    for part in systems:
        own = [x for system in part for x in system.split(params)]
        groups += [Group(part[0].rule, range(len(matrices), len(matrices) + len(own)))] if part else []
        matrices += own
    return groups, matrices


def _require_params(groups: Sequence[Group], params: Sequence[Any]) -> None:
    if not params:
        raise ValueError("no parameters: give at least one")
    for i, p in enumerate(params):
        if _dtype(p) not in DTYPES:
            raise TypeError(f"Invalid parameter {i}: {_dtype(p)} (must be an array of {' or '.join(DTYPES)})")
    named: set[int] = set()
    for i in (i for _, members in groups for i in members):
        if not 0 <= i < len(params):
            raise ValueError(f"Invalid group: has parameter {i} (there are {len(params)}, counted from 0)")
        if i in named:
            raise ValueError(f"Invalid groups: parameter {i} is in them twice (must be in one, once)")
        named.add(i)


def _require_gradients(params: Sequence[Any], grads: Sequence[Any]) -> None:
    if len(grads) != len(params):
        raise ValueError(f"{len(grads)} gradients for {len(params)} parameters; give None where there is none")
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if g is not None and _dtype(g) != _dtype(p):
            raise TypeError(f"Invalid gradient {i}: {_dtype(g)} (must be an array of {_dtype(p)} like its parameter)")
        if g is not None and g.shape != p.shape:
            raise ValueError(f"Invalid gradient {i}: shape {g.shape} (must be {p.shape} like its parameter)")


def _dtype(x: Any) -> str:
    """The dtype of an array, or the type of what is none."""
    return x.dtype.name if isinstance(x, np.ndarray) else type(x).__name__
