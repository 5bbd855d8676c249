"""The step of tensors that the core does not take: one pure function for each rule, on any device."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stepgauge.reference import Rule
from stepgauge.torch_bind.state import working_dtype

Update = Callable[..., tuple[Any, ...]]  # (p, g, *state, **hyperparameters) -> (p, *state), pure
Statistic = Callable[..., Tensor]  # likewise -> what the parameter adds to the pool: shape (), float64


class Pooled(NamedTuple):
    """What a rule pools over parameters."""

    total: Tensor  # the sum, shape (), float64
    coordinates: int  # how many numbers of parameters are in it

    @property
    def mean(self) -> Tensor:
        return self.total / max(self.coordinates, 1)


class Pooling(NamedTuple):
    """How a rule pools."""

    statistic: Statistic | None
    over: str  # "nothing", "group" or "all"


class Batch(NamedTuple):
    """The parameters of a group that step together."""

    params: list[Tensor]
    grads: list[Tensor]  # as they came
    values: list[list[Tensor | None]]  # of each parameter, the fields of its state in the function's order
    hyperparameters: dict[str, Any]
    climbs: bool


def keywords(rule: Rule) -> dict[str, Any]:
    """The hyperparameters as the rule's function takes them."""
    dialect = {"dialect": rule.dialect} if len(rule.own_dialects()) > 1 else {}
    return rule.hyperparameters() | dialect


Step = Callable[[Update, Pooling, list[Batch]], list[list[list[Any]]]]


def step(update: Update, pooling: Pooling, batches: list[Batch], compiled: Step | None) -> list[list[list[Any]]]:
    """Step parameters and state in place; of each batch and parameter, the fields of its state afterwards."""
    if compiled is None:
        return _step(update, pooling, batches)
    for batch in batches:  # a number would be compiled for, and each new rate anew
        lr = batch.hyperparameters["lr"]
        batch.hyperparameters["lr"] = lr if isinstance(lr, Tensor) else torch.tensor(lr, dtype=torch.float64)
    return compiled(update, pooling, batches)


def compiled_step() -> Step:
    """The step as one graph, of an optimizer of its own: how often code is compiled anew is limited.

    Past the limit, which other parameters having gradients in each step would reach, it is stepped uncompiled.
    """
    own = FunctionType(_step.__code__.replace(), _step.__globals__)  # the compiler tells code by its identity
    compiled: Step = torch.compile(own, fullgraph=True, dynamic=False)

    def stepped(update: Update, pooling: Pooling, batches: list[Batch]) -> list[list[list[Any]]]:
        try:
            return compiled(update, pooling, batches)
        except torch._dynamo.exc.FailOnRecompileLimitHit:  # before anything is stepped
            return _step(update, pooling, batches)

    return stepped


def _step(update: Update, pooling: Pooling, batches: list[Batch]) -> list[list[list[Any]]]:
    """Mathematics in the working dtype; the parameter is rounded once, when it is stored."""
    arguments = [_arguments(batch) for batch in batches]
    pools = _pools(pooling, batches, arguments)
    finished = []
    for batch, own, pool in zip(batches, arguments, pools, strict=True):
        after = []
        for p, values, given in zip(batch.params, batch.values, own, strict=True):
            moved, *new = update(*given, **pool, **batch.hyperparameters)
            p.copy_(moved)
            after.append([_stored(old, x) for old, x in zip(values, new, strict=True)])
        finished.append(after)
    return finished


def _arguments(batch: Batch) -> list[list[Any]]:
    """Of each parameter: itself, its gradient and its state, in the working dtype."""
    arguments: list[list[Any]] = []
    for p, g, values in zip(batch.params, batch.grads, batch.values, strict=True):
        dtype = working_dtype(p)
        d = g.to(dtype)
        arguments.append([p.detach().to(dtype), -d if batch.climbs else d, *values])
    return arguments


def _stored(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    """What becomes of a field: written where it lies, if it was there before."""
    if old is None or new is None or new is old:
        return new
    return old.copy_(new)


def _pools(pooling: Pooling, batches: list[Batch], arguments: list[list[list[Any]]]) -> list[dict[str, Pooled]]:
    """What each batch is told that its parameters have in common."""
    if pooling.statistic is None:
        return [{} for _ in batches]
    sums = []
    for batch, own in zip(batches, arguments, strict=True):
        terms = [pooling.statistic(*given, **batch.hyperparameters) for given in own]
        sums.append(Pooled(_total(terms), sum([p.numel() for p in batch.params])))
    if pooling.over == "all":
        whole = Pooled(_total([total for total, _ in sums]), sum([count for _, count in sums]))
        sums = [whole for _ in sums]
    return [{"pooled": pooled} for pooled in sums]


def _total(terms: list[Tensor]) -> Tensor:
    """The sum, in the order in which the reference and the core add."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def unsharded(x: Tensor) -> Tensor:
    """A number that each rank of a sharded run has a part of, added up over them; any other as it is."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x
