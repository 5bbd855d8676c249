"""FROG in torch: see `stepgauge.reference.frog` for the mathematics and its source.

A layer of the model is preconditioned if its weight is in a group: linear layers and convolutions in one and two
dimensions, of any padding and with groups, together with their biases where these are in the same group. Everything
else, and three-dimensional and transposed convolutions, steps along its momentum.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from stepgauge import core, reference
from stepgauge.torch_bind.bound import Group
from stepgauge.torch_bind.fisher import Seen, follow_momentum, guarded, momenta, natural_direction, plain
from stepgauge.torch_bind.fisher_layers import inputs_of
from stepgauge.torch_bind.fisher_optimizer import FisherOptimizer, Plan, rule_of
from stepgauge.torch_bind.fisher_systems import System, fits_core, step_in_core


def frog(
    p: Tensor,  # the weights of a layer, float32 or float64, shape (rows, cols), the last column being the bias
    g: Tensor,  # as p
    momentum_buffer: Tensor | None,  # M, as p; None for zeros
    seen: Seen,  # what the layer saw, in p's dtype
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    num_iters: int,
    tau: float,
    batch_averaged: bool,
    denom_eps: float,
    dialect: str,
) -> tuple[Tensor, Tensor]:
    """The weights and the momentum after one step; pure."""
    M, e = momenta(g, momentum_buffer, momentum, nesterov)
    scale = seen.batch**2 / seen.samples if batch_averaged else 1 / seen.samples
    divide = guarded if dialect == "published" else plain
    h = natural_direction(e, seen, scale, tau, num_iters, denom_eps, divide)
    p = (1 - lr * weight_decay) * p - lr * h
    return p, M


def frog_others(
    params: list[Tensor],  # that are no layer's, float32 or float64; overwritten
    grads: list[Tensor],  # as params
    momentum_buffers: list[Tensor] | None,  # M, as params, overwritten; None for zeros that are not kept
    *,
    lr: float,  # with its ratio
    decay: float,  # lr, without the ratio, times weight_decay
    momentum: float,
    nesterov: bool,
    coupled: float | None,  # weight_decay, where it is released, or None
) -> None:
    """The step of parameters that are no layer's, in as many launches for all of them as for one."""
    e = follow_momentum(grads, momentum_buffers, momentum, nesterov)
    if coupled is None and decay:
        torch._foreach_mul_(params, 1 - decay)
    elif coupled and e is momentum_buffers:  # into the stored momentum, too
        torch._foreach_add_(e, params, alpha=coupled)
    elif coupled:
        e = list(torch._foreach_add(e, params, alpha=coupled))
    torch._foreach_add_(params, e, alpha=-lr)


class Frog(FisherOptimizer):
    """FROG: natural gradients by rows of a layer's weights; drop-in for the released Frog.

    Linear, Conv1d and Conv2d layers of the model are preconditioned, with their biases; other parameters step along
    their momentum. A module that is used several times, or several layers of one geometry that share a weight, are one
    layer that saw all of it. `sample_size` samples of all backward passes since the last step are looked at; in a
    linear layer each position of a sequence is a sample. Solves are in float32, for float64 parameters in float64.

    On several processes each would estimate from samples of its own, so a step refuses to run there unless told.

    Args:
        params: parameters, or dictionaries of parameter groups, each with its own values of what follows.
        model: whose layers to watch; None if `attach(model)` follows.
        lr: learning rate, at least 0: the length of a row's step in the row's Fisher metric. A tensor on the CPU, too.
        lr_other_ratio: factor of lr for parameters that are no layer's, at least 0.
        momentum: factor of the momentum, at least 0.
        nesterov: look ahead along the momentum; needs momentum above 0.
        weight_decay: decoupled decay, at least 0; a step shrinks parameters by lr * weight_decay.
        sample_size: samples that the Fisher matrices are estimated from; None for all.
        num_iters: iterations of conjugate gradients, at least 1.
        tau: damping, in units of the mean diagonal of a row's Fisher matrix, at least 0.
        batch_averaged: whether the loss is a mean over the batch; matters beside denom_eps only.
        skip_modules: names of modules whose parameters are no layer's.
        denom_eps: added to denominators, at least 0; None for 0, and 1e-10 in the released dialect.
        maximize: ascend instead of descending.
        dialect: "published", or "released" for what the released code computes: Conv2d weights only are
            preconditioned, and decay of other parameters is coupled.
        seed: of the choice of samples; None for torch's, which is not drawn from.
        allow_distributed: step although torch.distributed runs several processes.

    Raises:
        ValueError: a hyperparameter is out of its range, a parameter of a kind that is not stepped, or as of `attach`.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = Frog(model.parameters(), model, lr=0.01)
    >>> model(torch.ones(16, 4)).square().mean().backward()
    >>> optimizer.step()
    """

    rule: ClassVar[type[reference.Rule]] = reference.Frog

    def __init__(
        self,
        params: ParamsT,
        model: nn.Module | None = None,
        lr: float | Tensor = reference.Frog.lr,
        lr_other_ratio: float = reference.Frog.lr_other_ratio,
        momentum: float = reference.Frog.momentum,
        nesterov: bool = reference.Frog.nesterov,
        weight_decay: float = reference.Frog.weight_decay,
        sample_size: int | None = reference.Frog.sample_size,
        num_iters: int = reference.Frog.num_iters,
        tau: float = reference.Frog.tau,
        batch_averaged: bool = reference.Frog.batch_averaged,
        skip_modules: Iterable[str] | None = None,
        denom_eps: float | None = None,
        *,
        maximize: bool = False,
        dialect: str = reference.Frog.dialects[0],
        seed: int | None = None,
        allow_distributed: bool = False,
    ) -> None:
        if denom_eps is None:
            denom_eps = 1e-10 if dialect == "released" else 0.0
        defaults = {
            "lr": lr,
            "lr_other_ratio": lr_other_ratio,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "sample_size": sample_size,
            "num_iters": num_iters,
            "tau": tau,
            "batch_averaged": batch_averaged,
            "denom_eps": denom_eps,
            "maximize": maximize,
            "dialect": dialect,
            "seed": seed,
        }
        super().__init__(params, model, defaults, skip_modules=skip_modules, allow_distributed=allow_distributed)

    def preconditions(self, module: Any, group: Group) -> tuple[bool, bool]:
        if group["dialect"] == "published":
            return True, True
        return isinstance(module, nn.Conv2d), False

    def sample_sizes(self, group: Group) -> list[int | None]:
        return [group["sample_size"]]

    def step_layer(self, system: System, plan: Plan) -> None:
        rule: Any = plan.rule
        p, g = system.matrix(system.members), system.matrix(plan.gradients(system.members))
        M = self.momentum(system)
        parts, samples, batch = system.noted(0)
        inputs = [inputs_of(system.module, x, has_bias=system.bias is not None) for x, _ in parts]
        seen = Seen(inputs, [y for _, y in parts], samples, batch)
        if fits_core(p, inputs, rule.num_iters):
            M = torch.zeros_like(p) if M is None else M
            step_in_core(rule_of(core.RULES["frog"], plan.group), p, g, [0, M], seen)
        else:
            left_out = ("sample_size", "lr_other_ratio")
            own = {name: value for name, value in rule.hyperparameters().items() if name not in left_out}
            p, M = frog(p, g, M, seen, **own, dialect=rule.dialect)
        self.store(system, p, M)

    def step_others(self, plan: Plan) -> None:
        rule: Any = plan.rule
        for params, grads, buffers in self.with_momenta(plan):
            frog_others(
                params,
                grads,
                buffers,
                lr=rule.lr * rule.lr_other_ratio,
                decay=rule.lr * rule.weight_decay,
                momentum=rule.momentum,
                nesterov=rule.nesterov,
                coupled=rule.weight_decay if rule.dialect == "released" else None,
            )
