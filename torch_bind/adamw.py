"""AdamW in torch: see `stepgauge.reference.adamw` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.adam import descended
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, zeros


def adamw(
    p: Tensor,  # these as in `adam`
    g: Tensor,
    step: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """The parameter and the state after one step; pure."""
    p = (1 - lr * weight_decay) * p
    return descended(p, g, step, exp_avg, exp_avg_sq, max_exp_avg_sq, lr, betas, eps, amsgrad)


class AdamW(RuleOptimizer):
    """Adam with decoupled decay, as torch.optim computes it; drop-in for torch.optim.AdamW.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: decay rates of the first and of the second moment, in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: decoupled decay, at least 0; a step shrinks the parameter by lr * weight_decay.
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

    rule: ClassVar[type[reference.Rule]] = reference.AdamW
    update = staticmethod(adamw)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.AdamW.lr,
        betas: tuple[float, float] = reference.AdamW.betas,
        eps: float = reference.AdamW.eps,
        weight_decay: float = reference.AdamW.weight_decay,
        amsgrad: bool = reference.AdamW.amsgrad,
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
    def fields(cls, rule: reference.AdamW) -> Fields:
        return {
            "step": counter,
            "exp_avg": zeros,
            "exp_avg_sq": zeros,
            "max_exp_avg_sq": zeros if rule.amsgrad else None,
        }
