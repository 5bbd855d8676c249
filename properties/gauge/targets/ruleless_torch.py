"""Targets without a rule: any torch optimizer under its factory's own names, which may be run slightly disturbed."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
import torch

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, UsageError
from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved, Problem
from stepgauge.properties.gauge.targets.base import DISTURBANCE, NO_RULE, RulelessTarget, quiet
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.torch_optimizer import Run, TorchTarget
from stepgauge.reference import Array, Rule, Seen


class NoRule(Rule):
    """The record of an unknown rule: its hyperparameters are the factory's keywords."""

    names: ClassVar[tuple[str, ...]]
    dialects = ()

    @classmethod
    def hyperparameter_names(cls) -> tuple[str, ...]:
        return cls.names


class RulelessTorchTarget(TorchTarget, RulelessTarget):
    """A torch optimizer that is compared with itself alone.

    Attributes:
        seed: of the random numbers that it may draw.
        noise: multiplies what enters a step by 1 + `DISTURBANCE` x normal; None for nothing.

    Raises:
        TargetError: see `TorchTarget`; or it cannot step without a closure.
    """

    seed = 0
    noise: np.random.Generator | None = None

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        keywords: Mapping[str, Any],
        renames: Mapping[str, str],
        device: str = "cpu",
        after_build: str = "",
    ) -> None:
        if renames:
            raise UsageError("--rename: without a rule there are no other names; --set takes the target's own")
        theirs = Keywords.of(factory)
        names = dict.fromkeys([*theirs.named, *(_keys_of_groups(factory, keywords) if theirs.is_open else ())])
        self._record: Any = type(NoRule.__name__, (NoRule,), {"names": tuple(names)})
        super().__init__(name, factory, NO_RULE, keywords, renames, device, after_build)

    def _another_value(self, name: str, value: Any) -> Any:
        if not isinstance(value, float):
            return not value
        return 0.25 if value != 0.25 else 0.75

    @property
    def record(self) -> type[Rule]:
        return self._record

    def _blank_optimizer(self) -> Any:
        optimizer = super()._blank_optimizer()
        if _needs_closure(optimizer):
            raise TargetError("needs a closure to step, which gradients recorded beforehand cannot answer")
        return optimizer

    def another_seed(self) -> Self:
        other = copy(self)
        other.seed = self.seed + 1
        return other

    def in_float64(self) -> AbstractContextManager[None]:
        return float64_by_default()

    def disturbed(self, seed: int) -> Self:
        other = copy(self)
        other.noise = np.random.default_rng(seed)
        return other

    def run(self, problem: Problem, dtype: str | None = None) -> Array:
        with float64_by_default(), _seeded(self.seed):
            return super().run(problem, dtype)

    def step(
        self, grads: Sequence[Array | None], state: Run, moved: Moved = UNMOVED, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        if self.noise is not None:
            grads = [None if g is None else g * self._factors(g.shape) for g in grads]
            for x in [*state.params, *_stored(state.optimizer)]:
                x.data.mul_(self.tensor(self._factors(x.shape)))
        return super().step(grads, state, moved, seen)

    def _factors(self, shape: Sequence[int]) -> Array:
        assert self.noise is not None
        return 1 + DISTURBANCE * self.noise.standard_normal(tuple(shape))


def _keys_of_groups(factory: Callable[..., Any], keywords: Mapping[str, Any]) -> list[str]:
    """What the groups of a factory that passes keywords on have, at its defaults; nothing if it cannot be built."""
    try:
        with quiet():
            group = factory([torch.nn.Parameter(torch.zeros(2, 3))], **keywords).param_groups[0]
        return [name for name in group if name != "params"]
    except FOREIGN_ERRORS:  # which building the target will say
        return []


def _stored(optimizer: Any) -> Iterator[torch.Tensor]:
    """What the state holds in float64, but for whole numbers: those count steps."""
    for fields in getattr(optimizer, "state", {}).values():
        for x in fields.values() if isinstance(fields, Mapping) else ():
            if isinstance(x, torch.Tensor) and x.dtype == torch.float64 and not bool((x == x.round()).all()):
                yield x


def _needs_closure(optimizer: Any) -> bool:
    """Whether `step` has an argument that may not be left out."""
    try:
        parameters = inspect.signature(optimizer.step).parameters.values()
    except (TypeError, ValueError):  # told by nobody: the first step will show
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


@contextmanager
def float64_by_default() -> Iterator[None]:
    """Tensors without a dtype are float64, as the parameters are.

    Scalars that a target keeps, and sums that it pools, are of the default dtype: for users that of the parameters.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Everybody's global random numbers start from `seed`, and afterwards go on where they were."""
    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the generator that strangers draw from
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # likewise
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which takes as long as a run where no GPU is
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numpy)  # noqa: NPY002  # likewise
