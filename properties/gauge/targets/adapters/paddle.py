"""The optimizers of PaddlePaddle (`paddle.optimizer:AdamW`)."""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

OVER = "parameters"  # the keyword for what is optimized


class PaddleTarget(KeywordTarget):
    kind = "an optimizer of PaddlePaddle"
    movable = frozenset({"lr"})  # the rest is fixed when it is built

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        import paddle

        tensors = [paddle.to_tensor(p, place=paddle.CPUPlace(), stop_gradient=False) for p in params]
        return self.factory(**keywords, **{OVER: tensors}), tensors

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        import paddle

        optimizer, tensors = made
        if self.names["lr"] in keywords:
            optimizer.set_lr(keywords[self.names["lr"]])
        for tensor, grad in zip(tensors, grads, strict=True):
            tensor.grad = paddle.to_tensor(grad, place=paddle.CPUPlace())
        optimizer.step()
        return [np.array(tensor.numpy()) for tensor in tensors]


class Adapter(BaseAdapter):
    name = "paddle"
    words = "an optimizer class of PaddlePaddle"

    def fits(self, offer: Offer) -> bool:
        return "paddle" in offer.of_packages

    def target(self, offer: Offer) -> Target:
        whole = Keywords.of(offer.factory, skip=0)
        if OVER not in whole.named:
            raise TargetError(f"is no optimizer class of PaddlePaddle: it takes no {OVER}")
        theirs = Keywords({n: p for n, p in whole.named.items() if n != OVER}, whole.is_open)
        return PaddleTarget(offer, theirs)
