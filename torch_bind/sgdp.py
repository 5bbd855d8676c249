"""SGDP in torch: see `stepgauge.reference.sgdp` for the mathematics and its source."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.projection import project
from stepgauge.torch_bind.state import Fields, zeros


def sgdp(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    momentum_buffer: Tensor,  # b, as p
    *,
    lr: float | Tensor,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    eps: float,
    delta: float,
    wd_ratio: float,
    dialect: str,
) -> tuple[Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    b = momentum * momentum_buffer + (1 - dampening) * g
    d = g + momentum * b if nesterov else b
    u, invariant = project(p, g, d, delta, eps)
    stored = u if dialect == "released" and not nesterov else b
    if weight_decay:
        decay = lr * weight_decay / (1 - momentum)
        p = torch.where(invariant, (1 - decay * wd_ratio) * p, (1 - decay) * p)
    p = p - lr * u
    return p, stored


class SGDP(RuleOptimizer):
    """SGD whose update loses its radial component on scale-invariant weights; drop-in for adamp.SGDP.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        momentum: factor of the buffer, at least 0.
        dampening: what is taken off the gradient that enters the buffer.
        weight_decay: decoupled decay, at least 0; a step shrinks the parameter by lr * weight_decay / (1 -
            momentum).
        nesterov: look ahead along the momentum.
        eps: the least norm that counts in a cosine, at least 0.
        delta: weights count as scale-invariant if their |cosine| with the gradient is below delta /
            sqrt(columns).
        wd_ratio: factor of the decay of scale-invariant weights, at least 0.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.SGDP
    update = staticmethod(sgdp)
    by_rows = True
    renamed: ClassVar[dict[str, str]] = {"momentum": "momentum_buffer"}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        momentum: float = reference.SGDP.momentum,
        dampening: float = reference.SGDP.dampening,
        weight_decay: float = reference.SGDP.weight_decay,
        nesterov: bool = reference.SGDP.nesterov,
        eps: float = reference.SGDP.eps,
        delta: float = reference.SGDP.delta,
        wd_ratio: float = reference.SGDP.wd_ratio,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            eps=eps,
            delta=delta,
            wd_ratio=wd_ratio,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.SGDP) -> Fields:
        return {"momentum_buffer": zeros}
