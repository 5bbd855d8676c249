"""AdamP in torch: see `stepgauge.reference.adamp` for the mathematics and its source."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.projection import project
from stepgauge.torch_bind.state import Fields, counter, zeros


def adamp(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32: steps so far
    exp_avg: Tensor,  # m, as p
    exp_avg_sq: Tensor,  # v, as p
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    delta: float,
    wd_ratio: float,
    nesterov: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    beta1, beta2 = betas
    t = (step + 1).double()  # 1 - beta**t loses half the digits of float32
    m = beta1 * exp_avg + (1 - beta1) * g
    v = beta2 * exp_avg_sq + (1 - beta2) * g * g
    denom = v.sqrt() / ((1 - beta2**t) ** 0.5).to(p.dtype) + eps
    look = beta1 * m + (1 - beta1) * g if nesterov else m
    u, invariant = project(p, g, look / denom, delta, eps)
    decay = lr * weight_decay
    decayed = torch.where(invariant, (1 - decay * wd_ratio) * p, (1 - decay) * p)
    p = decayed - (lr / (1 - beta1**t)).to(p.dtype) * u
    return p, step + 1, m, v


class AdamP(RuleOptimizer):
    """Adam whose update loses its radial component on scale-invariant weights; drop-in for adamp.AdamP.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: decay rates of the first and of the second moment, in [0, 1).
        eps: added to the denominator, and the least norm that counts in a cosine, at least 0.
        weight_decay: decoupled decay, at least 0; a step shrinks the parameter by lr * weight_decay.
        delta: weights count as scale-invariant if their |cosine| with the gradient is below delta /
            sqrt(columns).
        wd_ratio: factor of the decay of scale-invariant weights, at least 0.
        nesterov: look ahead along the momentum.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.AdamP
    update = staticmethod(adamp)
    by_rows = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.AdamP.lr,
        betas: tuple[float, float] = reference.AdamP.betas,
        eps: float = reference.AdamP.eps,
        weight_decay: float = reference.AdamP.weight_decay,
        delta: float = reference.AdamP.delta,
        wd_ratio: float = reference.AdamP.wd_ratio,
        nesterov: bool = reference.AdamP.nesterov,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            delta=delta,
            wd_ratio=wd_ratio,
            nesterov=nesterov,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.AdamP) -> Fields:
        return {"step": counter, "exp_avg": zeros, "exp_avg_sq": zeros}
