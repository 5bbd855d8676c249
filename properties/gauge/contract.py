"""Checks of what torch promises of every optimizer: copies, checkpoints, closures, memory formats."""

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepgauge.properties.gauge.check import Failed, NotApplicable, check
from stepgauge.properties.gauge.examination import Examination
from stepgauge.properties.gauge.judge import shares_of
from stepgauge.properties.gauge.problem import Problem, Settings
from stepgauge.properties.gauge.target import STRANGERS, Target, described, quiet
from stepgauge.properties.gauge.tolerance import envelopes
from stepgauge.reference import Array

SHAPES = ((4, 3), (2, 3, 2, 2), (5,))
STEPS = 6


def _is_torch(target: Target) -> bool:
    return hasattr(target, "optimizer")


def contract(id: str) -> Callable[[Callable[["Bench"], None]], Callable[["Bench"], None]]:  # noqa: A002  # as in `check`
    """Register a check of a torch optimizer on a small bench; what the optimizer raises is its failure."""

    def register(body: Callable[[Bench], None]) -> Callable[[Bench], None]:
        def run(exam: Examination) -> None:
            with quiet():
                try:
                    body(Bench(exam))
                except (Failed, NotApplicable):
                    raise
                except STRANGERS as error:
                    raise Failed(f"raises {described(error)}") from error

        run.__doc__ = body.__doc__
        check(id, "contract", applies=_is_torch)(run)
        return body

    return register


class Bench:
    """Three parameters, recorded gradients, and fresh optimizers of the target over them."""

    def __init__(self, exam: Examination) -> None:
        self.target: Any = exam.target
        rng = np.random.default_rng(exam.options.seed)
        self.settings = Settings(exam.example, (0, 1, 2))
        self.initial = [rng.standard_normal(s) for s in SHAPES]
        self.gradients = [[rng.standard_normal(s) for s in SHAPES] for _ in range(STEPS)]

    def problem(self) -> Problem:
        return Problem(self.target.rule, (self.settings,), self.initial, self.gradients)

    def params(self) -> list[Any]:
        import torch

        return [torch.nn.Parameter(self.target.tensor(p)) for p in self.initial]

    def optimizer(self, params: Sequence[Any]) -> Any:
        return self.target.optimizer(params, [self.settings])

    def train(self, optimizer: Any, params: Sequence[Any], steps: Sequence[int]) -> None:
        for t in steps:
            for p, g in zip(params, self.gradients[t], strict=False):
                p.grad = self.target.tensor(g)
            optimizer.step()

    def finished(self) -> list[Any]:
        """The parameters after an undisturbed run."""
        params = self.params()
        self.train(self.optimizer(params), params, range(STEPS))
        return params


def _must_equal(params: Sequence[Any], expected: Sequence[Any], what: str) -> None:
    for p, q in zip(params, expected, strict=True):
        if not bool((p.detach() == q.detach()).all()):  # NaN included
            worst = float((p.detach() - q.detach()).abs().max())
            raise Failed(f"{what}: off by {worst:.2g}", worst, 0.0)


def _owned(optimizer: Any) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _resumed(bench: Bench, through: Callable[[Any], Any]) -> list[Any]:
    """The parameters of a run that goes on half-way in a fresh optimizer, the state having gone through something."""
    params = bench.params()
    optimizer = bench.optimizer(params)
    bench.train(optimizer, params, range(STEPS // 2))
    fresh = bench.optimizer(params)
    fresh.load_state_dict(through(optimizer.state_dict()))
    bench.train(fresh, params, range(STEPS // 2, STEPS))
    return params


@contract("contract/resume")
def resume(bench: Bench) -> None:
    """Saved and loaded into a fresh optimizer half-way, the run goes on bit for bit."""
    _must_equal(_resumed(bench, copy.deepcopy), bench.finished(), "the resumed run leaves the uninterrupted one")


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
    """A deep copy goes on bit for bit, and leaves the original alone."""
    params = bench.params()
    optimizer = bench.optimizer(params)
    bench.train(optimizer, params, range(STEPS // 2))
    before = [p.detach().clone() for p in params]
    duplicate = copy.deepcopy(optimizer)
    bench.train(duplicate, _owned(duplicate), range(STEPS // 2, STEPS))
    _must_equal(params, before, "stepping the copy moves the original")
    _must_equal(_owned(duplicate), bench.finished(), "the copy leaves the original's course")
    bench.train(optimizer, params, range(STEPS // 2, STEPS))
    _must_equal(params, bench.finished(), "the original is off course once copied")


@contract("contract/pickle")
def pickled(bench: Bench) -> None:
    """A pickled optimizer goes on bit for bit."""
    params = bench.params()
    optimizer = bench.optimizer(params)
    bench.train(optimizer, params, range(STEPS // 2))
    restored = pickle.loads(pickle.dumps(optimizer))
    bench.train(restored, _owned(restored), range(STEPS // 2, STEPS))
    _must_equal(_owned(restored), bench.finished(), "the restored optimizer leaves the course")


@contract("contract/gradient-untouched")
def gradient_untouched(bench: Bench) -> None:
    """A step leaves p.grad as it was."""
    params = bench.params()
    optimizer = bench.optimizer(params)
    for grads in bench.gradients[:3]:
        given = [bench.target.tensor(g) for g in grads]
        for p, g in zip(params, given, strict=True):
            p.grad = g.clone()
        optimizer.step()
        _must_equal([p.grad for p in params], given, "writes into p.grad")


@contract("contract/gradient-not-kept")
def gradient_not_kept(bench: Bench) -> None:
    """The state does not alias p.grad: zeroing gradients in place between steps changes nothing."""
    params = bench.params()
    optimizer = bench.optimizer(params)
    for p in params:
        p.grad = p.detach().clone()
    for grads in bench.gradients:
        for p, g in zip(params, grads, strict=True):
            p.grad.copy_(bench.target.tensor(g))
        optimizer.step()
        for p in params:
            p.grad.zero_()
    _must_equal(params, bench.finished(), "keeps p.grad itself as state")


@contract("contract/closure")
def closure(bench: Bench) -> None:
    """step(closure) runs the closure with gradients enabled, before the step, once, and returns its loss."""
    import torch

    params = bench.params()
    optimizer = bench.optimizer(params)
    losses = []
    for grads in bench.gradients:

        def evaluate(grads: Sequence[Array] = grads) -> Any:
            optimizer.zero_grad()
            loss = torch.stack([(p * bench.target.tensor(g)).sum() for p, g in zip(params, grads, strict=True)]).sum()
            torch.autograd.backward(loss)
            losses.append(float(loss.detach()))
            return loss

        returned = optimizer.step(evaluate)
        if returned is None or float(returned) != losses[-1]:
            raise Failed(f"returns {returned}, not the loss")
    if len(losses) != STEPS:
        raise Failed(f"calls the closure {len(losses)} times in {STEPS} steps")
    _must_equal(params, bench.finished(), "steps elsewhere with a closure")


def _in_format(bench: Bench, arrange: Callable[[Any], Any], *, gradients: bool, params: bool) -> None:
    """A run over rearranged memory stays within rounding of the plain one."""
    import torch

    plain = [p.detach() for p in bench.finished()]
    tensors = [bench.target.tensor(p) for p in bench.initial]
    moved = [torch.nn.Parameter(arrange(p) if params else p) for p in tensors]
    optimizer = bench.optimizer(moved)
    for grads in bench.gradients:
        for p, g in zip(moved, grads, strict=True):
            given = bench.target.tensor(g)
            p.grad = arrange(given) if gradients else given
        optimizer.step()
    allowed = 2 * envelopes(bench.problem(), bench.target.record.dialects[0], "float64")[0].allowed("float64")[-1]
    error = torch.cat([(p.detach() - q).abs().ravel() for p, q in zip(moved, plain, strict=True)]).cpu().numpy()
    worst = int(np.argmax(shares_of(error, allowed)))
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
    _in_format(bench, _channels_last, gradients=True, params=True)


@contract("contract/unknown-keyword")
def unknown_keyword(bench: Bench) -> None:
    """A misspelled keyword is refused, not swallowed."""
    try:
        bench.target.build(bench.params(), bench.settings.hyperparameters, surely_no_such_keyword=1)
    except TypeError:
        return
    raise Failed("swallows an unknown keyword")


@contract("contract/add-param-group")
def add_param_group(bench: Bench) -> None:
    """A parameter group added after the first steps is stepped as by a fresh optimizer (moved at all, if pooled)."""
    params = bench.params()
    optimizer = bench.optimizer(params[:2])
    bench.train(optimizer, params[:2], range(2))
    before = params[2].detach().clone()
    optimizer.add_param_group({"params": params[2:]})
    alone = bench.params()[2:]
    for stepper, (p,) in ((optimizer, params[2:]), (bench.optimizer(alone), alone)):
        for t in range(2):
            p.grad = bench.target.tensor(bench.gradients[t][2])
            stepper.step()
    if bool((params[2].detach() == before).all()):
        raise Failed("does not step the added parameter")
    if bench.target.record.pools_over == "nothing":
        _must_equal(params[2:], alone, "steps the added parameter otherwise than a fresh optimizer")
