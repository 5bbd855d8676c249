"""Checks of steps: with the caller's gradients, with closures, compiled, and with new groups."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any

from stepgauge.properties.gauge.checks.contract.bench import STEPS, Bench, contract, require_equal
from stepgauge.properties.gauge.checks.results import Failed, NotApplicable
from stepgauge.properties.gauge.targets.base import NO_RULE

SCALARS_IN_FLOAT32 = 2.0**-10  # of a step: compiled, torch counts in float32, where 1 - 0.999**t keeps 13 bits
OTHER_LOSS = 8.0  # added to a loss, whose gradient stays what it is


@contract("contract/gradient-untouched")
def gradient_untouched(bench: Bench) -> None:
    """A step leaves p.grad as it was, with momentum, decay and options or without, also where it maximizes."""
    momentum = {"momentum": 0.0, "nesterov": False}
    options = {n: False for n, value in bench.context.example.items() if value is True}
    for parts in product(({}, momentum), ({}, {"weight_decay": 0.0}), ({}, options)):
        off: dict[str, Any] = {n: v for part in parts for n, v in part.items() if n in bench.target.offers}
        plain = Bench(bench.context, **off)
        for other in (plain, *plain.upward()):
            run = other.run()
            for t in range(3):
                other.feed(run, t)
                given = [p.grad.clone() for p in run.params]
                run.optimizer.step()
                require_equal([p.grad for p in run.params], given, "writes into p.grad")


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
    require_equal(run.params, bench.finished(), "keeps p.grad itself as state")


@contract("contract/closure")
def closure(bench: Bench) -> None:
    """step(closure) runs the closure with gradients enabled, before the step, once, and returns its loss."""
    params = _stepped_by_closure(bench)
    if bench.target.rule == NO_RULE:
        with_another = _stepped_by_closure(bench, OTHER_LOSS)
        if any(bool((p != q).any()) for p, q in zip(params, with_another, strict=True)):
            raise NotApplicable("how it steps depends on the loss")
    require_equal(params, bench.finished(), "steps elsewhere with a closure")


def _stepped_by_closure(bench: Bench, more: float = 0.0) -> list[Any]:
    """The parameters of a run whose gradients come from closures with such losses."""
    import torch

    run = bench.run()
    losses = []
    for t in range(STEPS):

        def evaluate(t: int = t) -> Any:
            bench.feed(run, t)
            grads = [p.grad for p in run.params]
            run.optimizer.zero_grad()
            loss = torch.stack([(p * g).sum() for p, g in zip(run.params, grads, strict=True)]).sum() + more
            torch.autograd.backward(loss)
            losses.append(float(loss.detach()))
            return loss

        returned = run.optimizer.step(evaluate)
        if returned is None or float(returned) != losses[-1]:
            raise Failed(f"returns {returned}, not the loss")
    if len(losses) != STEPS:
        raise Failed(f"calls the closure {len(losses)} times in {STEPS} steps")
    return list(run.params)


@contract("contract/compiled")
def compiled(bench: Bench) -> None:
    """Under torch.compile it steps as it does without: each parameter of one shape, and each group, by its own state,
    and with the lr that a schedule has moved.

    Asked from the standard level on, with the backend that only traces.
    """
    import torch

    if bench.context.options.level == "quick":
        raise NotApplicable("compiling takes seconds: asked from the standard level on")
    alike = bench.with_equal_shapes()
    with suppress(NotApplicable):  # not everything has an lr in its groups
        alike = alike.in_groups().scheduled()
    plain, traced = alike.run(), alike.run()
    torch.compiler.reset()  # what others have compiled counts against the limit on recompilations
    step = torch.compile(traced.optimizer.step, backend="eager")
    for t in range(STEPS):
        before = [p.detach().clone() for p in plain.params]
        for run in (plain, traced):
            alike.schedule(run, t)
            alike.feed(run, t)
        plain.optimizer.step()
        with _no_logging():
            step()  # type: ignore[no-untyped-call]  # torch's
        for p, q, start in zip(traced.params, plain.params, before, strict=True):
            error, way = (float((x.detach() - q.detach()).abs().max()) for x in (p, start))
            if not error <= SCALARS_IN_FLOAT32 * way:
                raise Failed(f"compiled, it is off by {error:.2g} after step {t + 1}", error, SCALARS_IN_FLOAT32 * way)


@contextmanager
def _no_logging() -> Iterator[None]:
    """What the compiler has to say of a stranger's step is not ours to show."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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
        require_equal([added], [alone.params[last]], "steps the added parameter otherwise than a fresh optimizer")
