"""RMSprop_C in torch: see `stepgauge.reference.rmsprop_c` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.critical import Critical, aggregate
from stepgauge.torch_bind.critical_buffer import Buffer, norm
from stepgauge.torch_bind.in_torch import Pooled
from stepgauge.torch_bind.rmsprop import RMSprop, rmsprop


def rmsprop_c(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # these as in `rmsprop`
    square_avg: Tensor,
    grad_avg: Tensor | None,
    momentum_buffer: Tensor | None,
    critical_sum: Tensor,  # these as in `Buffer`
    critical_gradients: Tensor,
    critical_keys: Tensor,
    critical_norms: Tensor,
    critical_order: Tensor,
    critical_rounded: Tensor,
    *,
    pooled: Pooled,
    aggr: str,
    kappa: float,
    topC: int,
    decay: float,
    synced: bool,
    lr: float | Tensor,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    dialect: str,
) -> tuple[Tensor | None, ...]:
    """The parameter and the state after one step; pure."""
    buffer = Buffer(critical_sum, critical_gradients, critical_keys, critical_norms, critical_order, critical_rounded)
    kappa = kappa if dialect == "published" else 1.0
    own = norm(g)
    u, buffer = aggregate(g, own, pooled.total if synced else own, buffer, aggr, kappa, decay, dialect)
    state = (step, square_avg, grad_avg, momentum_buffer)
    moved = rmsprop(
        p, u, *state, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered
    )
    return *moved, *buffer


class RMSprop_C(Critical):
    """RMSprop with critical gradients; drop-in for cgoptimizer.optim.RMSprop_C.

    The gradient is aggregated with a buffer of the largest past ones, `topC` for each parameter.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        alpha: decay rate of the mean square, in [0, 1).
        eps: added to the denominator, at least 0.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        momentum: factor of the buffer, at least 0.
        centered: divide by the root of the variance, not of the mean square.
        decay: factor of the keys in every step, in (0, 1].
        kappa: weight of the buffer in the aggregation, at least 0; 0 passes it by.
        topC: capacity of the buffer, at least 1.
        aggr: "sum" adds the mean of the buffer, "mid" halves that, "mean" takes the mean of gradient and
            buffer.
        synced: key by the sum of the norms of all gradients of the group, so that its buffers hold the same
            steps.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.RMSprop_C
    update = staticmethod(rmsprop_c)
    base = RMSprop

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.RMSprop_C.lr,
        alpha: float = reference.RMSprop_C.alpha,
        eps: float = reference.RMSprop_C.eps,
        weight_decay: float = reference.RMSprop_C.weight_decay,
        momentum: float = reference.RMSprop_C.momentum,
        centered: bool = reference.RMSprop_C.centered,
        decay: float = reference.RMSprop_C.decay,
        kappa: float = reference.RMSprop_C.kappa,
        topC: int = reference.RMSprop_C.topC,
        aggr: str = reference.RMSprop_C.aggr,
        synced: bool = reference.RMSprop_C.synced,
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
            decay=decay,
            kappa=kappa,
            topC=topC,
            aggr=aggr,
            synced=synced,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )


class RMSprop_C_eff(RMSprop_C):
    """RMSprop_C with the defaults of the released RMSprop_C_eff, which always aggregated by "sum" with kappa 1.

    With the dialect "released_eff" the numbers are its own: of equal keys the first leaves, its sum is only updated.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.RMSprop_C.lr,
        alpha: float = reference.RMSprop_C.alpha,
        eps: float = reference.RMSprop_C.eps,
        weight_decay: float = reference.RMSprop_C.weight_decay,
        momentum: float = reference.RMSprop_C.momentum,
        centered: bool = reference.RMSprop_C.centered,
        decay: float = 0.99,
        kappa: float = reference.RMSprop_C.kappa,
        topC: int = 20,
        aggr: str = "sum",
        synced: bool = reference.RMSprop_C.synced,
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
            decay=decay,
            kappa=kappa,
            topC=topC,
            aggr=aggr,
            synced=synced,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )
