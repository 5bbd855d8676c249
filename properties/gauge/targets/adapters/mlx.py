"""The optimizers of mlx (`mlx.optimizers:SGD`), which keep the rate and compute corrections of bias in float32."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array


class MlxTarget(KeywordTarget):
    kind = "an optimizer of mlx"
    movable = frozenset({"lr"})  # what mlx keeps in the state; the rest is fixed when it is built
    in_float32 = True

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        return self.factory(**keywords)

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        if self.names["lr"] in keywords:
            made.learning_rate = keywords[self.names["lr"]]
        after = made.apply_gradients(_tree(grads), _tree(params))
        return [np.array(p) for p in after.values()]


def _tree(arrays: list[Array]) -> dict[str, Any]:
    """As in a model: arrays under names."""
    import mlx.core as mx

    return {str(i): mx.array(x) for i, x in enumerate(arrays)}


class Adapter(BaseAdapter):
    name = "mlx"
    words = "an optimizer of mlx"

    def fits(self, offer: Offer) -> bool:
        return "mlx" in offer.of_packages

    def target(self, offer: Offer) -> Target:
        offer, theirs = offer.maker(built="apply_gradients")
        return MlxTarget(offer, theirs)
