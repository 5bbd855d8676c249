"""SGD in torch: see `stepgauge.reference.sgd` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import Fields, unset


def sgd(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    momentum_buffer: Tensor | None,  # as p; None before the first gradient
    *,
    lr: float | Tensor,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> tuple[Tensor, Tensor | None]:
    """The parameter and the state after one step; pure."""
    g = g + weight_decay * p if weight_decay else g
    if momentum == 0:
        return p - lr * g, momentum_buffer
    b = g if momentum_buffer is None else momentum * momentum_buffer + (1 - dampening) * g
    d = g + momentum * b if nesterov else b
    p = p - lr * d
    return p, b


class SGD(RuleOptimizer):
    """SGD with momentum, as torch.optim computes it; drop-in for torch.optim.SGD.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        momentum: factor of the buffer, at least 0.
        dampening: what is taken off the gradient that enters the buffer, from the second gradient on.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        nesterov: look ahead along the momentum; needs momentum above 0 and dampening 0.
        dialect: which of the rule's dialects; by default the first one, "torch".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.SGD
    update = staticmethod(sgd)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.SGD.lr,
        momentum: float = reference.SGD.momentum,
        dampening: float = reference.SGD.dampening,
        weight_decay: float = reference.SGD.weight_decay,
        nesterov: bool = reference.SGD.nesterov,
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
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )

    @classmethod
    def fields(cls, rule: reference.SGD) -> Fields:
        return {"momentum_buffer": unset if rule.momentum else None}
