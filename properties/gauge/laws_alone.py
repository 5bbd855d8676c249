"""Laws that need no rule: what must hold of any optimizer (`law`), and what this one turns out to obey (`found`).

Each compares two runs of the target, to the bit or within its own sensitivity to rounding (see `lone_examination`).
Without a rule nobody knows which symmetries should hold; those are found or not, and neither is a failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.check import Failed, Finding, Inconclusive, NotApplicable, check, has_rule
from stepgauge.properties.gauge.judge import Worst, worst_of
from stepgauge.properties.gauge.law import with_start, within
from stepgauge.properties.gauge.problem import Problem, Settings, distance
from stepgauge.properties.gauge.target import StepError, Target, TargetError
from stepgauge.reference import Array

if TYPE_CHECKING:
    from stepgauge.properties.gauge.lone_examination import LoneExamination


class Runs(NamedTuple):
    """Two trajectories that should agree, and the problems whose rounding may part them: none if to the bit."""

    got: Array
    expected: Array
    rounded: Sequence[Problem] = ()


Law = Callable[["LoneExamination", Problem], Runs]
# Beside such gradients no eps is anything, nor decay that is added to them; their squares are finite in every dtype.
LARGE = 2.0**40


def _without_rule(target: Target) -> bool:
    return not has_rule(target)


def _law(name: str, broken: str, *, optional: bool = True) -> Callable[[Law], Law]:
    """Register a law that must hold; `broken` is said of a target that breaks it.

    What it asks for may be refused aloud, unless it is not optional.
    """

    def register(law: Law) -> Law:
        def run(exam: Any) -> Finding:
            try:
                return _asked(law, exam, exam.law_problems, broken)
            except (StepError, TargetError) as refusal:
                if optional:
                    raise NotApplicable(f"refused: {refusal}") from refusal
                raise

        run.__doc__ = law.__doc__
        check(f"law/{name}", "law", _without_rule)(run)
        return law

    return register


def _found(name: str, meaning: str) -> Callable[[Law], Law]:
    """Register what may hold or not, `meaning` in words; asked at the defaults, because a switch may end it."""

    def register(law: Law) -> Law:
        def run(exam: Any) -> Finding:
            try:
                finding = _asked(law, exam, exam.plain_problems, "does not hold")
            except (Failed, StepError, TargetError) as apart:
                raise NotApplicable(str(apart)) from apart
            return replace(finding, message=meaning)

        run.__doc__ = law.__doc__
        check(f"found/{name}", "found", _without_rule)(run)
        return law

    return register


def _asked(law: Law, exam: "LoneExamination", problems: Sequence[Problem], broken: str) -> Finding:
    """Ask a law on every problem; the worst error of those that are decided."""
    decided: list[Worst] = []
    for problem in problems:
        switched = exam.switched_on(problem)
        worst = _compared(exam, law(exam, problem), f"{broken}, with {switched}" if switched else broken)
        decided += [worst] if worst else []
    if not decided:
        raise Inconclusive("rounding may do anything on every problem")
    exact = sum(worst.error == 0 for worst in decided)
    last = max(decided)
    return Finding(last.error, last.allowed, f"bit for bit on {exact} of {len(problems)} problems")


def _compared(exam: "LoneExamination", runs: Runs, broken: str) -> Worst | None:
    """How far two runs are apart; None if that decides nothing.

    Raises:
        Failed: further than rounding may part them.
    """
    if np.array_equal(runs.got, runs.expected, equal_nan=True):
        return Worst(0.0, 0.0, 0.0)
    if not runs.rounded:
        error = float(np.max(distance(runs.got, runs.expected)))
        raise Failed(f"{broken}: off by {error:.3g}, not bit for bit", error, 0.0)
    none = np.zeros(runs.got.shape)
    within(runs.got, runs.expected, sum(map(exam.allowance, runs.rounded), none), broken)
    worst = worst_of(runs.got, runs.expected, sum(map(exam.sensitivity, runs.rounded), none))
    return None if worst.share > 1 or any(map(exam.loose, runs.rounded)) else worst


@_law("repeatable", "two equal runs differ", optional=False)
def repeatable(exam: "LoneExamination", problem: Problem) -> Runs:
    """Two optimizers made alike step alike, bit for bit: none leaves anything behind for the next."""
    return Runs(exam.target.run(problem), exam.trajectory(problem))


@_law("permutation", "the order of the parameters matters", optional=False)
def permutation(exam: "LoneExamination", problem: Problem) -> Runs:
    """Parameters given in another order step alike, but for the rounding of sums over them."""
    order = list(reversed(range(len(problem.initial))))
    shuffled = replace(
        problem,
        initial=[problem.initial[i] for i in order],
        gradients=[[grads[i] for i in order] for grads in problem.gradients],
    )
    got = _by_parameter(shuffled, exam.trajectory(shuffled))
    return Runs(np.hstack(got[::-1]), exam.trajectory(problem), [problem] * 2)


@_law("regrouping", "equal groups step otherwise than one")
def regrouping(exam: "LoneExamination", problem: Problem) -> Runs:
    """Parameters in groups with equal hyperparameters step as in one group, unless they are pooled.

    Rules may pool over a group. Those that batch what a group holds may round otherwise.
    """
    if exam.pools(problem):
        raise NotApplicable("pools over parameters, perhaps of one group")
    settings = problem.groups[0].hyperparameters
    groups = tuple(Settings(settings, (i,)) for i in range(len(problem.initial)))
    return Runs(exam.trajectory(replace(problem, groups=groups)), exam.trajectory(problem), [problem] * 2)


ABSENT = ((0, 1, 7), (4, 5, 7))  # steps in which the first parameters have no gradient: late, missing, both
NOBODY = 9  # has a gradient in this step


@_law("absent-gradient", "steps without gradient leave a trace")
def absent_gradient(exam: "LoneExamination", problem: Problem) -> Runs:
    """For a parameter, a step without gradient is as if it had not been: it stays, and goes on as if undisturbed.

    Of a target that pools, only the staying is asked: what is pooled may count steps for all.
    """
    absent = [{NOBODY, *(ABSENT[i] if i < len(ABSENT) else ())} for i in range(len(problem.initial))]
    gradients = [
        [None if t in absent[i] else g for i, g in enumerate(grads)] for t, grads in enumerate(problem.gradients)
    ]
    holed = replace(problem, gradients=gradients)
    got = exam.trajectory(holed)
    if exam.pools(problem):
        return Runs(got, _staying(holed, got))
    return Runs(got, np.hstack([_closed_up(exam, holed, i) for i in range(len(problem.initial))]), [holed] * 2)


def _staying(problem: Problem, trajectory: Array) -> Array:
    """The trajectory, but that a parameter without gradient is where it was before the step."""
    sizes = [p.size for p in problem.initial]
    absent = [np.repeat([g is None for g in grads], sizes) for grads in problem.gradients]
    return np.where(absent, with_start(problem, trajectory)[:-1], trajectory)


def _closed_up(exam: "LoneExamination", problem: Problem, i: int) -> Array:
    """The trajectory of parameter i alone, without the steps in which it has no gradient, spread over all steps."""
    alone = _alone(problem, i)
    present = [grads for grads in alone.gradients if grads[0] is not None]
    stepped = exam.trajectory(replace(alone, gradients=present))
    rows = np.vstack([problem.initial[i].reshape(1, -1), stepped])
    return rows[np.cumsum([grads[0] is not None for grads in alone.gradients])]


def _alone(problem: Problem, i: int) -> Problem:
    """The problem of parameter i alone."""
    groups = (problem.groups[0]._replace(members=(0,)),)
    gradients = [[grads[i]] for grads in problem.gradients]
    return replace(problem, groups=groups, initial=[problem.initial[i]], gradients=gradients)


@_law("maximize", "maximizing is not minimizing along the negated gradients")
def maximize(exam: "LoneExamination", problem: Problem) -> Runs:
    """`maximize=True` is the same, bit for bit, as negated gradients: a change of sign does not round."""
    _require(exam, "maximize")
    negated = problem.scaled(gradients=-1.0)
    plain, upward = (p.with_hyperparameters(maximize=m) for p, m in ((negated, False), (problem, True)))
    return Runs(exam.trajectory(upward), exam.trajectory(plain))


FORMS = ("foreach", "fused", "capturable")


def _form(name: str) -> None:
    """Register the law of an implementation of the same rule that a keyword chooses."""

    def form(exam: "LoneExamination", problem: Problem) -> Runs:
        _require(exam, name)
        loops = problem.with_hyperparameters(**{n: False for n in FORMS if n in exam.target.offers})
        return Runs(exam.trajectory(loops.with_hyperparameters(**{name: True})), exam.trajectory(loops), [loops] * 2)

    form.__doc__ = f"With {name}=True the target steps as with {name}=False, but for rounding."
    _law(name, f"{name}=True steps otherwise than {name}=False")(form)


for _name in FORMS:
    _form(_name)


def _require(exam: "LoneExamination", keyword: str) -> None:
    if keyword in exam.target.keywords:
        raise NotApplicable(f"{keyword} is fixed in the target's own keywords")
    if keyword not in exam.target.offers:
        raise NotApplicable(f"takes no {keyword}")


@_found("elementwise", "elementwise")
def elementwise(exam: "LoneExamination", problem: Problem) -> Runs:
    """Another gradient for one coordinate of each parameter moves no other coordinate otherwise, bit for bit."""
    changed = [[_first_changed(g) for g in grads] for grads in problem.gradients]
    others = np.concatenate([np.arange(p.size) > 0 for p in problem.initial])
    got = exam.trajectory(replace(problem, gradients=changed))
    return Runs(got[:, others], exam.trajectory(problem)[:, others])


def _first_changed(g: Array | None) -> Array:
    assert g is not None
    other = g.copy()
    other.flat[0] = 1 - 3 * g.flat[0]
    return other


@_found("tensorwise", "tensor by tensor")
def tensorwise(exam: "LoneExamination", problem: Problem) -> Runs:
    """A parameter alone steps as among others."""
    got = [exam.trajectory(_alone(problem, i)) for i in range(len(problem.initial))]
    return Runs(np.hstack(got), exam.trajectory(problem), [problem] * 2)


@_found("splitting", "unchanged by splitting a tensor along its first axis")
def splitting(exam: "LoneExamination", problem: Problem) -> Runs:
    """The first row of each tensor and the others, as parameters of their own, step as in one tensor."""
    gradients = [[part for g in grads if g is not None for part in (g[:1], g[1:])] for grads in problem.gradients]
    initial = [part for p in problem.initial for part in (p[:1], p[1:])]
    groups = (problem.groups[0]._replace(members=tuple(range(len(initial)))),)
    split = replace(problem, groups=groups, initial=initial, gradients=gradients)
    return Runs(exam.trajectory(split), exam.trajectory(problem), [problem] * 2)


@_found("sign", "given by the gradients' signs alone")
def sign(exam: "LoneExamination", problem: Problem) -> Runs:
    """Gradients of other sizes and the same signs give the same steps."""
    rng = np.random.default_rng(0)
    resized = [[g * rng.uniform(0.5, 2.0, g.shape) for g in grads if g is not None] for grads in problem.gradients]
    return Runs(exam.trajectory(replace(problem, gradients=resized)), exam.trajectory(problem), [problem] * 2)


@_found("schedule", "following lr in param_groups")
def schedule(exam: "LoneExamination", problem: Problem) -> Runs:
    """Doubling lr in `param_groups` before the first step gives the steps of an optimizer made with that lr."""
    if exam.target.init(problem.initial, problem.groups).rates[0] is None:
        raise NotApplicable("has no lr in param_groups")
    scheduled = exam.trajectory(replace(problem, schedule=(2.0,)))
    return Runs(scheduled, exam.trajectory(_with_lr(exam, problem, 2.0)), [problem] * 2)


class Scaling(NamedTuple):
    """What parameters, gradients and lr are multiplied by, and what the displacements should be by that.

    Powers of two, in which nothing rounds. `size` multiplies all gradients beforehand; `shift` moves the parameters.
    """

    meaning: str
    displacements: float
    params: float = 1.0
    gradients: float = 1.0
    lr: float = 1.0
    size: float = 1.0
    shift: float = 0.0


SCALINGS = {
    "odd": Scaling("odd in the gradient", -1.0, gradients=-1.0),
    "point-symmetric": Scaling("odd in parameters and gradient together", -1.0, -1.0, -1.0),
    "linear-in-lr": Scaling("proportional to lr", 2.0, lr=2.0),
    "linear-in-gradient": Scaling("proportional to the gradient", 2.0, gradients=2.0),
    "scale-free": Scaling("free of the scale of large gradients", 1.0, gradients=2.0, size=LARGE),
    "homogeneous": Scaling("proportional to parameters and gradient together", 2.0, 2.0, 2.0),
    "relative": Scaling("proportional to the parameters", 2.0, 2.0),
    "translation": Scaling("unchanged by moving the parameters", 1.0, shift=1.0),
}


def _scaling(name: str, scaling: Scaling) -> None:
    """Register a law of scale."""

    def law(exam: "LoneExamination", problem: Problem) -> Runs:
        plain = problem.scaled(gradients=scaling.size)
        changed = plain.scaled(params=scaling.params, gradients=scaling.gradients)
        changed = replace(changed, initial=[p + scaling.shift * exam.scale for p in changed.initial])
        changed = _with_lr(exam, changed, scaling.lr)
        expected = scaling.displacements * exam.displacements(plain)
        rounded = [plain] * round(abs(scaling.displacements)) + [changed]
        return Runs(exam.displacements(changed), expected, rounded)

    law.__doc__ = f"The steps are {scaling.meaning}."
    _found(name, scaling.meaning)(law)


for _name, _scaled in SCALINGS.items():
    _scaling(_name, _scaled)


def _with_lr(exam: "LoneExamination", problem: Problem, factor: float) -> Problem:
    """The problem with another lr, given at construction."""
    if factor == 1:
        return problem
    _require(exam, "lr")
    lr = {**exam.target.defaults, **exam.plain}["lr"]
    if not isinstance(lr, float | int):
        raise NotApplicable(f"its lr is {lr!r}, no number")
    return problem.with_hyperparameters(lr=factor * lr)


def _by_parameter(problem: Problem, trajectory: Array) -> list[Array]:
    """A trajectory cut into those of the parameters."""
    return np.split(trajectory, np.cumsum([p.size for p in problem.initial])[:-1], axis=1)
