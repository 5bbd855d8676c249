"""Adam in torch: see `stepgauge.reference.adam` for the mathematics and its source."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, zeros


def adam(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32: steps so far
    exp_avg: Tensor,  # m, as p
    exp_avg_sq: Tensor,  # v, as p
    max_exp_avg_sq: Tensor | None,  # the largest v so far, as p; None without amsgrad
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The parameter and the state after one step; pure."""
    g = g + weight_decay * p if weight_decay else g
    return descended(p, g, step, exp_avg, exp_avg_sq, max_exp_avg_sq, lr, betas, eps, amsgrad)


def descended(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    amsgrad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The step without decay."""
    beta1, beta2 = betas
    t = (step + 1).double()  # 1 - beta**t loses half the digits of float32
    m = beta1 * exp_avg + (1 - beta1) * g
    v = beta2 * exp_avg_sq + (1 - beta2) * g * g
    v_max = torch.maximum(max_exp_avg_sq, v) if amsgrad and max_exp_avg_sq is not None else max_exp_avg_sq
    largest = v_max if amsgrad and v_max is not None else v
    denom = largest.sqrt() / ((1 - beta2**t) ** 0.5).to(p.dtype) + eps
    p = p - (lr / (1 - beta1**t)).to(p.dtype) * (m / denom)
    return p, step + 1, m, v, v_max


class Adam(RuleOptimizer):
    """Adam, as torch.optim computes it; drop-in for torch.optim.Adam.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: decay rates of the first and of the second moment, in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        amsgrad: divide by the largest second moment so far.
        dialect: which of the rule's dialects; by default the first one, "torch".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.Adam
    update = staticmethod(adam)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.Adam.lr,
        betas: tuple[float, float] = reference.Adam.betas,
        eps: float = reference.Adam.eps,
        weight_decay: float = reference.Adam.weight_decay,
        amsgrad: bool = reference.Adam.amsgrad,
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
            amsgrad=amsgrad,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.Adam) -> Fields:
        return {
            "step": counter,
            "exp_avg": zeros,
            "exp_avg_sq": zeros,
            "max_exp_avg_sq": zeros if rule.amsgrad else None,
        }
