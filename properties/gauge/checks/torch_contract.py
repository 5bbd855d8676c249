"""Checks of what torch promises of every optimizer: copies, checkpoints, closures, memory formats."""

import copy
import io
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import shares_of, worst_of
from stepgauge.properties.gauge.checks.context import NEVER, Absent, Context
from stepgauge.properties.gauge.checks.registry import check
from stepgauge.properties.gauge.checks.results import NO_NUMBER, Failed, NotApplicable
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, describe
from stepgauge.properties.gauge.problems.problem import flatten
from stepgauge.properties.gauge.problems.recipe import LayerRecipe, ParameterGroup
from stepgauge.properties.gauge.targets.base import NO_RULE, Subject, Support, quiet
from stepgauge.reference import Array, Convolution, driver

LAYER = LayerRecipe(3, 2, (3, 3), Convolution((2, 2)))  # stands for the first parameter where the rule sees layers
STEPS = 6
COUNTED = 300  # past 256, where a counter in bfloat16 stops
LATE = 2**24  # steps, beyond which float32 has no odd numbers
SCALARS_IN_FLOAT32 = 2.0**-10  # of a step: compiled, torch counts in float32, where 1 - 0.999**t keeps 13 bits
COARSE = 64 * 2.0**-9  # of a parameter and its way: 64 roundoffs of bfloat16, in which state may be kept, too


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

    is_low = False  # whether parameters are in bfloat16

    def __init__(self, context: Context, absent: Absent = NEVER, **changes: Any) -> None:
        self.context = context
        self.target: Any = context.target
        layers = (LAYER,) if context.target.record.sees_layers else ()
        self.problem = context.small(context.shapes[len(layers) :], layers, absent=absent, steps=STEPS, **changes)

    def in_groups(self) -> "Bench":
        """The same in two groups, the second of which has half the rate."""
        (everything,) = self.problem.groups
        *first, last = everything.members
        if not first:
            raise NotApplicable("there is one parameter")
        known = {**self.target.defaults, **everything.hyperparameters}
        if "lr" not in self.target.schedulable or not isinstance(known.get("lr"), int | float):
            raise NotApplicable("has no lr in param_groups")
        slower = {**everything.hyperparameters, "lr": known["lr"] / 2}
        groups = (everything._replace(members=tuple(first)), ParameterGroup(slower, (last,)))
        other = copy.copy(self)
        other.problem = replace(self.problem, groups=groups, recipe=None)
        return other

    def with_equal_shapes(self) -> "Bench":
        """The same over parameters that only their places tell apart."""
        other = copy.copy(self)
        layers = (LAYER,) if self.problem.layers else ()
        other.problem = self.context.small((self.context.shapes[1],) * 3, layers, steps=STEPS)
        return other

    def scheduled(self) -> "Bench":
        """The same with a rate that falls half-way."""
        other = copy.copy(self)
        schedule = (1.0,) * (STEPS // 2 - 1) + (0.5,) * (STEPS - STEPS // 2 + 1)
        other.problem = replace(self.problem, schedule=schedule, recipe=None)
        return other

    def in_bfloat16(self) -> "Bench":
        """The same with parameters in bfloat16."""
        other = copy.copy(self)
        other.is_low = True
        return other

    def with_representable_numbers(self) -> "Bench":
        """The same with numbers that bfloat16 has, so that only what the optimizer computes is rounded."""
        if self.problem.layers:
            raise NotApplicable("layers are not run in bfloat16 here")
        other = copy.copy(self)
        initial = [_representable(p) for p in self.problem.initial]
        gradients = [[None if g is None else _representable(g) for g in grads] for grads in self.problem.gradients]
        other.problem = replace(self.problem, initial=initial, gradients=gradients, recipe=None)
        return other

    def upward(self) -> list["Bench"]:
        """The same maximizing, if the target can be told to."""
        if not self.target.takes_maximize:
            return []
        other = copy.copy(self)
        other.problem = replace(self.problem, maximize=True, recipe=None)
        return [other]

    def params(self) -> list[Any]:
        import torch

        tensors = [self.target.tensor(p) for p in self.problem.initial]
        return [torch.nn.Parameter(x.bfloat16() if self.is_low else x) for x in tensors]

    def run(self, params: Sequence[Any] | None = None, network: Any = None) -> Any:
        """An optimizer over fresh parameters or those given, in a network of its own or that given."""
        params = self.params() if params is None else params
        maximize = self.problem.maximize
        return self.target.start(params, self.problem.groups, self.problem.layers, network, maximize=maximize)

    def feed(self, run: Any, t: int) -> None:
        """Set the gradients of step t (from 0)."""
        self.target.feed(run, self.problem.gradients[t], self.problem.seen_in(t))

    def train(self, run: Any, steps: Sequence[int]) -> None:
        for t in steps:
            if t == 0 or self.problem.moved(t) != self.problem.moved(t - 1):  # as a scheduler does it, when it moves
                self.target.schedule(run, self.problem.moved(t))
            self.feed(run, t)
            run.optimizer.step()

    def finished(self) -> list[Any]:
        """The parameters after an undisturbed run."""
        run = self.run()
        self.train(run, range(STEPS))
        return list(run.params)


def _representable(x: Array) -> Array:
    """The nearest numbers in bfloat16."""
    import torch

    rounded: Array = torch.from_numpy(np.array(x)).bfloat16().double().numpy()
    return rounded


def _must_equal(params: Sequence[Any], expected: Sequence[Any], what: str) -> None:
    for p, q in zip(params, expected, strict=True):
        if not bool(q.detach().isfinite().all()):
            raise Failed(NO_NUMBER, float("nan"), 0.0)
        if not bool((p.detach() == q.detach()).all()):
            worst = float((p.detach() - q.detach()).abs().max())
            raise Failed(f"{what}: off by {worst:.2g}", worst, 0.0)


def _resumed(bench: Bench, through: Callable[[Any], Any]) -> list[Any]:
    """The parameters of a run that goes on half-way in a fresh optimizer, the state having gone through something."""
    run = bench.run()
    bench.train(run, range(STEPS // 2))
    fresh = bench.run(run.params, run.network)
    fresh.optimizer.load_state_dict(through(run.optimizer.state_dict()))
    bench.train(fresh, range(STEPS // 2, STEPS))
    return list(fresh.params)


@contract("contract/resume")
def resume(bench: Bench) -> None:
    """Saved and loaded into a fresh optimizer half-way, the run goes on bit for bit."""
    _must_equal(_resumed(bench, copy.deepcopy), bench.finished(), "the resumed run leaves the uninterrupted one")


@contract("contract/resume-with-groups")
def resume_with_groups(bench: Bench) -> None:
    """Resumed with several groups, each goes on with its own hyperparameters."""
    grouped = bench.in_groups()
    _must_equal(_resumed(grouped, copy.deepcopy), grouped.finished(), "the resumed groups leave the uninterrupted run")


@contract("contract/resume-mid-schedule")
def resume_mid_schedule(bench: Bench) -> None:
    """Resumed where a schedule has moved lr, the run goes on with that lr, and not with the constructor's."""
    moved = bench.scheduled()
    _must_equal(_resumed(moved, copy.deepcopy), moved.finished(), "resumed mid-schedule, the run leaves the course")


@contract("contract/resume-late-gradient")
def resume_late_gradient(bench: Bench) -> None:
    """Resumed while a parameter has had no gradient yet, its first one is as it would have been."""
    if len(bench.problem.initial) < 2:
        raise NotApplicable("there is one parameter")
    last = len(bench.context.shapes) - 1
    late: Absent = {last: tuple(range(STEPS // 2 + 1))}
    dampened = {n: v for n, v in {"nesterov": False, "dampening": 0.28}.items() if n in bench.target.offers}
    for other in (Bench(bench.context, late), Bench(bench.context, late, **dampened)):
        resumed, expected = _resumed(other, copy.deepcopy), other.finished()
        _must_equal(resumed, expected, "a first gradient after resuming is taken otherwise")


@contract("contract/resume-in-bfloat16")
def resume_in_bfloat16(bench: Bench) -> None:
    """Resumed with parameters in bfloat16 the run goes on bit for bit, whatever precision its state is kept in."""
    low = bench.with_representable_numbers().in_bfloat16()
    _must_equal(_resumed(low, copy.deepcopy), low.finished(), "resumed in bfloat16, the run leaves the course")


@contract("contract/resume-in-another-format")
def resume_in_another_format(bench: Bench) -> None:
    """A checkpoint of a contiguous model, loaded into one in channels_last format, goes on within rounding."""
    if not any(p.ndim == 4 for p in bench.problem.initial):
        raise NotApplicable("takes no parameter of four dimensions")
    import torch

    run = bench.run()
    bench.train(run, range(STEPS // 2))
    params = [torch.nn.Parameter(_channels_last(p.detach().clone())) for p in run.params]
    fresh = bench.run(params)
    fresh.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    for t in range(STEPS // 2, STEPS):
        bench.feed(fresh, t)
        for p in fresh.params:
            p.grad = _channels_last(p.grad)
        fresh.optimizer.step()
    _must_be_near(bench, fresh.params, bench.finished())


@contract("contract/bfloat16")
def bfloat16(bench: Bench) -> None:
    """In bfloat16 it moves, stays finite, and stays near its own run in float64."""
    plain = bench.with_representable_numbers()
    exact, rounded = plain.run(), plain.in_bfloat16().run()
    ways = [p.detach().abs() for p in exact.params]
    for t in range(STEPS):
        before = [p.detach().clone() for p in exact.params]
        plain.train(exact, [t])
        plain.train(rounded, [t])
        ways = [way + (p.detach() - q).abs() for way, p, q in zip(ways, exact.params, before, strict=True)]
    for p, q, way in zip(rounded.params, exact.params, ways, strict=True):
        if bool(q.isfinite().all()) and not bool(p.isfinite().all()):
            raise Failed("in bfloat16 it makes NaN or infinity", float("nan"), 0.0)
        shares = ((p.detach().to(q.dtype) - q.detach()).abs() / way.clamp_min(1e-300)).ravel()
        if float(shares.max()) > COARSE:
            ulps = float(shares.max()) * 2**8
            raise Failed(f"in bfloat16 it is {ulps:.0f} ulps off of the way that it goes", float(shares.max()), COARSE)
    for t in range(STEPS, COUNTED):
        plain.feed(rounded, t % STEPS)
        rounded.optimizer.step()
    for count in _counters(rounded.optimizer):
        if count != COUNTED:
            raise Failed(f"in bfloat16 its counter is at {count:g} after {COUNTED} steps", abs(count - COUNTED), 0.0)


def _counters(optimizer: Any) -> Iterator[float]:
    """The counters of steps that torch's own optimizers, and most others, keep in the state."""
    for fields in getattr(optimizer, "state", {}).values():
        if isinstance(fields, Mapping) and "step" in fields:
            yield float(fields["step"])


@contract("contract/compiled")
def compiled(bench: Bench) -> None:
    """Under torch.compile it steps as it does without: each parameter of one shape, and each group, by its own state.

    Asked from the standard level on, with the backend that only traces.
    """
    import torch

    if bench.context.options.level == "quick":
        raise NotApplicable("compiling takes seconds: asked from the standard level on")
    alike = bench.with_equal_shapes()
    with suppress(NotApplicable):  # not everything has an lr in its groups
        alike = alike.in_groups()
    plain, traced = alike.run(), alike.run()
    torch.compiler.reset()  # what others have compiled counts against the limit on recompilations
    step = torch.compile(traced.optimizer.step, backend="eager")
    for t in range(STEPS):
        before = [p.detach().clone() for p in plain.params]
        for run in (plain, traced):
            alike.feed(run, t)
        plain.optimizer.step()
        with _no_logging():
            step()  # type: ignore[no-untyped-call]  # torch's
        for p, q, start in zip(traced.params, plain.params, before, strict=True):
            error, way = (float((x.detach() - q.detach()).abs().max()) for x in (p, start))
            if not error <= SCALARS_IN_FLOAT32 * way:
                raise Failed(f"compiled, it is off by {error:.2g} after step {t + 1}", error, SCALARS_IN_FLOAT32 * way)


@contract("contract/late-steps")
def late_steps(bench: Bench) -> None:
    """Loaded at step 2**24, beyond what small integers and float32 count, it goes on as the rule does there."""
    if bench.target.rule == NO_RULE or "step" not in bench.target.record.State._fields or bench.problem.layers:
        raise NotApplicable("there is no rule that counts steps of parameters by themselves")
    run = bench.run()
    bench.train(run, range(STEPS // 2))
    late = copy.deepcopy(run.optimizer.state_dict())
    counters = [fields for fields in [*late["state"].values(), *late["param_groups"]] if "step" in fields]
    if not counters:
        raise NotApplicable("keeps no counter under the name step")
    for fields in counters:
        fields["step"] = fields["step"] * 0 + LATE
    fresh = bench.run(run.params)
    fresh.optimizer.load_state_dict(late)
    bench.train(fresh, range(STEPS // 2, STEPS))
    got = np.concatenate([p.detach().cpu().double().numpy().ravel() for p in fresh.params])
    worst = min(
        worst_of(got, _late_reference(bench, dialect), 2 * bench.context.allowance(bench.problem)[-1])
        for dialect in bench.context.dialects
    )
    if worst.share > 1:
        message = f"loaded at step {LATE}, it is off by {worst.error:.2g}"
        raise Failed(message, worst.error, worst.allowed)


def _late_reference(bench: Bench, dialect: str) -> Array:
    """The parameters of the rule after a run whose counters are moved half-way."""
    problem = bench.problem
    groups = problem.rule_groups(bench.target.record, dialect)
    params, states = list(problem.initial), driver.init(groups, problem.initial)
    for t, grads in enumerate(problem.gradients):
        if t == STEPS // 2:
            states = [state._replace(step=LATE) for state in states]
        params, states = driver.step(groups, params, list(grads), states, maximize=problem.maximize)
    return flatten(params)


@contextmanager
def _no_logging() -> Iterator[None]:
    """What the compiler has to say of a stranger's step is not ours to show."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contract("contract/mixed-dtypes")
def mixed_dtypes(bench: Bench) -> None:
    """Beside a parameter in bfloat16, the others step as they do without: its precision does not reach them."""
    if bench.context.pools(bench.problem) or len(bench.problem.initial) < 2:
        raise NotApplicable("pools over parameters, or has one")
    if bench.problem.layers:
        raise NotApplicable("layers are not run in bfloat16 here")
    run = bench.run([*bench.in_bfloat16().params()[:1], *bench.params()[1:]])
    bench.train(run, range(STEPS))
    _must_equal(run.params[1:], bench.finished()[1:], "the first parameter's precision reaches the others")


@contract("contract/weights-only")
def weights_only(bench: Bench) -> None:
    """The state goes through torch.save and torch.load(weights_only=True), and the run goes on bit for bit."""
    import torch

    def through_file(state: Any) -> Any:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    _must_equal(_resumed(bench, through_file), bench.finished(), "the run from the file leaves the uninterrupted one")


@contract("contract/deepcopy")
def deepcopy(bench: Bench) -> None:
    """A deep copy, made together with the parameters, goes on bit for bit, and leaves the original alone."""
    run = bench.run()
    bench.train(run, range(STEPS // 2))
    before = [p.detach().clone() for p in run.params]
    duplicate = copy.deepcopy(run)
    bench.train(duplicate, range(STEPS // 2, STEPS))
    _must_equal(run.params, before, "stepping the copy moves the original")
    _must_equal(duplicate.params, bench.finished(), "the copy leaves the original's course")
    bench.train(run, range(STEPS // 2, STEPS))
    _must_equal(run.params, bench.finished(), "the original is off course once copied")


@contract("contract/pickle")
def pickled(bench: Bench) -> None:
    """Pickled together with the parameters, an optimizer goes on bit for bit."""
    run = bench.run()
    bench.train(run, range(STEPS // 2))
    restored = pickle.loads(pickle.dumps(run))
    bench.train(restored, range(STEPS // 2, STEPS))
    _must_equal(restored.params, bench.finished(), "the restored optimizer leaves the course")


@contract("contract/gradient-untouched")
def gradient_untouched(bench: Bench) -> None:
    """A step leaves p.grad as it was: with momentum and without, with decay and without, and where it maximizes."""
    plain: dict[str, Any] = {n: v for n, v in {"momentum": 0.0, "nesterov": False}.items() if n in bench.target.offers}
    undecayed: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in bench.target.offers else {}
    for other in (bench, Bench(bench.context, **plain), Bench(bench.context, **undecayed), *bench.upward()):
        run = other.run()
        for t in range(3):
            other.feed(run, t)
            given = [p.grad.clone() for p in run.params]
            run.optimizer.step()
            _must_equal([p.grad for p in run.params], given, "writes into p.grad")


@contract("contract/gradient-not-kept")
def gradient_not_kept(bench: Bench) -> None:
    """The state does not alias p.grad: zeroing gradients in place between steps changes nothing."""
    undecayed: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in bench.target.offers else {}
    for other in (bench, Bench(bench.context, **undecayed)):
        _require_own_state(other)


def _require_own_state(bench: Bench) -> None:
    run = bench.run()
    grads = [p.detach().clone() for p in run.params]
    for t in range(STEPS):
        bench.feed(run, t)
        for p, g in zip(run.params, grads, strict=True):
            p.grad = g.copy_(p.grad)
        run.optimizer.step()
        for g in grads:
            g.zero_()
    _must_equal(run.params, bench.finished(), "keeps p.grad itself as state")


@contract("contract/closure")
def closure(bench: Bench) -> None:
    """step(closure) runs the closure with gradients enabled, before the step, once, and returns its loss."""
    import torch

    run = bench.run()
    losses = []
    for t in range(STEPS):

        def evaluate(t: int = t) -> Any:
            bench.feed(run, t)
            grads = [p.grad for p in run.params]
            run.optimizer.zero_grad()
            loss = torch.stack([(p * g).sum() for p, g in zip(run.params, grads, strict=True)]).sum()
            torch.autograd.backward(loss)
            losses.append(float(loss.detach()))
            return loss

        returned = run.optimizer.step(evaluate)
        if returned is None or float(returned) != losses[-1]:
            raise Failed(f"returns {returned}, not the loss")
    if len(losses) != STEPS:
        raise Failed(f"calls the closure {len(losses)} times in {STEPS} steps")
    _must_equal(run.params, bench.finished(), "steps elsewhere with a closure")


def _in_format(bench: Bench, arrange: Callable[[Any], Any], *, gradients: bool, params: bool) -> None:
    """A run over rearranged memory stays within rounding of the plain one."""
    import torch

    plain = [p.detach() for p in bench.finished()]
    tensors = [p.detach() for p in bench.params()]
    run = bench.run([torch.nn.Parameter(arrange(p) if params else p) for p in tensors])
    for t in range(STEPS):
        bench.feed(run, t)
        for p in run.params:
            p.grad = arrange(p.grad) if gradients else p.grad
        run.optimizer.step()
    _must_be_near(bench, run.params, plain)


def _must_be_near(bench: Bench, params: Sequence[Any], expected: Sequence[Any]) -> None:
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


def _transposed(x: Any) -> Any:
    """The same tensor with its memory in reversed order of axes."""
    axes = tuple(reversed(range(x.ndim)))
    return x.permute(axes).contiguous().permute(axes)


def _channels_last(x: Any) -> Any:
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@contract("contract/transposed-parameter")
def transposed_parameter(bench: Bench) -> None:
    """Parameters whose memory is transposed step alike."""
    _in_format(bench, _transposed, gradients=True, params=True)


@contract("contract/transposed-gradient")
def transposed_gradient(bench: Bench) -> None:
    """Gradients whose memory is transposed step alike."""
    _in_format(bench, _transposed, gradients=True, params=False)


@contract("contract/channels-last")
def channels_last(bench: Bench) -> None:
    """Parameters and gradients in channels_last format step alike."""
    if not any(p.ndim == 4 for p in bench.problem.initial):
        raise NotApplicable("takes no parameter of four dimensions")
    _in_format(bench, _channels_last, gradients=True, params=True)


@contract("contract/unknown-keyword")
def unknown_keyword(bench: Bench) -> None:
    """A misspelled keyword is refused, not swallowed."""
    try:
        bench.target.start(bench.params(), bench.problem.groups, bench.problem.layers, surely_no_such_keyword=1)
    except TypeError:
        return
    raise Failed("swallows an unknown keyword")


@contract("contract/add-param-group")
def add_param_group(bench: Bench) -> None:
    """A parameter group added after the first steps is stepped as by a fresh optimizer (moved at all, if pooled)."""
    target, problem = bench.target, bench.problem
    *first, last = problem.groups[0].members
    run = target.start(bench.params(), [problem.groups[0]._replace(members=tuple(first))], problem.layers)
    bench.train(run, range(2))
    added = run.params[last]
    before = added.detach().clone()
    run.optimizer.add_param_group({"params": [added]})
    alone = target.start(bench.params(), [problem.groups[0]._replace(members=(last,))])
    for t in range(2):
        for stepper in (run, alone):
            target.feed(stepper, problem.gradients[t], problem.seen_in(t) if stepper is run else {})
            stepper.optimizer.step()
    if bool((added.detach() == before).all()):
        raise Failed("does not step the added parameter")
    if not bench.context.pools(problem):
        _must_equal([added], [alone.params[last]], "steps the added parameter otherwise than a fresh optimizer")
