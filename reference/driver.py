"""A step of a whole model: parameter groups, absent gradients, pooling and `maximize`, stated once for every rule."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stepgauge.reference.layers import LayerGradient
from stepgauge.reference.rule import Rule, Sum


class Group(NamedTuple):
    """A rule and the indices of the parameters that it moves."""

    rule: Rule
    members: Sequence[int]


def init(groups: Sequence[Group], params: Sequence[Any]) -> list[Any]:
    """The state of every parameter before the first step."""
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
    *,
    maximize: bool = False,
) -> tuple[list[Any], list[Any]]:
    """One step; `grads` holds None where a gradient is absent. Returns new parameters and states, mutates nothing.

    >>> import numpy as np
    >>> from stepgauge.reference import SGD
    >>> groups = [Group(SGD(lr=0.1), [0]), Group(SGD(lr=1.0), [1])]
    >>> params = [np.array([1.0, 2.0]), np.array(3.0)]
    >>> params, states = step(groups, params, [np.array([1.0, 1.0]), None], init(groups, params))
    >>> [p.tolist() for p in params]
    [[0.9, 1.9], 3.0]
    """
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
