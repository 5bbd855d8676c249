"""Gradient transformations: pairs `init(params)` and `update(grads, state, params)`, as optax has them (`optax:adam`).

Numbers that move in a problem go through `optax.inject_hyperparams`, others do not: it hands them on as arrays, with
which a transformation may compute in float32. One that has been configured already is stepped as it is. Everything runs
in float64 where the arrays are.
"""

from typing import Any

import numpy as np

from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

COMPILED_FROM = 40  # steps: compiling takes as long as about so many without


class TransformationTarget(KeywordTarget):
    kind = "a gradient transformation"
    moved: frozenset[str] = frozenset()  # hyperparameters that move in the problem at hand

    def _movable(self) -> frozenset[str]:
        return frozenset(n for n in self.offers if not self.record.is_switch(n))

    def run(self, problem: Problem, dtype: str | None = None) -> Array:
        import jax

        moved = {change.name for change in problem.changes} | ({"lr"} if set(problem.schedule) != {1.0} else set())
        self.moved = self.schedulable & moved
        with jax.enable_x64(True):
            return super().run(problem, dtype)

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> dict[str, Any]:
        import jax
        import jax.numpy as jnp
        import optax

        moved = {their for n in self.moved for their in self.names.keywords(n)}
        moving = {n: v for n, v in keywords.items() if n in moved and isinstance(v, float)}
        made = optax.inject_hyperparams(self.factory, static_args=tuple(set(self.theirs.named) - moving.keys()))
        if not moving:
            made = self.factory
        transformation = made(**keywords)
        missing = [part for part in ("init", "update") if not callable(getattr(transformation, part, None))]
        if missing:
            raise TargetError(
                f"is no gradient transformation: it makes a {type(transformation).__name__} "
                f"without {' and '.join(missing)}"
            )
        state = transformation.init([jnp.asarray(p) for p in params])
        return {
            "state": state,
            "moving": tuple(moving),
            "update": transformation.update,
            "jit": jax.jit(transformation.update),
            "t": 0,
        }

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        import jax.numpy as jnp

        tree, slopes = [jnp.asarray(p) for p in params], [jnp.asarray(g) for g in grads]
        for n in made["moving"]:
            known = made["state"].hyperparams[n]
            made["state"].hyperparams[n] = jnp.asarray(keywords[n], dtype=known.dtype)
        update = made["jit"] if made["t"] >= COMPILED_FROM else made["update"]
        updates, made["state"] = update(slopes, made["state"], tree)
        made["t"] += 1
        return [np.array(p + u) for p, u in zip(tree, updates, strict=True)]


class Adapter(BaseAdapter):
    name = "optax"
    words = "a gradient transformation with init and update"

    def fits(self, offer: Offer) -> bool:
        if "torchopt" in offer.of_packages:
            return False
        if "optax" in offer.of_packages or _is_transformation(offer.factory):
            return True
        given = getattr(offer.factory, "__annotations__", {}).get("return")
        return "GradientTransformation" in str(given)

    def target(self, offer: Offer) -> Target:
        offer, theirs = offer.maker(built="update")
        return TransformationTarget(offer, theirs)


def _is_transformation(made: Any) -> bool:
    return isinstance(made, tuple) and callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))
