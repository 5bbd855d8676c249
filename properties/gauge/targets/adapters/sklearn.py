"""The optimizers inside scikit-learn's networks (`sklearn.neural_network._stochastic_optimizers:AdamOptimizer`)."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

RATES = ("learning_rate_init", "learning_rate")  # what a step reads; which depends on the class


class SklearnTarget(KeywordTarget):
    kind = "an optimizer of scikit-learn's networks"
    movable = frozenset({"lr"})

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        return self.factory(params, **keywords)

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        for name in RATES:
            if hasattr(made, name) and self.names["lr"] in keywords:
                setattr(made, name, keywords[self.names["lr"]])
        return [np.array(p + u) for p, u in zip(params, made._get_updates(grads), strict=True)]


class Adapter(BaseAdapter):
    name = "sklearn"
    words = "an optimizer of scikit-learn's networks"

    def fits(self, offer: Offer) -> bool:
        return "sklearn" in offer.of_packages and hasattr(offer.factory, "_get_updates")

    def target(self, offer: Offer) -> Target:
        theirs = Keywords.of(offer.factory)
        return SklearnTarget(offer, theirs)
