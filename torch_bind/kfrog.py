"""K-FROG in torch: see `stepgauge.reference.kfrog` for the mathematics and its source.

The weights of Conv2d layers are preconditioned if they are in a group; all other parameters step along their momentum.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from stepgauge import core, reference
from stepgauge.reference.kfrog import DENOM_EPS
from stepgauge.torch_bind.bound import Group
from stepgauge.torch_bind.fisher import Seen, conjugate_gradients, follow_momentum, momenta, plain, total
from stepgauge.torch_bind.fisher_layers import Layer, inputs_of
from stepgauge.torch_bind.fisher_optimizer import FisherOptimizer, Plan, rule_of
from stepgauge.torch_bind.fisher_systems import System, fits_core, step_in_core


def kfrog(
    p: Tensor,  # the weights of a convolution, float32 or float64, shape (rows, cols)
    g: Tensor,  # as p
    step: Tensor,  # shape (), float32, on the CPU: steps with this one
    momentum_buffer: Tensor | None,  # M, as p; None for zeros
    y_momentum_buffer: Tensor,  # the moving average of the rows' squared signals, shape (rows, 1)
    seen: Seen,  # what the layer saw, in p's dtype
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    y_momentum: float,
    num_iters: int,
    batch_averaged: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The weights, the momentum and the average of the signals after one step; pure."""
    M, e = momenta(g, momentum_buffer, momentum, nesterov)
    B = seen.samples
    y = total((Y * Y).sum((0, 2, 3)) for Y in seen.signals)[:, None] * (B if batch_averaged else 1 / B)
    average = y_momentum * y_momentum_buffer + (1 - y_momentum) * y
    correction = (1 - y_momentum ** step.double()).to(p.dtype)
    e = e / (average / correction + eps).sqrt()
    W = conjugate_gradients(seen.inputs, [1 / B] * len(seen.inputs), e, eps, num_iters, DENOM_EPS, plain)
    variances = total(x.diagonal() for x in seen.inputs) / B
    p = p - lr * (W * variances.sqrt())
    return p, M, average


class KFrog(FisherOptimizer):
    """K-FROG, the Kronecker-factored predecessor of FROG; drop-in for the released KFrog.

    The weights of Conv2d layers of the model are preconditioned; other parameters step along their momentum. A module
    that is used several times, or several layers of one geometry that share a weight, are one layer that saw all of
    it. Samples are of all backward passes since the last step. Solves are in float32, for float64 in float64.

    Other than FROG's, its step has the scale of the loss in it: under `torch.amp.GradScaler`, which unscales gradients
    but not what layers see, it is shorter by the scale. Use bfloat16, which needs no scaler.

    On several processes each would estimate from samples of its own, so a step refuses to run there unless told.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        model: whose layers to watch; None if `attach(model)` follows.
        lr: learning rate, at least 0. A tensor on the CPU, too.
        momentum: factor of the momentum, at least 0.
        nesterov: look ahead along the momentum; needs momentum above 0.
        y_momentum: decay rate of the average of squared signals, in [0, 1).
        sample_size: samples that the inputs' moments are taken from; None for all.
        num_iters: iterations of conjugate gradients, at least 1.
        batch_averaged: whether the loss is a mean over the batch.
        skip_modules: names of modules whose parameters are no layer's.
        y_sample_size: likewise, drawn apart, for the signals.
        eps: added to the average of squared signals, and to the diagonal of the inputs' moments, at least 0.
        maximize: ascend instead of descending.
        dialect: "published", or "released", which is the same.
        seed: of the choice of samples; None for torch's, which is not drawn from.
        allow_distributed: step although torch.distributed runs several processes.

    Raises:
        ValueError: a hyperparameter is out of its range, a parameter of a kind that is not stepped, or as of `attach`:
            the rule is not defined for convolutions with groups.
    """

    rule: ClassVar[type[reference.Rule]] = reference.KFrog

    def __init__(
        self,
        params: ParamsT,
        model: nn.Module | None = None,
        lr: float | Tensor = reference.KFrog.lr,
        momentum: float = reference.KFrog.momentum,
        nesterov: bool = reference.KFrog.nesterov,
        y_momentum: float = reference.KFrog.y_momentum,
        sample_size: int | None = reference.KFrog.sample_size,
        num_iters: int = reference.KFrog.num_iters,
        batch_averaged: bool = reference.KFrog.batch_averaged,
        skip_modules: Iterable[str] | None = None,
        y_sample_size: int | None = reference.KFrog.y_sample_size,
        eps: float = reference.KFrog.eps,
        *,
        maximize: bool = False,
        dialect: str = reference.KFrog.dialects[0],
        seed: int | None = None,
        allow_distributed: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "y_momentum": y_momentum,
            "sample_size": sample_size,
            "num_iters": num_iters,
            "batch_averaged": batch_averaged,
            "y_sample_size": y_sample_size,
            "eps": eps,
            "maximize": maximize,
            "dialect": dialect,
            "seed": seed,
        }
        super().__init__(params, model, defaults, skip_modules=skip_modules, allow_distributed=allow_distributed)

    def preconditions(self, module: Any, group: Group) -> tuple[bool, bool]:
        return isinstance(module, nn.Conv2d), False

    def sample_sizes(self, group: Group) -> list[int | None]:
        return [group["sample_size"], group["y_sample_size"]]

    def require_defined(self, layer: Layer) -> None:
        if isinstance(layer.module, nn.Conv2d) and layer.module.groups > 1:
            groups = f"{layer.module.groups} of layer {layer.name}"
            raise ValueError(f"Invalid groups: {groups} (K-FROG is defined for 1 alone; name it in skip_modules)")

    def step_layer(self, system: System, plan: Plan) -> None:
        rule: Any = plan.rule
        p, g = system.matrix(system.members), system.matrix(plan.gradients(system.members))
        state = self.state[system.weight]
        if "y_momentum_buffer" not in state:
            state["y_momentum_buffer"] = p.new_zeros(len(p), 1)
        M, average = self.momentum(system), state["y_momentum_buffer"]
        parts, samples, batch = system.noted(0)
        inputs = [inputs_of(system.module, x, has_bias=False) for (x,) in parts]
        seen = Seen(inputs, [y for (y,) in system.noted(1)[0]], samples, batch)
        if fits_core(p, inputs, rule.num_iters):
            M = torch.zeros_like(p) if M is None else M
            step_in_core(rule_of(core.RULES["kfrog"], plan.group), p, g, [int(state["step"]) - 1, M, average], seen)
        else:
            left_out = ("sample_size", "y_sample_size")
            own = {name: value for name, value in rule.hyperparameters().items() if name not in left_out}
            p, M, average = kfrog(p, g, state["step"], M, average, seen, **own)
        self.store(system, p, M)
        state["y_momentum_buffer"].copy_(average)

    def step_others(self, plan: Plan) -> None:
        rule: Any = plan.rule
        for params, grads, buffers in self.with_momenta(plan):
            e = follow_momentum(grads, buffers, rule.momentum, rule.nesterov)
            torch._foreach_add_(params, e, alpha=-rule.lr)
