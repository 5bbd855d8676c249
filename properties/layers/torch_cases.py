"""What the tests of the torch bindings share: every rule in every form that its text branches on, and how it is run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.torch_bind.in_torch import Pooled, keywords
from stepgauge.torch_bind.state import unset

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", {"lr": 0.1, "weight_decay": 0.1}),
    "sgd, momentum": ("sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd, nesterov": ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": ("adam", {"lr": 0.1, "weight_decay": 0.1}),
    "adam, amsgrad": ("adam", {"lr": 0.1, "amsgrad": True, "betas": (0.7, 0.8)}),
    "adamw": ("adamw", {"lr": 0.1, "weight_decay": 0.1}),
    "rmsprop": ("rmsprop", {"lr": 0.1, "weight_decay": 0.1}),
    "rmsprop, centered": ("rmsprop", {"lr": 0.1, "centered": True, "momentum": 0.8}),
    "adamp": ("adamp", {"lr": 0.1, "weight_decay": 0.1, "delta": -1.0}),
    "adamp, nesterov": ("adamp", {"lr": 0.1, "nesterov": True, "betas": (0.7, 0.95)}),
    "adamp, by layer": ("adamp", {"lr": 0.1, "weight_decay": 0.5, "wd_ratio": 0.2}),  # where the gradient is tangent
    "adamp, by row": ("adamp", {"lr": 0.1, "weight_decay": 0.5, "wd_ratio": 0.2, "delta": 10.0}),
    "sgdp": ("sgdp", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "delta": 10.0}),
    "sgdp, nesterov": ("sgdp", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "nesterov": True}),
    "sgdp, released": ("sgdp", {"lr": 0.1, "momentum": 0.9, "delta": 10.0, "dialect": "released"}),
    "fsgdm": ("fsgdm", {"lr": 0.1, "n_stages": 3, "sigma": 7, "v_coefficient": 0.3}),
    "fsgdm, released": ("fsgdm", {"lr": 0.1, "n_stages": 3, "sigma": 7, "v_coefficient": 0.3, "dialect": "released"}),
    "lion": ("lion", {"lr": 0.1, "weight_decay": 0.1}),
    "adai": ("adai", {"lr": 0.1, "weight_decay": 0.1}),
    "adai, decoupled": ("adai", {"lr": 0.1, "weight_decay": 0.1, "decoupled": True, "dialect": "released"}),
    "adaiv2": ("adaiv2", {"lr": 0.1, "weight_decay": 0.1, "dampening": 0.3}),
    "sgd_c": ("sgd_c", {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9, "topC": 2, "kappa": 0.4}),
    "sgd_c, released": ("sgd_c", {"lr": 0.1, "topC": 3, "aggr": "mid", "dialect": "released"}),
    "sgd_c, eff": ("sgd_c", {"lr": 0.1, "topC": 2, "synced": False, "dialect": "released_eff"}),
    "rmsprop_c": ("rmsprop_c", {"lr": 0.1, "topC": 2, "aggr": "sum", "synced": False}),
    "adam_c": ("adam_c", {"lr": 0.1, "topC": 2, "weight_decay": 0.1, "amsgrad": True}),
    "adam_c, bypassed": ("adam_c", {"lr": 0.1, "topC": 2, "kappa": 0.0}),
    "adamw_c": ("adamw_c", {"lr": 0.1, "topC": 2, "aggr": "mid", "decay": 1.0}),
}
OF_EACH = {rule: name for name, (rule, _) in reversed(CASES.items())}  # one case of each rule
# Operators for one parameter of two axes, scalars on the CPU among them: what is added, every parameter pays for.
LAUNCHES = {
    "sgd": 4,
    "sgd, momentum": 5,
    "sgd, nesterov": 7,
    "adam": 27,
    "adam, amsgrad": 26,
    "adamw": 26,
    "rmsprop": 12,
    "rmsprop, centered": 17,
    "adamp": 81,
    "adamp, nesterov": 84,
    "adamp, by layer": 81,
    "adamp, by row": 81,
    "sgdp": 61,
    "sgdp, nesterov": 60,
    "sgdp, released": 58,
    "fsgdm": 16,
    "fsgdm, released": 16,
    "lion": 13,
    "adai": 45,
    "adai, decoupled": 39,
    "adaiv2": 44,
    "sgd_c": 74,
    "sgd_c, released": 218,
    "sgd_c, eff": 48,
    "rmsprop_c": 71,
    "adam_c": 89,
    "adam_c, bypassed": 72,
    "adamw_c": 87,
}
SHAPES = [(), (5,), (4, 6), (1, 40), (40, 1), (3, 4, 2, 2)]


def rule_of(name: str, **changes: Any) -> Any:
    key, hyperparameters = CASES[name]
    return reference.RULES[key](**{**hyperparameters, **changes})


def optimizer_of(name: str) -> Any:
    """The class: what its kind alone has, such as fields, is asked of it."""
    return torch_bind.RULES[CASES[name][0]]


def build(name: str, params: Any, **changes: Any) -> Any:
    rule, hyperparameters = CASES[name]
    return torch_bind.RULES[rule](params, **{**hyperparameters, **changes})


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def parameter(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Parameter:
    return Parameter(normal(*shape, dtype=dtype, seed=seed))


def params_of(optimizer: Any) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def feed(params: Sequence[Any], seed: int) -> None:
    """A gradient for every parameter, of sizes that differ from step to step."""
    for i, p in enumerate(params):
        scale = 1 + (37 * seed + 11 * i) % 7
        p.grad = (scale * normal(*p.shape, dtype=torch.float64, seed=100 * seed + i)).to(p.dtype)


def run(optimizer: Any, *seeds: int) -> None:
    """One step for each seed, along a gradient of every parameter."""
    for seed in seeds:
        feed(params_of(optimizer), seed)
        optimizer.step()


def everything(optimizer: Any) -> list[Tensor]:
    """The parameters and all tensors of their state."""
    params = params_of(optimizer)
    return [p.detach() for p in params] + [x for p in params for _, x in sorted(optimizer.state.get(p, {}).items())]


def comparable(optimizer: Any) -> list[Tensor]:
    """The same but for what the core alone keeps: how much its sum of a critical buffer has rounded."""
    params = params_of(optimizer)
    fields = [sorted(optimizer.state.get(p, {}).items()) for p in params]
    return [p.detach() for p in params] + [x for own in fields for name, x in own if name != "critical_rounded"]


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), f"off by {(a.double() - b.double()).abs().max():.3g}"


def assert_close(got: list[Tensor], expected: list[Tensor], rtol: float, atol: float) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=False)


def first_state(name: str, p: Tensor) -> list[Tensor | None]:
    """The arguments of the rule's function before the first step."""
    rule = rule_of(name)
    fields = optimizer_of(name).fields(rule)
    return [None if make is None or make is unset else make(p, rule) for make in fields.values()]


def pure_step(name: str, p: Tensor, g: Tensor, state: Sequence[Tensor | None], update: Any = None) -> Any:
    """One step of the rule's function, of a parameter that is alone in its pool."""
    optimizer, hyperparameters = optimizer_of(name), keywords(rule_of(name))
    if optimizer.statistic is not None:
        total = optimizer.statistic(p, g, *state, **hyperparameters)
        hyperparameters["pooled"] = Pooled(total, p.numel())
    return (update or optimizer.update)(p, g, *state, **hyperparameters)


def reference_fields(state: Any) -> dict[str, Any]:
    """The arrays and the count of a state of the reference, without its buffer of critical gradients."""
    base = state.base if hasattr(state, "base") else state
    return {field: value for field, value in base._asdict().items() if value is not None}


def step_sharded(rank: int, world: int, file: str) -> None:
    """Run by each rank: sharded steps equal the whole ones."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    for name in CASES:
        for placement in (Shard(0), Shard(1), Replicate()):
            ours = [Parameter(distribute_tensor(normal(5, 6, seed=i), mesh, [placement])) for i in (0, 1)]
            twins = [parameter(5, 6, seed=i) for i in (0, 1)]
            sharded, whole = build(name, ours), build(name, twins)
            for seed in (1, 2, 3, 4):
                feed(twins, seed)
                for p, twin in zip(ours, twins, strict=True):
                    g, w = torch.as_tensor(twin.grad), twin.detach()
                    twin.grad = (
                        g - (g * w).sum() / (w * w).sum() * w
                    )  # so that the layer is found where the rows are not
                    p.grad = distribute_tensor(twin.grad, mesh, [placement])
                sharded.step()
                whole.step()
            for a, b in zip(comparable(sharded), comparable(whole), strict=True):
                full = a.full_tensor() if isinstance(a, DTensor) else a
                torch.testing.assert_close(full, b, rtol=2e-5, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")  # type: ignore[misc]
    dist.destroy_process_group()


def step_fully_sharded(rank: int, world: int, file: str, names: Sequence[str]) -> None:
    """Run by each rank: a model under `fully_shard` goes the way of the whole one.

    All ranks see the same batch, so their mean is the whole model's gradient to the bit. What then differs is the order
    of sums over at most all parameters, once in a step.
    """
    import torch.distributed as dist
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def model() -> nn.Module:
        made = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()
        with torch.no_grad():
            for i, p in enumerate(made.parameters()):
                p.copy_(normal(*p.shape, dtype=torch.float64, seed=i))
        return made

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    mesh, steps = init_device_mesh("cpu", (world,)), 5
    for name in names:
        whole, sharded = model(), model()
        for layer in (sharded[0], sharded[2], sharded):  # type: ignore[index]
            fully_shard(layer, mesh=mesh)
        runs = [(one, build(name, one.parameters())) for one in (whole, sharded)]
        for seed in range(steps):
            for one, optimizer in runs:
                optimizer.zero_grad()
                one(normal(7, 6, dtype=torch.float64, seed=seed)).square().mean().backward()
                optimizer.step()
        allowed = steps * sum(p.numel() for p in whole.parameters()) * torch.finfo(torch.float64).eps
        for p, q in zip(whole.parameters(), sharded.parameters(), strict=True):
            full = q.full_tensor()  # type: ignore[attr-defined]
            assert q.to_local().shape != p.shape or rank  # type: ignore[attr-defined]
            torch.testing.assert_close(full, p, rtol=allowed, atol=allowed, msg=lambda m, n=name: f"{n}: {m}")  # type: ignore[misc]
    dist.destroy_process_group()
