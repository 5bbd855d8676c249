"""The bench that torch's promises are tested on: a few parameters, recorded gradients, and fresh runs over them."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import shares_of
from stepgauge.properties.gauge.checks.context import NEVER, Absent, Context
from stepgauge.properties.gauge.checks.registry import check
from stepgauge.properties.gauge.checks.results import NO_NUMBER, Failed, NotApplicable
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, describe
from stepgauge.properties.gauge.problems.problem import in_bfloat16
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, LayerRecipe, ParameterGroup
from stepgauge.properties.gauge.problems.training import elsewhere, movable
from stepgauge.properties.gauge.targets.base import NO_RULE, Subject, Support, quiet
from stepgauge.reference import Array, Convolution

LAYER = LayerRecipe(3, 2, (3, 3), Convolution((2, 2)))  # stands for the first parameter where the rule sees layers
STEPS = 6
HALF = STEPS // 2
FADED = 2.0**-6  # of a gradient: so small that a second moment falls


def _is_torch(target: Subject) -> bool:
    return Support.TORCH in target.supports


def contract(id: str) -> Callable[[Callable[["Bench"], None]], Callable[["Bench"], None]]:  # noqa: A002  # as in `check`
    """Register a check of a torch optimizer on a small bench; what the optimizer raises is its failure."""

    def register(body: Callable[[Bench], None]) -> Callable[[Bench], None]:
        def run(context: Context) -> None:
            with quiet():
                try:
                    body(Bench(context))
                except (Failed, NotApplicable):
                    raise
                except FOREIGN_ERRORS as error:
                    raise Failed(f"raises {describe(error)}") from error

        run.__doc__ = body.__doc__
        check(id, _is_torch)(run)
        return body

    return register


class Bench:
    """A few parameters, recorded gradients, and fresh runs of the target over them.

    `changes` are hyperparameters other than those of the context's example; `absent` says where gradients are missing.
    """

    precision = ""  # of the parameters, where it is a lower one than the target's

    def __init__(self, context: Context, absent: Absent = NEVER, **changes: Any) -> None:
        self.context = context
        self.target: Any = context.target
        layers = (LAYER,) if context.target.record.sees_layers else ()
        self.problem = context.small(context.shapes[len(layers) :], layers, absent=absent, steps=STEPS, **changes)

    def _with(self, **changes: Any) -> "Bench":
        """The same on a problem with other fields."""
        other = copy.copy(self)
        other.problem = replace(self.problem, recipe=None, **changes)
        return other

    def in_groups(self) -> "Bench":
        """The same in two groups, the second of which has half the rate, and other values of all that groups hold."""
        (everything,) = self.problem.groups
        *first, last = everything.members
        if not first:
            raise NotApplicable("there is one parameter")
        known = {**self.target.defaults, **everything.hyperparameters}
        if "lr" not in self.target.schedulable or not isinstance(known.get("lr"), int | float):
            raise NotApplicable("has no lr in param_groups")
        slower = {**self._elsewhere(everything.hyperparameters), "lr": known["lr"] / 2}
        return self._with(groups=(everything._replace(members=tuple(first)), ParameterGroup(slower, (last,))))

    def with_other_settings(self) -> "Bench":
        """The same with other values of all that groups hold.

        Raises:
            NotApplicable: they hold nothing that could have another.
        """
        groups = tuple(ParameterGroup(self._elsewhere(h), members) for h, members in self.problem.groups)
        if groups == self.problem.groups:
            raise NotApplicable("has nothing in param_groups that a rule knows of")
        return self._with(groups=groups)

    def _elsewhere(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Other values of what lives in the target's groups and is not fixed; without a rule none are known."""
        if self.target.rule == NO_RULE:
            return hyperparameters
        free = self.target.schedulable - self.context.fixed.keys()
        return elsewhere(
            self.target.rule, hyperparameters, [name for name in movable(self.target.rule) if name in free]
        )

    def with_equal_shapes(self) -> "Bench":
        """The same over parameters that only their places tell apart."""
        other = copy.copy(self)
        layers = (LAYER,) if self.problem.layers else ()
        other.problem = self.context.small((self.context.shapes[1],) * 3, layers, steps=STEPS)
        return other

    def scheduled(self) -> "Bench":
        """The same with a rate that falls half-way."""
        return self._with(schedule=(1.0,) * (HALF - 1) + (0.5,) * (HALF + 1))

    def fading(self) -> "Bench":
        """The same with gradients that are small from half-way on, so that a maximum is not the latest value."""
        fading = self.problem.scaled(gradients=FADED)
        gradients = [*self.problem.gradients[:HALF], *fading.gradients[HALF:]]
        return self._with(gradients=gradients, seen=[*self.problem.seen[:HALF], *fading.seen[HALF:]])

    def upward(self) -> list["Bench"]:
        """The same maximizing, if the target can be told to."""
        return [self._with(maximize=True)] if self.target.takes_maximize else []

    def in_precision(self, dtype: str) -> "Bench":
        """The same with parameters in a lower precision."""
        other = copy.copy(self)
        other.precision = dtype
        return other

    def with_representable_numbers(self) -> "Bench":
        """The same with numbers that bfloat16 and float16 have, so that only what the optimizer computes is rounded.

        No gradient is so small that its square is none of float16's.

        Raises:
            NotApplicable: the rule looks at layers, which are not run in low precision here.
        """
        if self.problem.layers:
            raise NotApplicable("layers are not run in low precision here")
        gradients = [[None if g is None else _sizable(g) for g in grads] for grads in self.problem.gradients]
        other = self._with(gradients=gradients)
        other.problem = in_bfloat16(other.problem)
        return other

    def params(self) -> list[Any]:
        import torch

        tensors = [self.target.tensor(p) for p in self.problem.initial]
        return [torch.nn.Parameter(x.to(getattr(torch, self.precision)) if self.precision else x) for x in tensors]

    def run(self, params: Sequence[Any] | None = None, network: Any = None) -> Any:
        """An optimizer over fresh parameters or those given, in a network of its own or that given."""
        params = self.params() if params is None else params
        maximize = self.problem.maximize
        return self.target.start(params, self.problem.groups, self.problem.layers, network, maximize=maximize)

    def feed(self, run: Any, t: int) -> None:
        """Set the gradients of step t (from 0)."""
        self.target.feed(run, self.problem.gradients[t], self.problem.seen_in(t))

    def schedule(self, run: Any, t: int) -> None:
        """Move what a scheduler moves before step t (from 0), when it does."""
        if t == 0 or self.problem.moved(t) != self.problem.moved(t - 1):
            self.target.schedule(run, self.problem.moved(t))

    def train(self, run: Any, steps: Sequence[int]) -> None:
        for t in steps:
            self.schedule(run, t)
            self.feed(run, t)
            run.optimizer.step()

    def finished(self) -> list[Any]:
        """The parameters after an undisturbed run."""
        run = self.run()
        self.train(run, range(STEPS))
        return list(run.params)


def _sizable(g: Array) -> Array:
    return 2.0 * np.where(g < 0, g - 0.5, g + 0.5)


def require_equal(params: Sequence[Any], expected: Sequence[Any], what: str) -> None:
    """Demand that two runs are at the same numbers, bit for bit."""
    for p, q in zip(params, expected, strict=True):
        if not bool(q.detach().isfinite().all()):
            raise Failed(NO_NUMBER, float("nan"), 0.0)
        if not bool((p.detach() == q.detach()).all()):
            worst = float((p.detach() - q.detach()).abs().max())
            raise Failed(f"{what}: off by {worst:.2g}", worst, 0.0)


def require_near(bench: Bench, params: Sequence[Any], expected: Sequence[Any]) -> None:
    """Demand that two runs of the bench are within rounding of each other."""
    import torch

    allowed = 2 * bench.context.allowance(bench.problem)[-1]
    pairs = zip(params, expected, strict=True)
    error = torch.cat([(p.detach() - q.detach()).abs().ravel() for p, q in pairs]).cpu().numpy()
    worst = int(np.argmax(shares_of(error, allowed)))
    if not all(bool(q.isfinite().all()) for q in expected):
        raise Failed(NO_NUMBER, float("nan"), 0.0)
    if not error[worst] <= allowed[worst]:
        raise Failed(f"steps elsewhere: off by {error[worst]:.2g}", float(error[worst]), float(allowed[worst]))
