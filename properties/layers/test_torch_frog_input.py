"""Law: what Frog and KFrog do not step is one clear error before anything changes; NaN goes where the rule takes it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.properties.gauge.targets.torch_optimizer import one_thread
from stepgauge.reference import Group
from stepgauge.reference.layers import Convolution, Layer, Seen

both = pytest.mark.parametrize("optimizer_of", [torch_bind.Frog, torch_bind.KFrog])
ROWS = 4


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The layers are tiny: threads would mostly wait for each other."""
    with one_thread():
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network() -> Any:
    model = nn.Sequential(nn.Conv2d(2, ROWS, 2), nn.Flatten(), nn.Linear(ROWS * 4, 2))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=k) / 4)
    return model


def backward(model: nn.Module, seed: int = 0) -> None:
    model(normal(6, 2, 3, 3, seed=seed)).square().mean().backward()


# --- what cannot be built

INVALID: dict[str, tuple[Any, str]] = {
    "lr": (-1, r"Invalid lr: -1 \(must be at least 0 and finite\)"),
    "momentum": (float("nan"), "Invalid momentum: nan"),
    "sample_size": (0, "Invalid sample_size: 0"),
    "num_iters": (1.5, "Invalid num_iters: 1.5"),
    "nesterov": (True, r"Invalid nesterov: True \(needs momentum above 0\)"),
    "dialect": ("paper", "Invalid dialect: paper"),
    "seed": (-1, "Invalid seed: -1"),
}


@both
@pytest.mark.parametrize("name", INVALID)
def test_hyperparameters_are_checked_wherever_they_come_from(optimizer_of: Any, name: str) -> None:
    value, message = INVALID[name]
    with pytest.raises(ValueError, match=message):
        optimizer_of([Parameter(normal(2))], **{name: value})
    with pytest.raises(ValueError, match=message):
        optimizer_of([{"params": [Parameter(normal(2))], name: value}])
    optimizer = optimizer_of([Parameter(normal(2))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [Parameter(normal(3))], name: value})
    assert len(optimizer.param_groups) == 1


def test_a_misspelled_hyperparameter_is_refused() -> None:
    with pytest.raises(TypeError, match="sample_sizes"):
        torch_bind.Frog([Parameter(normal(2))], sample_sizes=3)  # type: ignore[call-arg]


def unsteppable() -> dict[str, tuple[Callable[[], Any], str]]:
    twice = Parameter(normal(2))
    return {
        "complex": (lambda: [Parameter(torch.ones(2, dtype=torch.complex64))], "complex parameters: .*view_as_real"),
        "integer": (lambda: [torch.ones(2, dtype=torch.int32)], "parameters of torch.int32"),
        "meta": (lambda: [Parameter(torch.ones(2, device="meta"))], "parameters on meta"),
        "sparse": (lambda: [Parameter(torch.eye(2).to_sparse())], "parameters of torch.sparse_coo"),
        "quantised": (
            lambda: [torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)],
            "parameters of torch.qint8",
        ),
        "not initialised": (lambda: nn.LazyLinear(3).parameters(), "not initialised"),
        "twice": (lambda: [twice, twice], "must be in once"),
        "twice, by names": (lambda: [("a", twice), ("b", twice)], "must be in once"),
    }


@both
@pytest.mark.parametrize("kind", unsteppable())
@pytest.mark.filterwarnings("ignore")  # torch's, of lazy and quantised ones
def test_parameters_of_other_kinds_are_refused(optimizer_of: Any, kind: str) -> None:
    make, message = unsteppable()[kind]
    with pytest.raises(ValueError, match=message):
        optimizer_of(make())
    named = kind.endswith("by names")  # torch takes names for all groups or for none
    optimizer = optimizer_of([("known", Parameter(normal(3)))] if named else [Parameter(normal(3))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": make()})
    assert len(optimizer.param_groups) == 1


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_model_that_is_not_initialised_is_refused() -> None:
    with pytest.raises(ValueError, match="not initialised: run a forward pass first"):
        torch_bind.Frog([Parameter(normal(3))], nn.Sequential(nn.LazyLinear(3)))


def test_frozen_parameters_stay_and_named_ones_are_taken() -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = torch_bind.Frog(model.named_parameters(), model, lr=0.1)
    before = copy.deepcopy(model.state_dict())
    backward(model)
    optimizer.step()
    moved = [not torch.equal(p, before[name]) for name, p in model.named_parameters()]
    assert moved == [False, False, True, True]
    assert optimizer.param_groups[0]["param_names"][0] == "0.weight"


# --- what cannot be stepped


def with_sparse_gradient(model: Any, _: Any) -> None:
    model[2].weight.grad = model[2].weight.grad.to_sparse()


def without_bias_gradient(model: Any, _: Any) -> None:
    model[0].bias.grad = None
    model[2].bias.grad = None


def with_weight_of_another_size(model: Any, _: Any) -> None:
    model[2].weight.data = model[2].weight.data[:1]


def with_weight_of_another_dtype(model: Any, optimizer: Any) -> None:
    before, after = model[2].weight, Parameter(model[2].weight.detach().double())
    optimizer.param_groups[0]["params"][2] = model[2].weight = after
    optimizer.state[after] = optimizer.state.pop(before)
    after.grad = torch.ones_like(after)


BROKEN = [
    (with_sparse_gradient, "torch.sparse_coo gradients: make them dense", torch_bind.Frog),
    (with_sparse_gradient, "torch.sparse_coo gradients: make them dense", torch_bind.KFrog),
    (without_bias_gradient, "the bias of layer 0 has no gradient, but the rest of it has", torch_bind.Frog),
    (with_weight_of_another_size, "resized between steps", torch_bind.Frog),
    (with_weight_of_another_size, "resized between steps", torch_bind.KFrog),
    (with_weight_of_another_dtype, "weight and bias of a layer differ: torch.float64 .*float32", torch_bind.Frog),
]


@pytest.mark.parametrize(("change", "message", "optimizer_of"), BROKEN)
def test_a_step_that_cannot_be_made_changes_nothing(change: Any, message: str, optimizer_of: Any) -> None:
    model = network()
    optimizer = optimizer_of(model.parameters(), model, momentum=0.9)
    backward(model)
    optimizer.step()
    backward(model)
    change(model, optimizer)
    before = [p.detach().clone() for p in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict()["state"])
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert str(optimizer.state_dict()["state"]) == str(state)


@both
def test_one_of_several_processes_refuses_to_step_unless_told(
    optimizer_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for is_allowed in (False, True):
        model = network()
        optimizer = optimizer_of(model.parameters(), model, allow_distributed=is_allowed)
        before = model[0].weight.detach().clone()
        backward(model)
        if is_allowed:
            optimizer.step()
        else:
            with pytest.raises(RuntimeError, match=r"each of 2 processes .*allow_distributed=True"):
                optimizer.step()
        assert torch.equal(model[0].weight, before) is not is_allowed


def test_sharded_parameters_are_refused_also_if_they_are_sharded_later() -> None:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        sharded = Parameter(distribute_tensor(normal(4, 2), mesh, [Shard(0)]))
        with pytest.raises(ValueError, match="sharded parameters"):
            torch_bind.Frog([sharded])
        optimizer = torch_bind.Frog([Parameter(normal(4, 2))], nn.Module())
        optimizer.param_groups[0]["params"] = [sharded]
        sharded.grad = torch.ones_like(sharded)
        with pytest.raises(RuntimeError, match="sharded parameters"):
            optimizer.step()
    finally:
        dist.destroy_process_group()


# --- what is not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["inputs", "signals"])
@pytest.mark.parametrize("path", ["core", "torch"])
@both
def test_what_is_not_finite_goes_where_the_reference_takes_it(
    optimizer_of: Any, path: str, where: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = torch_bind.frog if optimizer_of is torch_bind.Frog else torch_bind.kfrog
    monkeypatch.setattr(module, "fits_core", lambda *_: path == "core")
    own = {"lr": 0.1, "sample_size": None}
    layer = nn.Conv2d(2, ROWS, 2).double()
    optimizer = optimizer_of(layer.parameters(), layer, **own)
    start = [p.detach().numpy().copy() for p in layer.parameters()]
    x, y = normal(3, 2, 3, 3).double(), normal(3, ROWS, 2, 2, seed=1).double()
    (x if where == "inputs" else y)[1, 0, 1, 1] = value
    layer(x).backward(y)
    grads: list[Any] = [p.grad for p in layer.parameters()]
    layers, groups = [Layer(0, 1, Convolution((2, 2)))], [Group(optimizer_of.rule(**own), [0, 1])]
    with np.errstate(all="ignore"):
        states = reference.init(groups, start, layers)
        seen = {0: Seen(x.numpy(), y.numpy())}
        expected, _ = reference.step(groups, start, [g.numpy() for g in grads], states, layers, seen)
    optimizer.step()
    for p, wanted in zip(layer.parameters(), expected, strict=True):
        finite = np.isfinite(wanted)
        assert np.array_equal(np.isfinite(p.detach().numpy()), finite)
        np.testing.assert_allclose(p.detach().numpy()[finite], wanted[finite], rtol=1e-9)
    assert not np.isfinite(expected[1]).all() or optimizer_of is torch_bind.KFrog  # whose biases are no layer's


# --- schedules


SCHEDULERS: list[Callable[[Any], Any]] = [
    lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=6),  # moves momentum, too
    lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, 0.0, total_iters=4),  # to a rounding below 0
    lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: np.float64(t / 4)),  # from 0
]


@both
@pytest.mark.parametrize("scheduler_of", SCHEDULERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_schedulers_move_hyperparameters_and_no_dtype(optimizer_of: Any, scheduler_of: Any, dtype: torch.dtype) -> None:
    model = network().to(dtype)
    optimizer = optimizer_of(model.parameters(), model, lr=0.1, momentum=0.9)
    scheduler = scheduler_of(optimizer)
    for seed in range(5):
        optimizer.zero_grad()
        model(normal(6, 2, 3, 3, seed=seed).to(dtype)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    assert all(p.dtype == dtype and bool(p.isfinite().all()) for p in model.parameters())
    assert {x.dtype for state in optimizer.state.values() for x in state.values()} == {torch.float32}


def test_lr_may_be_a_tensor_on_the_cpu() -> None:
    runs = []
    for lr in (0.1, torch.tensor(0.1, dtype=torch.float64)):
        model = network()
        optimizer = torch_bind.Frog(model.parameters(), model, lr=lr)
        backward(model)
        optimizer.step()
        runs.append([p.detach() for p in model.parameters()])
    assert all(torch.equal(p, q) for p, q in zip(*runs, strict=True))
    with pytest.raises(ValueError, match=r"Invalid lr: .*on the CPU"):
        torch_bind.Frog([Parameter(normal(2))], lr=torch.ones((), device="meta"))
    with pytest.raises(ValueError, match=r"Invalid lr: a tensor of shape \(2,\)"):
        torch_bind.Frog([Parameter(normal(2))], lr=torch.ones(2))
