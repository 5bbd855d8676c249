"""A target: an implementation under test, told in the reference's own terms.

It owns an adapter's two functions, `init` and `step`; everything else is the rule, which of its hyperparameters the
target offers, and the target's own defaults.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from copy import copy
from enum import StrEnum
from io import StringIO
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, StepError, TargetError, describe
from stepgauge.properties.gauge.problems.problem import UNMOVED, Dtype, Moved, Problem, flatten
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.names import KeywordNames
from stepgauge.reference import RULES, Array, Layer, Rule, Seen

NO_RULE = "none"  # stands for the rule of a target that is compared with itself alone

# Of the noise around a step: far above the roundoff of float64, so that the spread is not lost in it; far below where a
# rule stops being linear.
DISTURBANCE = 2.0**-36


class Support(StrEnum):
    """What beside stepping can be asked of a target."""

    TORCH = "torch"  # it is a torch.optim.Optimizer over tensors: state_dict, copies, closures, memory formats


class Variant(NamedTuple):
    """How a target is driven otherwise than by default: in another form, with hyperparameters left at its defaults."""

    form: tuple[str, bool] | None = None
    left_out: tuple[str, ...] = ()


PLAIN = Variant()


class Subject(Protocol):
    """What a check looks at to tell whether it can be asked: of a target, or of any target of a rule."""

    @property
    def rule(self) -> str: ...

    @property
    def record(self) -> type[Rule]: ...

    @property
    def supports(self) -> frozenset[Support]: ...


class Target(ABC):
    """An implementation under test.

    Attributes:
        name: as the user wrote it.
        rule: the name of the rule that it is compared with.
        offers: the rule's hyperparameters that can be set on it.
        extra: keywords of its own, which stay at their defaults.
        defaults: its own default hyperparameters, where it has one, under the reference's names.
        tied: hyperparameters whose default its signature does not tell, so that it may depend on others.
        pinned: hyperparameters that its specification fixes, under the reference's names.
        told: hyperparameters that it shows but nobody can set, with their values.
        schedulable: hyperparameters that can be changed between steps.
        takes_maximize: whether it can be told to maximize.
        takes_absent: whether a parameter may have no gradient in a step.
        takes_scalars: whether its library has parameters without axes.
        takes_schedule: whether lr may move between steps.
        supports: what can be asked of it beside stepping.
        forms: keywords that choose another implementation of the same rule, which must compute the same.
        single_scalars: whether it shows a hyperparameter in a float32 tensor, and so computes with it in float32.
        foreign: whether it may follow the conventions of other frameworks than torch, the rule's foreign dialects.
        names: what it calls the hyperparameters, if it has names of its own.
        dtype: the precision in which it is run if no other is named.
        variant: how it is driven.
    """

    name: str
    rule: str
    offers: frozenset[str]
    extra: tuple[str, ...] = ()
    defaults: Mapping[str, Any]
    pinned: Mapping[str, Any]
    tied: frozenset[str] = frozenset()
    told: Mapping[str, Any] = MappingProxyType({})
    schedulable: frozenset[str] = frozenset()
    takes_maximize: bool = True
    takes_absent: bool = True
    takes_scalars: bool = True
    takes_schedule: bool = True
    supports: frozenset[Support] = frozenset()
    forms: tuple[str, ...] = ()
    single_scalars: bool = False
    foreign: bool = False
    names: KeywordNames | None = None
    dtype: Dtype = "float64"
    variant: Variant = PLAIN

    def in_dtype(self, dtype: Dtype) -> Self:
        """The same target, run in another precision."""
        other = copy(self)
        other.dtype = dtype
        return other

    def varied(self, variant: Variant) -> Self:
        """The same target, driven otherwise."""
        other = copy(self)
        other.variant = variant
        other.offers = self.offers - set(variant.left_out)
        return other

    @property
    def record(self) -> type[Rule]:
        """The reference's class of the rule."""
        return RULES[self.rule]

    @abstractmethod
    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
        in_place: bool = False,
    ) -> Any:
        """A fresh state that owns copies of `params`, some of which are parameters of `layers`.

        With `in_place` gradients arrive in the memory of those before, where the target has any.
        """

    @abstractmethod
    def step(
        self, grads: Sequence[Array | None], state: Any, moved: Moved = UNMOVED, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        """Step once; the parameters after the step.

        Args:
            grads: of every parameter, None where absent.
            state: what `init` made.
            moved: what a scheduler has moved since `init`.
            seen: what the layers saw, under the indices of their weights.
        """

    def run(self, problem: Problem, dtype: str | None = None) -> Array:
        """The parameters after each step, shape (steps, size), in float64: run in `dtype`, or in the target's.

        Raises:
            TargetError: the target refuses the problem's hyperparameters.
            StepError: it raises in a step.
        """
        rows = []
        dtype = carrier_of(dtype or self.dtype)
        with quiet():
            try:
                initial = [p.astype(dtype) for p in problem.initial]
                state = self.init(
                    initial, problem.groups, problem.layers, maximize=problem.maximize, in_place=problem.in_place
                )
            except FOREIGN_ERRORS as error:  # whatever a stranger's constructor raises is its refusal
                raise TargetError(f"cannot be built: {describe(error)}") from error
            for t, grads in enumerate(problem.gradients):
                try:
                    cast = [None if g is None else g.astype(dtype) for g in grads]
                    params = self.step(cast, state, problem.moved(t), problem.seen_in(t, dtype))
                    _require_shapes(params, problem.initial)
                except TargetError:
                    raise
                except FOREIGN_ERRORS as error:
                    raise StepError(t, error) from error
                rows.append(flatten(params))
        return np.array(rows)


class RulelessTarget(Target):
    """A target that is compared with itself alone.

    Attributes:
        keywords: what its specification gives the factory.
        required: what has no default, and is given a value.
    """

    keywords: Mapping[str, Any]
    required: Mapping[str, Any]

    @abstractmethod
    def another_seed(self) -> Self:
        """The same target, drawing other random numbers."""

    @abstractmethod
    def disturbed(self, seed: int) -> Self:
        """The same target with noise of size `DISTURBANCE` in what enters every step: gradients, parameters, state."""

    @abstractmethod
    def in_float64(self) -> AbstractContextManager[None]:
        """Whatever the target makes without a dtype is float64 meanwhile, as the parameters are."""


def carrier_of(dtype: str) -> str:
    """The precision of the arrays in which numbers of a precision are handed on: NumPy has no bfloat16."""
    return "float32" if dtype == "bfloat16" else dtype


def _require_shapes(params: Sequence[Array], initial: Sequence[Array]) -> None:
    for i, (p, before) in enumerate(zip(params, initial, strict=True)):
        if p.shape != before.shape:
            raise ValueError(f"parameter {i} has the shape {p.shape} afterwards, and had {before.shape}")


@contextmanager
def quiet() -> Iterator[None]:
    """What foreign code warns of or prints is not ours to show; overflow and 0/0 show in the numbers."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield
