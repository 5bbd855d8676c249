"""Recipes: what problems are made from. A recipe is small, prints on a few lines and says everything."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.cache.encoding import storable
from stepgauge.reference import Convolution, Layer, Seen

Hyperparameters = Mapping[str, Any]
for record in (Convolution, Layer, Seen):  # of the reference, which knows nothing of this
    storable(record)


@storable
class Change(NamedTuple):
    """From a step on (counted from 0), a hyperparameter has another value in every group."""

    step: int
    name: str
    value: Any


@storable
class ParameterGroup(NamedTuple):
    """A parameter group: all hyperparameters of the rule, and the indices of the parameters they hold for."""

    hyperparameters: Hyperparameters
    members: tuple[int, ...]


Shape = tuple[int, ...]


@storable
@dataclass(frozen=True)
class LayerRecipe:
    """A layer: a Conv2d if it has a geometry, else linear.

    `size` is the shape of an input between its samples and its channels for a linear layer, and the height and width of
    an image for a Conv2d.
    """

    inputs: int
    outputs: int
    size: Shape = ()
    geometry: Convolution | None = None
    bias: bool = True
    samples: int = 6

    @property
    def shapes(self) -> list[Shape]:
        """Of its weight, and of its bias if it has one."""
        inner: Shape = (self.inputs,)
        if self.geometry is not None:
            inner = (self.inputs // self.geometry.groups, *self.geometry.kernel)
        return [(self.outputs, *inner), *([(self.outputs,)] if self.bias else [])]

    @property
    def seen_shapes(self) -> tuple[Shape, Shape]:
        """Of its inputs and of its signals."""
        if self.geometry is None:
            return (self.samples, *self.size, self.inputs), (self.samples, *self.size, self.outputs)
        out = self.geometry.output_size(self.size)
        return (self.samples, self.inputs, *self.size), (self.samples, self.outputs, *out)

    def placed(self, first: int) -> Layer:
        """The layer whose weight is parameter `first`, and whose bias is the next one."""
        return Layer(first, first + 1 if self.bias else None, self.geometry)


@storable
@dataclass(frozen=True)
class Recipe:
    """What a problem is made from.

    `gradients` names the kind of each step, over and over; `schedule` multiplies lr at each step, likewise. `changes`
    are what else a scheduler moves. `in_place` says that gradients arrive in the memory of those before. `absent`
    lists, for each parameter, the steps (from 0) in which it has no gradient. `scale` is the size of the initial
    parameters in units of the rule's first displacement, so that large parameters hide nothing; zero included.
    `magnitude` multiplies the gradients.
    """

    rule: str
    groups: tuple[ParameterGroup, ...]
    shapes: tuple[Shape, ...]
    gradients: tuple[str, ...] = ("random",)
    absent: tuple[tuple[int, ...], ...] = ()
    schedule: tuple[float, ...] = (1.0,)
    steps: int = 6
    scale: float = 1.0
    magnitude: float = 1.0
    changes: tuple[Change, ...] = ()
    maximize: bool = False
    in_place: bool = False
    seed: int = 0
    layers: tuple[LayerRecipe, ...] = ()
    focus: str = ""  # what it was drawn for

    @property
    def all_shapes(self) -> list[Shape]:
        """Of every parameter."""
        return [shape for layer in self.layers for shape in layer.shapes] + list(self.shapes)

    @property
    def placed(self) -> list[tuple[LayerRecipe, Layer]]:
        """Its layers, and which parameters are theirs."""
        found: list[tuple[LayerRecipe, Layer]] = []
        first = 0
        for layer in self.layers:
            found.append((layer, layer.placed(first)))
            first += len(layer.shapes)
        return found

    def __hash__(self) -> int:
        return hash((self.rule, self.shapes, self.layers, self.gradients, self.steps, self.seed))


def in_float32(recipe: Recipe, names: Collection[str]) -> Recipe:
    """The recipe with such hyperparameters at the nearest values that float32 has, also where a scheduler moves them.

    A schedule multiplies lr by the nearest powers of two, under which it stays one of these values.
    """

    def rounded(name: str, value: Any) -> Any:
        if name not in names or not isinstance(value, float | tuple):
            return value
        return tuple(float(np.float32(v)) for v in value) if isinstance(value, tuple) else float(np.float32(value))

    groups = []
    for hyperparameters, members in recipe.groups:
        groups.append(ParameterGroup({n: rounded(n, v) for n, v in hyperparameters.items()}, members))
    changes = tuple(change._replace(value=rounded(change.name, change.value)) for change in recipe.changes)
    schedule = recipe.schedule
    if "lr" in names:
        schedule = tuple(2.0 ** round(math.log2(factor)) if factor else factor for factor in schedule)
    return replace(recipe, groups=tuple(groups), changes=changes, schedule=schedule)
