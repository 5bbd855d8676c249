"""An examination with the target as the only witness: no rule says what its steps should be.

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

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from stepgauge.properties.gauge.activity import LayerRecipe, Shape
from stepgauge.properties.gauge.check import NO_NUMBER, Check, Result
from stepgauge.properties.gauge.examination import (
    LAW_PROBLEMS,
    LIVELY,
    NEVER,
    SHAPES,
    Absent,
    Examination,
    Options,
    load_checks,
)
from stepgauge.properties.gauge.gradients import KINDS
from stepgauge.properties.gauge.lone_target import DISTURBANCE, LoneTarget, double_by_default
from stepgauge.properties.gauge.problem import Hyperparameters, Problem, Settings, distance
from stepgauge.properties.gauge.target import NO_RULE, StepError, Target, TargetError, UsageError
from stepgauge.properties.gauge.tolerance import ARRAY_RUNS, FACTOR, ROUNDOFF
from stepgauge.properties.gauge.verdict import Report, failed
from stepgauge.reference import Array

MATRICES: tuple[Shape, ...] = ((4, 3), (3, 5), (2, 6))  # for targets that take nothing else
STEPS = 12  # past the first steps of corrections for bias, and past periods of ten
GRADIENTS = ("random", "uneven", "sparse")
OPTIONAL_FORMS = ("foreach", "fused", "capturable", "differentiable")  # other kernels for the same rule
SWITCHED_ON = ("momentum", "weight_decay")  # where they are zero by default

ULPS = 4  # an addition to the parameter and a few operations before it
LOOSE = 1e-4  # of the largest displacement; a tolerance beyond it means nothing
BLUNT = FACTOR * 2.0**-9  # the roundoff of bfloat16, the lowest precision in which updates are computed
# Autograd lays out a gradient as its parameter, and kernels may count on that; a rule may look at a closure's loss.
UNPROMISED = ("contract/transposed-gradient", "contract/closure")


class LoneExamination(Examination):
    """A target without a rule under examination."""

    target: LoneTarget

    def __init__(self, target: Target, options: Options) -> None:
        assert isinstance(target, LoneTarget), "a target without a rule is made as one"
        super().__init__(target, options)
        self.kept: dict[tuple[str, Problem], Any] = {}  # what was calculated for a problem

    def _validate_settings(self) -> None:
        if self.options.dialect != "auto":
            raise UsageError("--dialect: without a rule there are no dialects")
        for name in self.options.set:
            if name in self.target.keywords:
                raise UsageError(f"--set {name}: the target's own keywords give it already")
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
                yield name, LIVELY[name]

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
        return Problem(NO_RULE, (Settings(hyperparameters, tuple(range(len(shapes)))),), initial, gradients)

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

    def run(self, check: Check) -> Result:
        if self.obstacle:
            return Result(check.id, check.category, "inconclusive", message=self.obstacle)
        with double_by_default():
            return super().run(check)


def _displacements(problem: Problem, trajectory: Array) -> Array:
    return trajectory - np.concatenate([p.ravel() for p in problem.initial])


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _other(g: Array | None) -> Array | None:
    """A gradient that differs from g in every coordinate, in size and direction."""
    return None if g is None else 1 - 3 * g


def examine_alone(target: Target, options: Options, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Run the laws on a target without a rule and conclude.

    What decides are numbers that are silently others than was promised: a broken law, or a broken promise of torch's
    that shows in the parameters (a resumed run that leaves the course), is a divergence. What is refused aloud, and
    what concerns names, is a score beside it, as with a rule. "conforms" stands for "to the laws alone", which the
    message says, and no dialect is named: the status must tell a sound optimizer from a broken one, and a user who asks
    for no rule knows that none was compared. "not-established" is left to what it means elsewhere: a law that could
    not be decided, or did not run.

    Raises:
        UsageError: the options name a hyperparameter that the target lacks, or a dialect.
    """
    start = time.perf_counter()
    exam = LoneExamination(target, options)
    progress("first steps")
    try:
        obstacle = exam.obstacle
    except (TargetError, StepError) as error:
        return failed(target.name, NO_RULE, str(error))
    results = exam.run_all(progress)
    draft = Report(target.name, NO_RULE, "conforms", results=results, coverage=_coverage(exam))
    return replace(_concluded(draft, exam, obstacle), seconds=time.perf_counter() - start)


def _concluded(draft: Report, exam: LoneExamination, obstacle: str) -> Report:
    laws = [r for r in draft.results if r.category == "law"]
    if obstacle:
        return replace(draft, verdict="not-established", message=obstacle)
    if raised := [r for r in laws if r.status == "error"]:
        return replace(draft, verdict="error", message=f"{raised[0].id}: {raised[0].message}")
    if broken := [r.id for r in draft.results if _silently_wrong(r)]:
        return replace(draft, verdict="diverges", message=f"breaks {', '.join(broken)}")
    if missing := [
        c.id
        for c in load_checks()
        if c.category == "law" and c.applies(exam.target) and c.id not in {r.id for r in laws}
    ]:
        return replace(draft, verdict="not-established", message=f"did not run: {', '.join(missing)}")
    if undecided := [r for r in laws if r.status == "inconclusive"]:
        return replace(draft, verdict="not-established", message=f"{undecided[0].id}: {undecided[0].message}")
    held = sum(r.status == "pass" for r in laws)
    matrices = ", asked of matrices alone" if exam.shapes == MATRICES else ""
    return replace(draft, message=f"to the laws alone ({held} of them{matrices}): no rule was compared")


def _silently_wrong(result: Result) -> bool:
    """Whether a check failed by numbers: what raises or is about names has no error to tell."""
    numbers = result.category == "law" or (result.error is not None and result.id not in UNPROMISED)
    return result.status == "fail" and numbers


def _coverage(exam: LoneExamination) -> dict[str, Any]:
    return {
        "level": exam.options.level,
        "seed": exam.options.seed,
        "problems": 0 if exam.obstacle else len(exam.law_problems),
        "shapes": [list(shape) for shape in exam.shapes],
        "defaults": {n: repr(v) for n, v in sorted(exam.target.defaults.items())},
        "set": dict(exam.plain),
        "switched_on": {} if exam.obstacle else {n: v for n, v in exam.example.items() if n not in exam.plain},
    }
