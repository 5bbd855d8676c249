"""Lion in torch: see `stepgauge.reference.lion` for the mathematics and its source."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, zeros


def lion(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    exp_avg: Tensor,  # m, as p
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    weight_decay: float,
) -> tuple[Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    beta1, beta2 = betas
    c = beta1 * exp_avg + (1 - beta1) * g
    sign = torch.where(c.isnan(), c, c.sign())  # torch's sign of NaN is 0
    p = p - lr * (sign + weight_decay * p)
    m = beta2 * exp_avg + (1 - beta2) * g
    return p, m


class Lion(RuleOptimizer):
    """Steps by the sign of an interpolation between momentum and gradient; drop-in for lion_pytorch.Lion.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: weights of the momentum in what is stepped along, and in what is kept, in [0, 1).
        weight_decay: decoupled decay, at least 0; a step shrinks the parameter by lr * weight_decay.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.Lion
    update = staticmethod(lion)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.Lion.lr,
        betas: tuple[float, float] = reference.Lion.betas,
        weight_decay: float = reference.Lion.weight_decay,
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
            weight_decay=weight_decay,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.Lion) -> Fields:
        return {"exp_avg": zeros}
