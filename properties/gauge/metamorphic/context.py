"""The context of a target without a rule: no reference says what its steps should be, so it is compared with itself.

What is compared are two runs of the target that should be alike. Where both do the same arithmetic on the same numbers
(a resumed run, negated gradients under `maximize`), every bit must agree. Elsewhere (tensors batched otherwise, sums in
another order, fused kernels) rounding may part them, by an amount that is measured on the target itself: it is run with
noise in the gradients, the parameters and the state before every step, and `FACTOR` times the spread is allowed, scaled
down to roundoff, and at least `ULPS` of the parameter and of its displacement. All runs are in float64, and so is what
the target makes without a dtype; what it pools over tensors may be off by the roundoff of float32.

This may fail in two ways. Cancellation inside a step that no noise around the step shows, and float32 that is kept on
purpose, make the allowance too small: a false alarm. Decisions that the noise sways make it too large: where it exceeds
`LOOSE`, runs that differ by less decide nothing. A target that loses the noise of its gradients may round to a lower
precision inside: there, a difference of less than `BLUNT` of the longest displacement decides nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.context import NEVER, SHAPES, Absent, Context
from stepgauge.properties.gauge.checks.options import LAW_PROBLEMS, Options
from stepgauge.properties.gauge.checks.results import NO_NUMBER
from stepgauge.properties.gauge.errors import StepError, TargetError, UsageError
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.problem import Dtype, Problem, distance
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, LayerRecipe, ParameterGroup, Shape
from stepgauge.properties.gauge.targets.base import DISTURBANCE, NO_RULE, RulelessTarget, Target
from stepgauge.properties.gauge.tolerance.envelope import ARRAY_RUNS, FACTOR, ROUNDOFF
from stepgauge.reference import Array
from stepgauge.reference.hyperparameters import HYPERPARAMETERS

MATRICES: tuple[Shape, ...] = ((4, 3), (3, 5), (2, 6))  # for targets that take nothing else
STEPS = 12  # past the first steps of corrections for bias, and past periods of ten
GRADIENTS = ("random", "uneven", "sparse")
OPTIONAL_FORMS = ("foreach", "fused", "capturable", "differentiable")  # other kernels for the same rule
SWITCHED_ON = ("momentum", "weight_decay")  # to lively values, where they are zero by default
ULPS = 4  # an addition to the parameter and a few operations before it
LOOSE = 1e-4  # of the largest displacement; a tolerance beyond it means nothing
BLUNT = FACTOR * 2.0**-9  # the roundoff of bfloat16, the lowest precision in which updates are computed


class MetamorphicContext(Context):
    """What the relations get: a target without a rule, and runs of it."""

    target: RulelessTarget

    def __init__(self, target: Target, options: Options) -> None:
        assert isinstance(target, RulelessTarget), "a target without a rule is made as one"
        super().__init__(target, options)
        self.kept: dict[tuple[str, Problem], Any] = {}  # what was calculated for a problem

    def _precision(self) -> Dtype:
        if self.options.dtype not in ("", "float64"):
            raise UsageError(f"--dtype {self.options.dtype}: without a rule runs are compared in float64")
        return "float64"

    def _validate_settings(self) -> None:
        if self.options.dialect != "auto":
            raise UsageError("--dialect: without a rule there are no dialects")
        self._refuse_settings_of(self.target.keywords)
        for name in self.options.set:
            if name not in self.target.offers:
                offered = ", ".join(n for n in self.target.record.hyperparameter_names() if n in self.target.offers)
                raise UsageError(f"{self.target.name} takes no {name!r}: it takes {offered}")

    @cached_property
    def plain(self) -> Hyperparameters:
        """What is set: by the user, and what has no default."""
        return {**self.target.required, **self.options.set}

    @cached_property
    def example(self) -> Hyperparameters:
        """`plain`, and every switch that is off by default turned on, as far as they go together."""
        chosen = dict(self.plain)
        for name, value in self._switches():
            try:
                trial = self._recorded(self.shapes, {**chosen, name: value}, steps=2)
                finite = bool(np.isfinite(self.target.run(trial)).all())
            except (TargetError, StepError):
                continue
            if finite:
                chosen[name] = value
        return chosen

    def _switches(self) -> Iterator[tuple[str, Any]]:
        for name in self.target.record.hyperparameter_names():
            default = self.target.defaults.get(name)
            if name in self.options.set or name in (*OPTIONAL_FORMS, "maximize"):
                continue
            if default is False:
                yield name, True
            elif name in SWITCHED_ON and isinstance(default, float | int) and default == 0:
                yield name, HYPERPARAMETERS[name].lively

    @cached_property
    def shapes(self) -> Sequence[Shape]:
        """Shapes that the target steps.

        Raises:
            TargetError: it steps none.
        """
        refusals = []
        for shapes in (SHAPES, MATRICES):
            try:
                self.target.run(self._recorded(shapes, self.plain))
            except (TargetError, StepError) as refusal:
                refusals.append(refusal)
            else:
                return shapes
        raise TargetError(str(refusals[0]))

    @cached_property
    def scale(self) -> float:
        """The size of the first step that moves anything, which is that of the parameters: larger ones hide errors."""
        problem = self._recorded(self.shapes, self.plain)
        moved = np.max(np.abs(_displacements(problem, self.target.run(problem))), axis=1)
        return float(next((size for size in moved if size != 0), 0.0))

    @cached_property
    def obstacle(self) -> str:
        """Why no two runs can be compared; empty if they can."""
        if self.scale == 0:
            return f"moves no parameter in {STEPS} steps along ordinary gradients"
        problem = self.problem_with(self.example)
        if not (np.isfinite(self.scale) and np.isfinite(self.trajectory(problem)).all()):
            return NO_NUMBER
        once, again, otherwise = (t.run(problem) for t in (self.target, self.target, self.target.another_seed()))
        if _same(once, again) and not _same(once, otherwise):
            return "draws random numbers, so that none of its runs need be like another"
        return ""

    def problem_with(self, hyperparameters: Hyperparameters, kind: str = "random", seed: int = 0) -> Problem:
        return self._recorded(self.shapes, hyperparameters, kind=kind, seed=seed, scale=self.scale)

    @cached_property
    def plain_problems(self) -> list[Problem]:
        return [self._numbered(k, self.plain) for k in range(LAW_PROBLEMS[self.options.level])]

    @cached_property
    def law_problems(self) -> list[Problem]:
        """At the defaults, and with the switches on."""
        if self.example == self.plain:
            return self.plain_problems
        return self.plain_problems + [self._numbered(k, self.example) for k in range(len(self.plain_problems))]

    def _numbered(self, k: int, hyperparameters: Hyperparameters) -> Problem:
        return self.problem_with(hyperparameters, GRADIENTS[k % len(GRADIENTS)], seed=k)

    def switched_on(self, problem: Problem) -> str:
        """The hyperparameters of a problem that are not the plain ones, in words."""
        changed = {n: v for n, v in problem.groups[0].hyperparameters.items() if n not in self.plain}
        return " and ".join(f"{n}={v}" for n, v in changed.items())

    def small(
        self,
        shapes: Sequence[Shape],
        layers: Sequence[LayerRecipe] = (),
        *,
        absent: Absent = NEVER,
        steps: int = 4,
        **changes: Any,
    ) -> Problem:
        return self._recorded(shapes, {**self.example, **changes}, absent=absent, steps=steps, scale=self.scale)

    def _recorded(
        self,
        shapes: Sequence[Shape],
        hyperparameters: Hyperparameters,
        *,
        absent: Absent = NEVER,
        kind: str = "random",
        steps: int = STEPS,
        seed: int = 0,
        scale: float = 1.0,
    ) -> Problem:
        rng = np.random.default_rng((self.options.seed, seed))
        initial = [scale * rng.standard_normal(shape) for shape in shapes]
        gradients = [
            [None if t in absent.get(i, ()) else KINDS[kind](rng, p, 0.0) for i, p in enumerate(initial)]
            for t in range(steps)
        ]
        return Problem(NO_RULE, (ParameterGroup(hyperparameters, tuple(range(len(shapes)))),), initial, gradients)

    def trajectory(self, problem: Problem) -> Array:
        """The target's run of a problem, which is made once."""
        return self._keep("trajectory", problem, self.target.run)

    def displacements(self, problem: Problem) -> Array:
        """How far every coordinate is from where it started, after each step."""
        return _displacements(problem, self.trajectory(problem))

    def _keep(self, what: str, problem: Problem, calculate: Callable[[Problem], Any]) -> Any:
        if (what, problem) not in self.kept:
            self.kept[what, problem] = calculate(problem)
        return self.kept[what, problem]

    def allowance(self, problem: Problem) -> Array:
        """What rounding may do to this run, in whichever precision the target may calculate inside."""
        blunt = self._keep("blunt", problem, self._blunt)
        longest = np.max(np.abs(self.displacements(problem)), axis=1, keepdims=True)
        return np.maximum(self.sensitivity(problem), BLUNT * longest if blunt else 0.0)

    def loose(self, problem: Problem) -> bool:
        """Whether rounding sways a decision in this run, so that its sensitivity means nothing."""
        return not np.max(self.sensitivity(problem)) <= LOOSE * np.max(np.abs(self.displacements(problem)))

    def sensitivity(self, problem: Problem) -> Array:
        """What rounding around the steps may do to this run, shape (steps, size): see the head of this module."""
        return self._keep("sensitivity", problem, self._measured)

    def _measured(self, problem: Problem) -> Array:
        moved, u = np.abs(self.displacements(problem)), ROUNDOFF["float64"]
        runs = [self.target.disturbed(seed).run(problem) for seed in range(ARRAY_RUNS)]
        spread = np.max([distance(run, self.trajectory(problem)) for run in runs], axis=0)
        allowed = FACTOR * u / DISTURBANCE * spread + ULPS * u * (np.abs(self.trajectory(problem)) + moved)
        if self.pools(problem):
            allowed = np.maximum(
                allowed, FACTOR * ROUNDOFF["float32"] * moved
            )  # sums over tensors are often in float32
        return np.maximum.accumulate(allowed, axis=0)  # an error once made stays

    def _blunt(self, problem: Problem) -> bool:
        """Whether noise in the gradients is lost on most coordinates that move."""
        rng = np.random.default_rng(0)
        noisy = [
            [None if g is None else g * (1 + DISTURBANCE * rng.standard_normal(g.shape)) for g in grads]
            for grads in problem.gradients
        ]
        last, disturbed = (self.trajectory(p)[-1] for p in (problem, replace(problem, gradients=noisy)))
        moves = self.displacements(problem)[-1] != 0
        return bool(np.mean(last[moves] == disturbed[moves]) > 0.5) if moves.any() else False

    def pools(self, problem: Problem) -> bool:
        """Whether other gradients for one parameter move any other parameter otherwise."""
        return self._keep("pools", problem, self._pools)

    def _pools(self, problem: Problem) -> bool:
        plain = self.trajectory(problem)
        for i in range(len(problem.initial)):
            others = np.concatenate([np.full(p.size, j != i) for j, p in enumerate(problem.initial)])
            gradients = [[_other(g) if j == i else g for j, g in enumerate(grads)] for grads in problem.gradients]
            changed = self.target.run(replace(problem, gradients=gradients))
            if not _same(changed[:, others], plain[:, others]):
                return True
        return False

    def surroundings(self) -> AbstractContextManager[None]:
        return self.target.in_float64()


def _displacements(problem: Problem, trajectory: Array) -> Array:
    return trajectory - np.concatenate([p.ravel() for p in problem.initial])


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _other(g: Array | None) -> Array | None:
    """A gradient that differs from g in every coordinate, in size and direction."""
    return None if g is None else 1 - 3 * g
