"""AdaiV2 in torch: see `stepgauge.reference.adaiv2` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.adai import empty_product, ratio, second_moment, sum_of_v_hat
from stepgauge.torch_bind.in_torch import Pooled
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, zeros


def adaiv2(
    p: Tensor,  # these as in `adai`
    g: Tensor,
    step: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    beta1_prod: Tensor,
    *,
    pooled: Pooled,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    dampening: float,
    dialect: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The parameter and the state after one step; pure."""
    beta0 = betas[0]
    g, v, v_hat = second_moment(p, g, step, exp_avg_sq, betas, weight_decay, decoupled)
    tempered = ratio(v_hat, pooled.mean, dialect) ** (1 / (3 - 2 * dampening))
    beta1 = (1 - beta0 * tempered).clamp(0, 1 - eps)
    prod = beta1_prod * beta1
    m = beta1 * exp_avg + (1 - beta1) ** dampening * g
    if decoupled:
        p = (1 - lr * weight_decay) * p
    p = p - lr * beta0 ** (1 - dampening) * (m / (1 - prod))
    return p, step + 1, m, v, prod


class AdaiV2(RuleOptimizer):
    """Adai with a tempered inertia and a dampened momentum; drop-in for adai_optim.AdaiV2.

    The second moments are compared with their mean over all parameters of all groups that have a gradient in the step.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: beta0, at least 0, which scales the inertia, and the decay rate of the second moment, in [0, 1).
        eps: the inertia is at most 1 - eps, in (0, 1).
        weight_decay: decay, at least 0: added to the gradient or, decoupled, lr * weight_decay taken off the
            parameter.
        dampening: of the momentum, in [0, 1]; 1 is Adai.
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

    rule: ClassVar[type[reference.Rule]] = reference.AdaiV2
    update = staticmethod(adaiv2)
    statistic = staticmethod(sum_of_v_hat)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        betas: tuple[float, float] = reference.AdaiV2.betas,
        eps: float = reference.AdaiV2.eps,
        weight_decay: float = reference.AdaiV2.weight_decay,
        dampening: float = reference.AdaiV2.dampening,
        decoupled: bool = reference.AdaiV2.decoupled,
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
            dampening=dampening,
            decoupled=decoupled,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.AdaiV2) -> Fields:
        return {"step": counter, "exp_avg": zeros, "exp_avg_sq": zeros, "beta1_prod": empty_product}
