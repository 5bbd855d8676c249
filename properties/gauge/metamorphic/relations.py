"""Laws that need no rule: what must hold of any optimizer (`law`), and what this one turns out to obey (`found`).

Each compares two runs of the target, to the bit or within its own sensitivity to rounding (see `context`).
Without a rule nobody knows which symmetries should hold; those are found or not, and neither is a failure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.checks.comparison import Worst, worst_of
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.law import with_start, within
from stepgauge.properties.gauge.checks.registry import check, has_no_rule
from stepgauge.properties.gauge.checks.results import Failed, Finding, Inconclusive, NotApplicable
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, StepError, TargetError, describe
from stepgauge.properties.gauge.metamorphic.context import OPTIONAL_FORMS, STEPS, MetamorphicContext
from stepgauge.properties.gauge.problems.problem import Problem, distance
from stepgauge.properties.gauge.problems.recipe import Change, Hyperparameters, ParameterGroup
from stepgauge.properties.gauge.targets.base import quiet
from stepgauge.reference import Array
from stepgauge.reference.hyperparameters import HYPERPARAMETERS


class Runs(NamedTuple):
    """Two trajectories that should agree, and the problems whose rounding may part them: none if to the bit."""

    got: Array
    expected: Array
    rounded: Sequence[Problem] = ()


Law = Callable[[MetamorphicContext, Problem], Runs]

# Beside such gradients no eps is anything, nor decay that is added to them; their squares are finite in every dtype.
LARGE = 2.0**40


def _law(name: str, broken: str, *, optional: bool = True) -> Callable[[Law], Law]:
    """Register a law that must hold; `broken` is said of a target that breaks it.

    What it asks for may be refused aloud, unless it is not optional.
    """

    def register(law: Law) -> Law:
        def run(context: Any) -> Finding:
            try:
                return _asked(law, context, context.law_problems, broken)
            except (StepError, TargetError) as refusal:
                if optional:
                    raise NotApplicable(f"refused: {refusal}") from refusal
                raise

        run.__doc__ = law.__doc__
        check(f"law/{name}", has_no_rule)(run)
        return law

    return register


def _found(name: str, meaning: str) -> Callable[[Law], Law]:
    """Register what may hold or not, `meaning` in words; asked at the defaults, because a switch may end it."""

    def register(law: Law) -> Law:
        def run(context: Any) -> Finding:
            try:
                finding = _asked(law, context, context.plain_problems, "does not hold")
            except (Failed, StepError, TargetError) as apart:
                raise NotApplicable(str(apart)) from apart
            return replace(finding, message=meaning)

        run.__doc__ = law.__doc__
        check(f"found/{name}", has_no_rule)(run)
        return law

    return register


def _asked(law: Law, context: MetamorphicContext, problems: Sequence[Problem], broken: str) -> Finding:
    """Ask a law on every problem; the worst error of those that are decided."""
    decided: list[Worst] = []
    for problem in problems:
        switched = context.switched_on(problem)
        worst = _compared(context, law(context, problem), f"{broken}, with {switched}" if switched else broken)
        decided += [worst] if worst else []
    if not decided:
        raise Inconclusive("rounding may do anything on every problem")
    exact = sum(worst.error == 0 for worst in decided)
    last = max(decided)
    return Finding(last.error, last.allowed, f"bit for bit on {exact} of {len(problems)} problems")


def _compared(context: MetamorphicContext, runs: Runs, broken: str) -> Worst | None:
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
    within(runs.got, runs.expected, sum(map(context.allowance, runs.rounded), none), broken)
    worst = worst_of(runs.got, runs.expected, sum(map(context.sensitivity, runs.rounded), none))
    return None if worst.share > 1 or any(map(context.loose, runs.rounded)) else worst


@_law("repeatable", "two equal runs differ", optional=False)
def repeatable(context: MetamorphicContext, problem: Problem) -> Runs:
    """Two optimizers made alike step alike, bit for bit: none leaves anything behind for the next."""
    return Runs(context.target.run(problem), context.trajectory(problem))


@_law("permutation", "the order of the parameters matters", optional=False)
def permutation(context: MetamorphicContext, problem: Problem) -> Runs:
    """Parameters given in another order step alike, but for the rounding of sums over them."""
    order = list(reversed(range(len(problem.initial))))
    shuffled = replace(
        problem,
        initial=[problem.initial[i] for i in order],
        gradients=[[grads[i] for i in order] for grads in problem.gradients],
    )
    got = _by_parameter(shuffled, context.trajectory(shuffled))
    return Runs(np.hstack(got[::-1]), context.trajectory(problem), [problem] * 2)


@_law("regrouping", "equal groups step otherwise than one")
def regrouping(context: MetamorphicContext, problem: Problem) -> Runs:
    """Parameters in groups with equal hyperparameters step as in one group, unless they are pooled.

    Rules may pool over a group. Those that batch what a group holds may round otherwise.
    """
    if context.pools(problem):
        raise NotApplicable("pools over parameters, perhaps of one group")
    settings = problem.groups[0].hyperparameters
    groups = tuple(ParameterGroup(settings, (i,)) for i in range(len(problem.initial)))
    return Runs(context.trajectory(replace(problem, groups=groups)), context.trajectory(problem), [problem] * 2)


@_law("groups", "groups step otherwise than optimizers of their own")
def groups(context: MetamorphicContext, problem: Problem) -> Runs:
    """Two groups with a rate, decay and so on of their own step as two optimizers do: neither has the other's."""
    if context.pools(problem):
        raise NotApplicable("pools over parameters")
    if "lr" not in context.target.schedulable:
        raise NotApplicable("has no lr in param_groups")
    (everything,) = problem.groups
    *first, last = everything.members
    halves = {"lr": _rate(context) / 2, **_halves(context, problem.groups[0].hyperparameters)}
    parts = (
        everything._replace(members=tuple(first)),
        ParameterGroup({**everything.hyperparameters, **halves}, (last,)),
    )
    together = context.trajectory(replace(problem, groups=parts))
    apart = [context.trajectory(_only(problem, group)) for group in parts]
    return Runs(together, np.hstack(apart), [problem] * 2)


@_law("moved-options", "what a scheduler writes into param_groups is not what it steps with")
def moved_options(context: MetamorphicContext, problem: Problem) -> Runs:
    """Momentum, betas, decay and so on, written into `param_groups` at first, are as good as given at construction."""
    if not _halves(context, context.example):
        raise NotApplicable("has nothing beside lr in param_groups that schedulers move")
    halves = _halves(context, problem.groups[0].hyperparameters)
    written = replace(problem, changes=tuple(Change(0, name, value) for name, value in halves.items()))
    return Runs(context.trajectory(written), context.trajectory(problem.with_hyperparameters(**halves)), [problem] * 2)


def _halves(context: MetamorphicContext, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Half of what schedulers move beside lr, by the names that the rules have for it, where it is in the groups."""
    known = {**context.target.defaults, **hyperparameters}
    names = (name for name in HYPERPARAMETERS if name != "lr" and name in context.target.schedulable)
    halved = ((name, _half(known.get(name))) for name in names)
    return {name: half for name, half in halved if half is not None and half != known[name]}


def _half(value: Any) -> Any:
    """Half of a number, or of each in a tuple; None of anything else."""
    if isinstance(value, tuple | list):
        halves = tuple(map(_half, value))
        return None if None in halves else halves
    return value / 2 if isinstance(value, float | int) and not isinstance(value, bool) else None


@_law("equal-shapes", "parameters of equal shape step otherwise than by themselves")
def equal_shapes(context: MetamorphicContext, problem: Problem) -> Runs:
    """Parameters of equal shape do not share a state: each steps as by itself."""
    if context.pools(problem):
        raise NotApplicable("pools over parameters")
    p, other = problem.initial[1], problem.initial[1][::-1].copy()
    gradients = [[grads[1], None if grads[1] is None else -2 * grads[1]] for grads in problem.gradients]
    group = problem.groups[0]._replace(members=(0, 1))
    twins = replace(problem, groups=(group,), initial=[p, other], gradients=gradients)
    apart = [context.trajectory(_alone(twins, i)) for i in (0, 1)]
    return Runs(context.trajectory(twins), np.hstack(apart), [twins] * 2)


def _only(problem: Problem, group: ParameterGroup) -> Problem:
    """The problem of one group's parameters."""
    members = group.members
    return replace(
        problem,
        groups=(group._replace(members=tuple(range(len(members)))),),
        initial=[problem.initial[i] for i in members],
        gradients=[[grads[i] for i in members] for grads in problem.gradients],
    )


ABSENT = ((0, 1, 7), (4, 5, 7))  # steps in which the first parameters have no gradient: late, missing, both
NOBODY = 9  # has a gradient in this step


@_law("absent-gradient", "steps without gradient leave a trace")
def absent_gradient(context: MetamorphicContext, problem: Problem) -> Runs:
    """For a parameter, a step without gradient is as if it had not been: it stays, and goes on as if undisturbed.

    Of a target that pools, only the staying is asked: what is pooled may count steps for all.
    """
    absent = [{NOBODY, *(ABSENT[i] if i < len(ABSENT) else ())} for i in range(len(problem.initial))]
    gradients = [
        [None if t in absent[i] else g for i, g in enumerate(grads)] for t, grads in enumerate(problem.gradients)
    ]
    holed = replace(problem, gradients=gradients)
    got = context.trajectory(holed)
    if context.pools(problem):
        return Runs(got, _staying(holed, got))
    return Runs(got, np.hstack([_closed_up(context, holed, i) for i in range(len(problem.initial))]), [holed] * 2)


@check("law/absent-state", has_no_rule)
def absent_state(context: Context) -> None:
    """A step without gradient leaves a parameter's state as it was, counters apart: not only what shows at once."""
    import torch

    assert isinstance(context, MetamorphicContext)
    target: Any = context.target
    problem = context.problem_with(context.example)
    with quiet(), np.errstate(all="ignore"):
        run = target.start([torch.nn.Parameter(target.tensor(p)) for p in problem.initial], problem.groups)
        before: dict[str, Any] = {}
        for grads in (*problem.gradients[:2], [None, *problem.gradients[2][1:]]):
            before = {n: x.clone() for n, x in _floats(run.optimizer.state.get(run.params[0], {}))}
            target.feed(run, grads, {})
            try:
                run.optimizer.step()
            except FOREIGN_ERRORS as error:
                raise NotApplicable(f"refused: {describe(error)}") from error
    for name, x in _floats(run.optimizer.state.get(run.params[0], {})):
        if name in before and not torch.equal(x, before[name]):
            change = float((x - before[name]).abs().max())
            raise Failed(f"{name} changes in a step without gradient, by {change:.3g}", change, 0.0)


def _floats(fields: Any) -> Iterator[tuple[str, Any]]:
    """The tensors of a state that have the size of something, which counters do not."""
    for name, x in fields.items() if isinstance(fields, Mapping) else ():
        if getattr(x, "ndim", 0) and x.is_floating_point():
            yield name, x.detach()


def _staying(problem: Problem, trajectory: Array) -> Array:
    """The trajectory, but that a parameter without gradient is where it was before the step."""
    sizes = [p.size for p in problem.initial]
    absent = [np.repeat([g is None for g in grads], sizes) for grads in problem.gradients]
    return np.where(absent, with_start(problem, trajectory)[:-1], trajectory)


def _closed_up(context: MetamorphicContext, problem: Problem, i: int) -> Array:
    """The trajectory of parameter i alone, without the steps in which it has no gradient, spread over all steps."""
    alone = _alone(problem, i)
    present = [grads for grads in alone.gradients if grads[0] is not None]
    stepped = context.trajectory(replace(alone, gradients=present))
    rows = np.vstack([problem.initial[i].reshape(1, -1), stepped])
    return rows[np.cumsum([grads[0] is not None for grads in alone.gradients])]


def _alone(problem: Problem, i: int) -> Problem:
    """The problem of one parameter."""
    return _only(problem, problem.groups[0]._replace(members=(i,)))


@_law("maximize", "maximizing is not minimizing along the negated gradients")
def maximize(context: MetamorphicContext, problem: Problem) -> Runs:
    """`maximize=True` is the same, bit for bit, as negated gradients: a change of sign does not round."""
    _require(context, "maximize")
    negated = problem.scaled(gradients=-1.0)
    plain, upward = (p.with_hyperparameters(maximize=m) for p, m in ((negated, False), (problem, True)))
    return Runs(context.trajectory(upward), context.trajectory(plain))


FORMS = ("foreach", "fused", "capturable")


def _form(name: str) -> None:
    """Register the law of an implementation of the same rule that a keyword chooses."""

    def form(context: MetamorphicContext, problem: Problem) -> Runs:
        _require(context, name)
        loops = problem.with_hyperparameters(**{n: False for n in FORMS if n in context.target.offers})
        return Runs(
            context.trajectory(loops.with_hyperparameters(**{name: True})), context.trajectory(loops), [loops] * 2
        )

    form.__doc__ = f"With {name}=True the target steps as with {name}=False, but for rounding."
    _law(name, f"{name}=True steps otherwise than {name}=False")(form)


for _name in FORMS:
    _form(_name)


def _require(context: MetamorphicContext, keyword: str) -> None:
    if keyword in context.target.keywords:
        raise NotApplicable(f"{keyword} is fixed in the target's own keywords")
    if keyword not in context.target.offers:
        raise NotApplicable(f"takes no {keyword}")


@check("interface/options", has_no_rule)
def options(context: Context) -> Finding:
    """Every option that it takes changes a step: at the defaults, beside all that goes with them, or all but one."""
    assert isinstance(context, MetamorphicContext)
    idle = [name for name in context.target.record.hyperparameter_names() if _changes_nothing(context, name)]
    if idle:
        said = "is accepted and changes" if len(idle) == 1 else "are accepted and change"
        raise Failed(f"{', '.join(idle)} {said} none of {STEPS} steps")
    return Finding()


def _changes_nothing(context: MetamorphicContext, name: str) -> bool:
    """Whether a number or a switch can be set otherwise, and moves nothing in any problem; kernels are no options."""
    default = context.target.defaults.get(name)
    if name in OPTIONAL_FORMS or name in context.options.set or not isinstance(default, bool | int | float):
        return False
    asked = False
    for settings in _settings(context):
        problem = context.problem_with(settings)
        given = settings.get(name, default)
        for value in (not given,) if isinstance(given, bool) else (given / 2, 2 * given, given + 0.25):
            with suppress(StepError, TargetError):
                other = context.target.run(problem.with_hyperparameters(**{name: value}))
                if not np.array_equal(other, context.target.run(problem), equal_nan=True):
                    return False
                asked = True
    return asked


def _settings(context: MetamorphicContext) -> Iterator[Hyperparameters]:
    """The defaults, all that can be switched on, and that without one of them."""
    yield context.plain
    yield context.example
    for left_out in context.example.keys() - context.plain.keys():
        yield {name: value for name, value in context.example.items() if name != left_out}


@_found("elementwise", "elementwise")
def elementwise(context: MetamorphicContext, problem: Problem) -> Runs:
    """Another gradient for one coordinate of each parameter moves no other coordinate otherwise, bit for bit."""
    changed = [[_first_changed(g) for g in grads] for grads in problem.gradients]
    others = np.concatenate([np.arange(p.size) > 0 for p in problem.initial])
    got = context.trajectory(replace(problem, gradients=changed))
    return Runs(got[:, others], context.trajectory(problem)[:, others])


def _first_changed(g: Array | None) -> Array:
    assert g is not None
    other = g.copy()
    other.flat[0] = 1 - 3 * g.flat[0]
    return other


@_found("tensorwise", "tensor by tensor")
def tensorwise(context: MetamorphicContext, problem: Problem) -> Runs:
    """A parameter alone steps as among others."""
    got = [context.trajectory(_alone(problem, i)) for i in range(len(problem.initial))]
    return Runs(np.hstack(got), context.trajectory(problem), [problem] * 2)


@_found("splitting", "unchanged by splitting a tensor along its first axis")
def splitting(context: MetamorphicContext, problem: Problem) -> Runs:
    """The first row of each tensor and the others, as parameters of their own, step as in one tensor."""
    gradients = [[part for g in grads if g is not None for part in (g[:1], g[1:])] for grads in problem.gradients]
    initial = [part for p in problem.initial for part in (p[:1], p[1:])]
    groups = (problem.groups[0]._replace(members=tuple(range(len(initial)))),)
    split = replace(problem, groups=groups, initial=initial, gradients=gradients)
    return Runs(context.trajectory(split), context.trajectory(problem), [problem] * 2)


@_found("sign", "given by the gradients' signs alone")
def sign(context: MetamorphicContext, problem: Problem) -> Runs:
    """Gradients of other sizes and the same signs give the same steps."""
    rng = np.random.default_rng(0)
    resized = [[g * rng.uniform(0.5, 2.0, g.shape) for g in grads if g is not None] for grads in problem.gradients]
    return Runs(context.trajectory(replace(problem, gradients=resized)), context.trajectory(problem), [problem] * 2)


@_law("schedule", "lr in param_groups is not what it steps with")
def schedule(context: MetamorphicContext, problem: Problem) -> Runs:
    """Doubling lr in `param_groups` before the first step gives the steps of an optimizer made with that lr."""
    if "lr" not in context.target.schedulable:
        raise NotApplicable("has no lr in param_groups")
    scheduled = context.trajectory(replace(problem, schedule=(2.0,)))
    return Runs(scheduled, context.trajectory(_with_lr(context, problem, 2.0)), [problem] * 2)


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

    def law(context: MetamorphicContext, problem: Problem) -> Runs:
        plain = problem.scaled(gradients=scaling.size)
        changed = plain.scaled(params=scaling.params, gradients=scaling.gradients)
        changed = replace(changed, initial=[p + scaling.shift * context.scale for p in changed.initial])
        changed = _with_lr(context, changed, scaling.lr)
        expected = scaling.displacements * context.displacements(plain)
        rounded = [plain] * round(abs(scaling.displacements)) + [changed]
        return Runs(context.displacements(changed), expected, rounded)

    law.__doc__ = f"The steps are {scaling.meaning}."
    _found(name, scaling.meaning)(law)


for _name, _scaled in SCALINGS.items():
    _scaling(_name, _scaled)


def _with_lr(context: MetamorphicContext, problem: Problem, factor: float) -> Problem:
    """The problem with another lr, given at construction."""
    if factor == 1:
        return problem
    return problem.with_hyperparameters(lr=factor * _rate(context))


def _rate(context: MetamorphicContext) -> float:
    """The lr that the target is made with."""
    _require(context, "lr")
    lr = {**context.target.defaults, **context.plain}["lr"]
    if not isinstance(lr, float | int):
        raise NotApplicable(f"its lr is {lr!r}, which is not a number")
    return lr


def _by_parameter(problem: Problem, trajectory: Array) -> list[Array]:
    """A trajectory cut into those of the parameters."""
    return np.split(trajectory, np.cumsum([p.size for p in problem.initial])[:-1], axis=1)
