"""Checks of memory formats: where the numbers of a tensor lie changes nothing."""

from collections.abc import Callable
from typing import Any

from stepgauge.properties.gauge.checks.contract.bench import STEPS, Bench, contract, require_near
from stepgauge.properties.gauge.checks.results import NotApplicable


def _require_like_contiguous(bench: Bench, arrange: Callable[[Any], Any], *, params: bool) -> None:
    """Demand that a run over rearranged gradients, and parameters, stays within rounding of the plain one."""
    import torch

    plain = [p.detach() for p in bench.finished()]
    tensors = [p.detach() for p in bench.params()]
    run = bench.run([torch.nn.Parameter(arrange(p) if params else p) for p in tensors])
    for t in range(STEPS):
        bench.feed(run, t)
        for p in run.params:
            p.grad = arrange(p.grad)
        run.optimizer.step()
    require_near(bench, run.params, plain)


def _transposed(x: Any) -> Any:
    """The same tensor with its memory in reversed order of axes."""
    axes = tuple(reversed(range(x.ndim)))
    return x.permute(axes).contiguous().permute(axes)


def in_channels_last(x: Any) -> Any:
    """The same tensor in channels_last format, if it is of four dimensions."""
    import torch

    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@contract("contract/transposed-parameter")
def transposed_parameter(bench: Bench) -> None:
    """Parameters whose memory is transposed step alike."""
    _require_like_contiguous(bench, _transposed, params=True)


@contract("contract/transposed-gradient")
def transposed_gradient(bench: Bench) -> None:
    """Gradients whose memory is transposed step alike."""
    _require_like_contiguous(bench, _transposed, params=False)


@contract("contract/channels-last")
def channels_last(bench: Bench) -> None:
    """Parameters and gradients in channels_last format step alike."""
    if not any(p.ndim == 4 for p in bench.problem.initial):
        raise NotApplicable("takes no parameter of four dimensions")
    _require_like_contiguous(bench, in_channels_last, params=True)
