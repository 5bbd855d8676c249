"""The optimizers of tinygrad (`tinygrad.nn.optim:AdamW`).

They run on tinygrad's default device; where it finds none, as without Clang and a GPU, they are interpreted in Python.
"""

from functools import cache
from typing import Any

import numpy as np

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array


@cache
def device() -> str:
    """The device on which optimizers run."""
    from tinygrad import Device

    try:
        return str(Device.DEFAULT)
    except RuntimeError:  # it finds none usable
        return "PYTHON"


class TinygradTarget(KeywordTarget):
    kind = "an optimizer of tinygrad"
    movable = frozenset({"lr"})  # what tinygrad keeps in a tensor; the rest is fixed when it is built
    takes_scalars = False  # the rate is a tensor of one axis, with which none goes
    in_float32 = True

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        from tinygrad import Context, Tensor

        with Context(DEV=device()):
            tensors = [Tensor(p) for p in params]
            return self.factory(tensors, **keywords), tensors

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        from tinygrad import Context, Tensor

        optimizer, tensors = made
        with Context(DEV=device(), TRAINING=1):
            if self.names["lr"] in keywords:
                optimizer.lr.assign(Tensor([keywords[self.names["lr"]]], dtype=optimizer.lr.dtype)).realize()
            for tensor, grad in zip(tensors, grads, strict=True):
                tensor.grad = Tensor(grad)
            optimizer.step()
            return [np.array(tensor.numpy()) for tensor in tensors]


class Adapter(BaseAdapter):
    name = "tinygrad"
    words = "an optimizer of tinygrad, or a function that makes one"

    def fits(self, offer: Offer) -> bool:
        return "tinygrad" in offer.of_packages

    def target(self, offer: Offer) -> Target:
        theirs = Keywords.of(offer.factory)
        return TinygradTarget(offer, theirs)
