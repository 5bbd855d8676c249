"""A network as systems of rows: its layers, where the rule preconditions them, and every other parameter by itself.

The bias of a preconditioned layer steps with its weight if the rule has it so and both are in one group; a bias in a
group of its own, for a decay of its own, is a parameter like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stepgauge.reference.layers import Layer, LayerGradient, Seen, layers_of, matrices, require_layer, tensors
from stepgauge.reference.rule import Array, Generator, Rule


class System(NamedTuple):
    """What steps together under a rule: a parameter by itself, or a layer as one matrix for each of its groups."""

    rule: Rule
    parameter: int
    layer: Layer | None = None

    @property
    def size(self) -> int:
        """How many matrices it is."""
        return self.layer.geometry.groups if self.layer and self.layer.geometry else 1

    def split(self, params: Sequence[Any]) -> list[Any]:
        """Its matrices, or its one parameter."""
        if self.layer is None:
            return [params[self.parameter]]
        weight, bias = params[self.parameter], None if self.layer.bias is None else params[self.layer.bias]
        require_layer(weight, bias, self.layer.geometry)
        return matrices(weight, bias, self.size)

    def gradients(
        self, grads: Sequence[Any], seen: Mapping[int, Seen], rng: Generator | None
    ) -> list[Array | LayerGradient | None]:
        """The gradients of its matrices; all None where the weight has none.

        Raises:
            ValueError: what the layer saw is missing, or does not fit; its bias has no gradient.
        """
        grad = grads[self.parameter]
        if self.layer is None or grad is None:
            return [grad] * self.size
        if self.parameter not in seen:
            raise ValueError(f"parameter {self.parameter} is a layer's weight and has a gradient: say what it saw")
        bias = self.layer.bias
        if bias is not None and grads[bias] is None:
            raise ValueError(f"parameter {bias} has no gradient, but is the bias of a layer that has one")
        what = seen[self.parameter]
        samples = len(what.inputs) if self.layer.geometry else what.inputs.size // what.inputs.shape[-1]
        chosen = self.rule.chosen(samples, rng)
        return list(layers_of(grad, None if bias is None else grads[bias], what, self.layer.geometry, chosen))

    def join(self, parts: Sequence[Any], params: Sequence[Any]) -> Iterator[tuple[int, Array]]:
        """The parameters that its matrices are, with their indices; `params` for their shapes."""
        if self.layer is None:
            yield self.parameter, parts[0]
            return
        weight, bias = tensors(parts, params[self.parameter].shape, bias=self.layer.bias is not None)
        yield self.parameter, weight
        if self.layer.bias is not None and bias is not None:
            yield self.layer.bias, bias


def systems_of(rule: Rule, members: Sequence[int], layers: Mapping[int, Layer]) -> list[System]:
    """The systems of one parameter group, in the order of its members; a bias is where its weight is.

    Args:
        rule: that of the group.
        members: the indices of its parameters.
        layers: those of the model, under the indices of their weights.
    """
    own, preconditioned = set(members), {}
    for weight in members:
        taken = rule.preconditioned(layers[weight]) if weight in layers else None
        if taken is not None:
            preconditioned[weight] = taken if taken.bias in own else taken._replace(bias=None)
    joined = {layer.bias for layer in preconditioned.values()}
    return [System(rule, i, preconditioned.get(i)) for i in members if i not in joined]
