"""RMSprop in torch: see `stepgauge.reference.rmsprop` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, counter, zeros


def rmsprop(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32: steps so far
    square_avg: Tensor,  # v, as p
    grad_avg: Tensor | None,  # a, as p; None unless centered
    momentum_buffer: Tensor | None,  # b, as p; None without momentum
    *,
    lr: float | Tensor,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """The parameter and the state after one step; pure."""
    g = g + weight_decay * p if weight_decay else g
    v = variance = alpha * square_avg + (1 - alpha) * g * g
    a, b = grad_avg, momentum_buffer
    if centered and a is not None:
        a = alpha * a + (1 - alpha) * g
        variance = v - a * a
    d = g / (variance.sqrt() + eps)
    if momentum and b is not None:
        d = b = momentum * b + d
    p = p - lr * d
    return p, step + 1, v, a, b


class RMSprop(RuleOptimizer):
    """RMSprop, as torch.optim computes it; drop-in for torch.optim.RMSprop.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        alpha: decay rate of the mean square, in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        momentum: factor of the buffer, at least 0.
        centered: divide by the root of the variance, not of the mean square.
        dialect: which of the rule's dialects; by default the first one, "torch".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.RMSprop
    update = staticmethod(rmsprop)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.RMSprop.lr,
        alpha: float = reference.RMSprop.alpha,
        eps: float = reference.RMSprop.eps,
        weight_decay: float = reference.RMSprop.weight_decay,
        momentum: float = reference.RMSprop.momentum,
        centered: bool = reference.RMSprop.centered,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.RMSprop) -> Fields:
        return {
            "step": counter,
            "square_avg": zeros,
            "grad_avg": zeros if rule.centered else None,
            "momentum_buffer": zeros if rule.momentum else None,
        }
