"""Keras 3 optimizers, on the backend that is installed: torch or JAX (`keras.optimizers:SGD`)."""

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

VARIABLE = "KERAS_BACKEND"
BACKENDS = ("torch", "jax")


def choose_backend() -> None:
    """Have Keras take a backend that is installed, unless the user chose one; to be called before Keras is imported."""
    installed = [backend for backend in BACKENDS if find_spec(backend) is not None]
    if VARIABLE not in os.environ and installed:
        os.environ[VARIABLE] = installed[0]


class KerasTarget(KeywordTarget):
    kind = "a Keras optimizer"
    movable = frozenset({"lr"})  # what Keras keeps in a variable; the rest is fixed when it is built

    def run(self, problem: Problem, dtype: str | None = None) -> Array:
        import keras

        before = keras.config.floatx()
        keras.config.set_floatx(dtype or self.dtype)
        try:
            if keras.backend.backend() != "jax":
                return super().run(problem, dtype)
            import jax

            with jax.enable_x64(True):
                return super().run(problem, dtype)
        finally:
            keras.config.set_floatx(before)

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        import keras

        optimizer = self.factory(**keywords)
        variables = [keras.Variable(p, dtype=str(p.dtype)) for p in params]
        optimizer.build(variables)
        return optimizer, variables

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        import keras

        optimizer, variables = made
        rate = self.names["lr"]
        if rate in keywords:
            optimizer.learning_rate = keywords[rate]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
        return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


class Adapter(BaseAdapter):
    name = "keras"
    words = "a Keras 3 optimizer"

    def fits(self, offer: Offer) -> bool:
        return "keras" in offer.of_packages

    def target(self, offer: Offer) -> Target:
        factory, keywords = offer.factory, dict(offer.keywords)
        if not isinstance(factory, type) and hasattr(factory, "get_config"):
            factory, keywords = type(factory), {**_settings(factory), **keywords}
        theirs = _without_open(Keywords.of(factory, skip=0))
        return KerasTarget(replace(offer, factory=factory, keywords=keywords), theirs)


def _without_open(theirs: Keywords) -> Keywords:
    """What Keras passes on is its base class's, of which no rule knows anything."""
    return Keywords(theirs.named, is_open=False)


def _settings(optimizer: Any) -> dict[str, Any]:
    """The keywords that an optimizer was built with."""
    named = Keywords.of(type(optimizer), skip=0).named
    return {n: v for n, v in optimizer.get_config().items() if n in named and n != "name"}
