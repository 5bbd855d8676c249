"""Checks of parameters in low precision, and of several precisions in one model."""

from collections.abc import Sequence
from typing import Any

from stepgauge.properties.gauge.checks.contract.bench import STEPS, Bench, contract, require_equal
from stepgauge.properties.gauge.checks.contract.counters import counters_of, counts_after
from stepgauge.properties.gauge.checks.results import Failed, NotApplicable

COUNTED = {"bfloat16": 300, "float16": STEPS}  # past 256, where a counter in bfloat16 stops; float16's is late
COARSE = 64 * 2.0**-9  # of a parameter and its way: 64 roundoffs of bfloat16, in which state may be kept, too


@contract("contract/bfloat16")
def bfloat16(bench: Bench) -> None:
    """In bfloat16 it moves, stays finite, counts its steps, and stays near its own run in float64."""
    _require_like_itself(bench, "bfloat16")


@contract("contract/float16")
def float16(bench: Bench) -> None:
    """In float16 it moves, stays finite, counts its steps, and stays near its own run in float64."""
    _require_like_itself(bench, "float16")


def _require_like_itself(bench: Bench, dtype: str) -> None:
    plain = bench.with_representable_numbers()
    exact, rounded = plain.run(), plain.in_precision(dtype).run()
    ways = [p.detach().abs() for p in exact.params]
    for t in range(STEPS):
        before = [p.detach().clone() for p in exact.params]
        plain.train(exact, [t])
        plain.train(rounded, [t])
        ways = [way + (p.detach() - q).abs() for way, p, q in zip(ways, exact.params, before, strict=True)]
    _require_near(rounded.params, exact.params, ways, dtype)
    for t in range(STEPS, COUNTED[dtype]):
        plain.feed(rounded, t % STEPS)
        rounded.optimizer.step()
    for count in counts_after(rounded.optimizer, counters_of(plain)):
        if count != COUNTED[dtype]:
            off = abs(count - COUNTED[dtype])
            raise Failed(f"in {dtype} its counter is at {count:g} after {COUNTED[dtype]} steps", off, 0.0)


def _require_near(rounded: Sequence[Any], exact: Sequence[Any], ways: Sequence[Any], dtype: str) -> None:
    """Demand that parameters in low precision are as near to those in full as their way allows."""
    for p, q, way in zip(rounded, exact, ways, strict=True):
        if bool(q.isfinite().all()) and not bool(p.isfinite().all()):
            raise Failed(f"in {dtype} it makes NaN or infinity", float("nan"), 0.0)
        shares = ((p.detach().to(q.dtype) - q.detach()).abs() / way.clamp_min(1e-300)).ravel()
        if float(shares.max()) > COARSE:
            off = f"{float(shares.max()):.0%}"
            raise Failed(f"in {dtype} it is {off} off of the way that it goes", float(shares.max()), COARSE)


@contract("contract/mixed-dtypes")
def mixed_dtypes(bench: Bench) -> None:
    """Beside a parameter in bfloat16, whichever, the others step as they do without: precision reaches nobody else."""
    if bench.context.pools(bench.problem) or len(bench.problem.initial) < 2:
        raise NotApplicable("pools over parameters, or has one")
    if bench.problem.layers:
        raise NotApplicable("layers are not run in low precision here")
    expected = bench.finished()
    for low in range(len(expected)):
        params = bench.params()
        params[low] = bench.in_precision("bfloat16").params()[low]
        run = bench.run(params)
        bench.train(run, range(STEPS))
        others = [i for i in range(len(expected)) if i != low]
        what = f"the precision of parameter {low} reaches the others"
        require_equal([run.params[i] for i in others], [expected[i] for i in others], what)
