"""The functional optimizers of torchopt, gradient transformations over tensors (`torchopt:adam`)."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array


class TorchoptTarget(KeywordTarget):
    kind = "a gradient transformation of torchopt"
    movable = frozenset({"lr"})  # which may be a schedule; the rest are numbers

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> dict[str, Any]:
        rate = self.names["lr"]
        made: dict[str, Any] = {"rate": keywords.get(rate)}
        scheduled = {rate: lambda _: made["rate"]} if rate in keywords else {}
        transformation = self.factory(**{**keywords, **scheduled})
        made |= {"update": transformation.update, "state": transformation.init(_tensors(params))}
        return made

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        made["rate"] = keywords.get(self.names["lr"])
        updates, made["state"] = made["update"](_tensors(grads), made["state"], params=_tensors(params))
        return [np.asarray(p + u.numpy()) for p, u in zip(params, updates, strict=True)]


def _tensors(arrays: list[Array]) -> list[Any]:
    import torch

    return [torch.from_numpy(x) for x in arrays]


class Adapter(BaseAdapter):
    name = "torchopt"
    words = "a functional optimizer of torchopt"

    def fits(self, offer: Offer) -> bool:
        return "torchopt" in offer.of_packages and not isinstance(offer.factory, type)

    def target(self, offer: Offer) -> Target:
        offer, theirs = offer.maker(built="update")
        return TorchoptTarget(offer, theirs)
