"""Adam_C in torch: see `stepgauge.reference.adam_c` for the mathematics and its source."""

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from stepgauge import reference
from stepgauge.torch_bind.adam import Adam, adam
from stepgauge.torch_bind.critical import Critical, aggregate
from stepgauge.torch_bind.critical_buffer import Buffer, norm
from stepgauge.torch_bind.in_torch import Pooled


def adam_c(
    p: Tensor,  # float32 or float64, any shape
    g: Tensor,  # as p
    step: Tensor,  # these as in `adam`
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
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
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    dialect: str,
) -> tuple[Tensor | None, ...]:
    """The parameter and the state after one step; pure."""
    buffer = Buffer(critical_sum, critical_gradients, critical_keys, critical_norms, critical_order, critical_rounded)
    kappa = kappa if dialect == "published" else 1.0
    own = norm(g)
    u, buffer = aggregate(g, own, pooled.total if synced else own, buffer, aggr, kappa, decay, dialect)
    state = (step, exp_avg, exp_avg_sq, max_exp_avg_sq)
    moved = adam(p, u, *state, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
    return *moved, *buffer


class Adam_C(Critical):
    """Adam with critical gradients; drop-in for cgoptimizer.optim.Adam_C.

    The gradient is aggregated with a buffer of the largest past ones, `topC` for each parameter.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        lr: learning rate, at least 0; a tensor of one element, too.
        betas: decay rates of the first and of the second moment, in [0, 1).
        eps: added to the denominator, at least 0.
        decay: factor of the keys in every step, in (0, 1].
        kappa: weight of the buffer in the aggregation, at least 0; 0 passes it by.
        topC: capacity of the buffer, at least 1.
        weight_decay: coefficient of the parameter that is added to the gradient, at least 0.
        amsgrad: divide by the largest second moment so far.
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

    rule: ClassVar[type[reference.Rule]] = reference.Adam_C
    update = staticmethod(adam_c)
    base = Adam

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.Adam_C.lr,
        betas: tuple[float, float] = reference.Adam_C.betas,
        eps: float = reference.Adam_C.eps,
        decay: float = reference.Adam_C.decay,
        kappa: float = reference.Adam_C.kappa,
        topC: int = reference.Adam_C.topC,
        weight_decay: float = reference.Adam_C.weight_decay,
        amsgrad: bool = reference.Adam_C.amsgrad,
        aggr: str = reference.Adam_C.aggr,
        synced: bool = reference.Adam_C.synced,
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
            decay=decay,
            kappa=kappa,
            topC=topC,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            aggr=aggr,
            synced=synced,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )


class Adam_C_eff(Adam_C):
    """Adam_C with the defaults of the released Adam_C_eff, which always aggregated by "sum" with kappa 1.

    With the dialect "released_eff" the numbers are its own: of equal keys the first leaves, its sum is only updated.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = reference.Adam_C.lr,
        betas: tuple[float, float] = reference.Adam_C.betas,
        eps: float = reference.Adam_C.eps,
        decay: float = 0.99,
        kappa: float = reference.Adam_C.kappa,
        topC: int = 20,
        weight_decay: float = reference.Adam_C.weight_decay,
        amsgrad: bool = reference.Adam_C.amsgrad,
        aggr: str = "sum",
        synced: bool = reference.Adam_C.synced,
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
            decay=decay,
            kappa=kappa,
            topC=topC,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            aggr=aggr,
            synced=synced,
            dialect=dialect,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
        )
