"""FSGDM in torch: see `stepgauge.reference.fsgdm` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, unset, zeros


def fsgdm(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32: calls so far, those without a gradient included
    momentum_buffer: Tensor | None,  # m, as p; None before the first gradient of the released dialect
    *,
    lr: float | Tensor,
    weight_decay: float,
    c_scaling: float,
    v_coefficient: float,
    n_stages: int,
    sigma: int,
    dialect: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    m = d = g + weight_decay * p if weight_decay else g
    if momentum_buffer is not None:
        u = pole(step.long() + 1, c_scaling, n_stages, sigma, dialect).to(p.dtype)
        m = u * momentum_buffer + v_coefficient * d
    p = p - lr * m
    return p, step + 1, m


def pole(t: Tensor, c_scaling: float, n_stages: int, sigma: int, dialect: str) -> Tensor:
    """u_t of a count t: shape (), float64, in [0, 1)."""
    if dialect == "released":
        length = sigma // n_stages
        start = (t // length * length).double()
        return start / (start + c_scaling * sigma)
    k = (t * n_stages // sigma).double()  # in integers, as in the reference
    return k / (k + c_scaling * n_stages)


class FSGDM(RuleOptimizer):
    """Momentum whose filter narrows stage by stage; drop-in for fsgdm.FSGDM.

    A step counts also for a parameter without gradient, whose state begins with the first call.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        c_scaling: c in the pole u = k / (k + c n_stages) of stage k, above 0.
        v_coefficient: factor of the gradient that enters the buffer, at least 0.
        n_stages: number of stages, at least 1.
        sigma: number of steps of the whole training, at least n_stages.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.FSGDM
    update = staticmethod(fsgdm)
    counts_calls = True
    counts_from = 1

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.FSGDM.lr,
        weight_decay: float = reference.FSGDM.weight_decay,
        c_scaling: float = reference.FSGDM.c_scaling,
        v_coefficient: float = reference.FSGDM.v_coefficient,
        n_stages: int = reference.FSGDM.n_stages,
        sigma: int = reference.FSGDM.sigma,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            c_scaling=c_scaling,
            v_coefficient=v_coefficient,
            n_stages=n_stages,
            sigma=sigma,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.FSGDM) -> Fields:
        return {"step": counter, "momentum_buffer": unset if rule.dialect == "released" else zeros}
