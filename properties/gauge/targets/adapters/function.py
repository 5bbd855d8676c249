"""Plain functions `f(params, grads, state, **hyperparameters) -> (params, state)` over lists of NumPy arrays.

`state` is None in the first step of a group, and afterwards what the function returned in the step before.
"""

import inspect
from typing import Any

import numpy as np

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

LEADING = ("params", "grads", "state")


class FunctionTarget(KeywordTarget):
    kind = "a function of params, grads and state"

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> dict[str, Any]:
        return {"state": None}

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        returned = self.factory(params, grads, made["state"], **keywords)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise TypeError(f"returns {type(returned).__name__}, not a pair of the parameters and the state")
        after, made["state"] = returned
        return [np.array(p) for p in after]


class Adapter(BaseAdapter):
    name = "function"
    words = "a function f(params, grads, state, **hyperparameters)"

    def fits(self, offer: Offer) -> bool:
        if isinstance(offer.factory, type) or not callable(offer.factory):
            return False
        try:
            names = list(inspect.signature(offer.factory).parameters)
        except (TypeError, ValueError):
            return False
        return tuple(names[:3]) == LEADING

    def target(self, offer: Offer) -> Target:
        whole = Keywords.of(offer.factory)
        named = {n: p for n, p in whole.named.items() if n not in LEADING}
        theirs = Keywords(named, whole.is_open)
        return FunctionTarget(offer, theirs)
