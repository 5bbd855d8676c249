"""SGD_C in torch: see `stepgauge.reference.sgd_c` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.critical import Critical, aggregate
from stepgauge.torch_bind.critical_buffer import Buffer, norm
from stepgauge.torch_bind.in_torch import Pooled
from stepgauge.torch_bind.sgd import SGD, sgd


def sgd_c(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    momentum_buffer: Tensor | None,  # these as in `sgd`
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
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    dialect: str,
) -> tuple[Tensor | None, ...]:
    """The parameter and the state after one step; pure."""
    buffer = Buffer(critical_sum, critical_gradients, critical_keys, critical_norms, critical_order, critical_rounded)
    own = norm(g)
    weight = own + weight_decay * norm(p) if weight_decay else own
    u, buffer = aggregate(
        g + weight_decay * p, weight, pooled.total if synced else own, buffer, aggr, kappa, decay, dialect
    )
    momentum = 0.0 if kappa == 0 and dialect != "published" else momentum
    moved = sgd(
        p, u, momentum_buffer, lr=lr, momentum=momentum, dampening=dampening, weight_decay=0.0, nesterov=nesterov
    )
    return *moved, *buffer


class SGD_C(Critical):
    """SGD with critical gradients; drop-in for cgoptimizer.optim.SGD_C.

    The gradient is aggregated with a buffer of the largest past ones, `topC` for each parameter.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        kappa: weight of the buffer in the aggregation, at least 0; 0 passes it by.
        dampening: what is taken off the gradient that enters the buffer, from the second gradient on.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        momentum: factor of the buffer, at least 0.
        decay: factor of the keys in every step, in (0, 1].
        topC: capacity of the buffer, at least 1.
        aggr: "sum" adds the mean of the buffer, "mid" halves that, "mean" takes the mean of gradient and
            buffer.
        synced: key by the sum of the norms of all gradients of the group, so that its buffers hold the same
            steps.
        nesterov: look ahead along the momentum; needs momentum above 0 and dampening 0.
        dialect: which of the rule's dialects; by default the first one, "published".
        maximize: ascend instead of descending.
        foreach: step what the core does not take, such as tensors of a GPU, in one graph that torch.compile makes of
            all groups, not by one operation after the other; the core takes all parameters together anyhow.
        capturable: count the steps on the parameter's device, so that a step can be captured in a CUDA graph.

    Raises:
        ValueError: a hyperparameter is out of its range, or a parameter is there twice.
        TypeError: a parameter is not of floating-point numbers.
    """

    rule: ClassVar[type[reference.Rule]] = reference.SGD_C
    update = staticmethod(sgd_c)
    base = SGD

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.SGD_C.lr,
        kappa: float = reference.SGD_C.kappa,
        dampening: float = reference.SGD_C.dampening,
        weight_decay: float = reference.SGD_C.weight_decay,
        momentum: float = reference.SGD_C.momentum,
        decay: float = reference.SGD_C.decay,
        topC: int = reference.SGD_C.topC,
        aggr: str = reference.SGD_C.aggr,
        synced: bool = reference.SGD_C.synced,
        nesterov: bool = reference.SGD_C.nesterov,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            kappa=kappa,
            dampening=dampening,
            weight_decay=weight_decay,
            momentum=momentum,
            decay=decay,
            topC=topC,
            aggr=aggr,
            synced=synced,
            nesterov=nesterov,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )


class SGD_C_eff(SGD_C):
    """SGD_C with the defaults of the released SGD_C_eff, which always aggregated by "sum" with kappa 1.

    With the dialect "released_eff" the numbers are its own: of equal keys the first leaves, its sum is only updated.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.SGD_C.lr,
        kappa: float = reference.SGD_C.kappa,
        dampening: float = reference.SGD_C.dampening,
        weight_decay: float = reference.SGD_C.weight_decay,
        momentum: float = reference.SGD_C.momentum,
        decay: float = 0.99,
        topC: int = 20,
        aggr: str = "sum",
        synced: bool = reference.SGD_C.synced,
        nesterov: bool = reference.SGD_C.nesterov,
        *,
        dialect: str = "",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            kappa=kappa,
            dampening=dampening,
            weight_decay=weight_decay,
            momentum=momentum,
            decay=decay,
            topC=topC,
            aggr=aggr,
            synced=synced,
            nesterov=nesterov,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )
