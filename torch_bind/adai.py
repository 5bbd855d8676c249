"""Adai in torch: see `stepgauge.reference.adai` for the mathematics and its source."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.in_torch import Pooled, unsharded
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, working_dtype, zeros


def adai(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32: steps so far
    exp_avg: Tensor,  # m, as p
    exp_avg_sq: Tensor,  # v, as p
    beta1_prod: Tensor,  # the product of all beta1 so far, as p
    *,
    pooled: Pooled,  # v_hat over the whole model
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    dialect: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    g, v, v_hat = second_moment(p, g, step, exp_avg_sq, betas, weight_decay, decoupled)
    beta1 = (1 - betas[0] * ratio(v_hat, pooled.mean, dialect)).clamp(0, 1 - eps)
    prod = beta1_prod * beta1
    m = beta1 * exp_avg + (1 - beta1) * g
    if decoupled:
        p = (1 - lr * weight_decay) * p
    p = p - lr * (m / (1 - prod))
    return p, step + 1, m, v, prod


def second_moment(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    exp_avg_sq: Tensor,
    betas: tuple[float, float],
    weight_decay: float,
    decoupled: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient with coupled decay, v, and v corrected for its bias."""
    beta2, t = betas[1], (step + 1).double()
    g = g if decoupled else g + weight_decay * p
    v = beta2 * exp_avg_sq + (1 - beta2) * g * g
    return g, v, v / (1 - beta2**t).to(v.dtype)


def ratio(v_hat: Tensor, v_bar: Tensor, dialect: str) -> Tensor:
    """v_hat / v_bar; no coordinate stands out where all are zero."""
    relative = v_hat / v_bar.to(v_hat.dtype)
    return relative if dialect == "released" else torch.where(v_bar == 0, 0, relative)


def empty_product(p: Tensor, rule: reference.Adai) -> Tensor:
    """Ones as p, in the dtype of the mathematics; raises ValueError if that takes the largest inertia for 1."""
    dtype = working_dtype(p)
    if rule.eps <= torch.finfo(dtype).eps / 4:
        raise ValueError(f"Invalid eps: {rule.eps} (1 - eps rounds to 1 in {str(dtype).removeprefix('torch.')})")
    return torch.ones_like(p, dtype=dtype)


def sum_of_v_hat(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    beta1_prod: Tensor,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    decoupled: bool,
    **others: object,
) -> Tensor:
    """What a parameter adds to the pool: shape (), float64."""
    _, _, v_hat = second_moment(p, g, step, exp_avg_sq, betas, weight_decay, decoupled)
    return unsharded(v_hat.sum()).double()


class Adai(RuleOptimizer):
    """Momentum whose inertia is a coordinate's own; drop-in for adai_optim.Adai, and AdaiW with `decoupled`.

    The second moments are compared with their mean over all parameters of all groups that have a gradient in the step.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: beta0, at least 0, which scales the inertia, and the decay rate of the second moment, in [0, 1).
        eps: the inertia is at most 1 - eps, in (0, 1).
        weight_decay: decay, at least 0: added to the gradient or, decoupled, lr * weight_decay taken off the
            parameter.
        decoupled: decay the parameter itself (AdaiW), and not through the gradient.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.Adai
    update = staticmethod(adai)
    statistic = staticmethod(sum_of_v_hat)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        betas: tuple[float, float] = reference.Adai.betas,
        eps: float = reference.Adai.eps,
        weight_decay: float = reference.Adai.weight_decay,
        decoupled: bool = reference.Adai.decoupled,
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
            decoupled=decoupled,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.Adai) -> Fields:
        return {"step": counter, "exp_avg": zeros, "exp_avg_sq": zeros, "beta1_prod": empty_product}
