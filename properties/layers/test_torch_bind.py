"""Law: the torch optimizers are the rules, whichever way they compute them, and keep torch's promises."""

import copy
import inspect
import io
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.reference import Group
from stepgauge.torch_bind import stepping
from stepgauge.torch_bind.adamp import adamp
from stepgauge.torch_bind.sgd import sgd

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", {"lr": 0.1, "weight_decay": 0.1}),
    "sgd with momentum": ("sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd with nesterov": ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adamp": ("adamp", {"lr": 0.1, "weight_decay": 0.1, "delta": -1.0}),
    "adamp with nesterov": ("adamp", {"lr": 0.1, "nesterov": True, "betas": (0.7, 0.95)}),
    "adamp by layer": ("adamp", {"lr": 0.1, "weight_decay": 0.5, "wd_ratio": 0.2}),  # where the gradient is tangent
    "adamp by row": ("adamp", {"lr": 0.1, "weight_decay": 0.5, "wd_ratio": 0.2, "delta": 10.0}),
}
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
compiles = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # which the compiler itself uses
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def build(name: str, params: Any, **changes: Any) -> torch_bind.RuleOptimizer:
    rule, hyperparameters = OPTIMIZERS[name]
    return torch_bind.RULES[rule](params, **{**hyperparameters, **changes})


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def parameter(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Parameter:
    return Parameter(normal(*shape, dtype=dtype, seed=seed))


def run(optimizer: torch_bind.RuleOptimizer, *seeds: int) -> None:
    """One step for each seed, along a gradient of every parameter."""
    for seed in seeds:
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            p.grad = normal(*p.shape, dtype=p.dtype, seed=100 * seed + i)
        optimizer.step()


def everything(optimizer: torch_bind.RuleOptimizer) -> list[Tensor]:
    """The parameters and all tensors of their state."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return [p.detach() for p in params] + [x for p in params for x in optimizer.state[p].values()]


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), f"off by {(a.double() - b.double()).abs().max():.3g}"


# --- the constructor


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("sgd", ["params", "lr", "momentum", "dampening", "weight_decay", "nesterov"]),
        ("adamp", ["params", "lr", "betas", "eps", "weight_decay", "delta", "wd_ratio", "nesterov"]),
    ],
)
def test_the_signature_is_the_released_one_with_the_defaults_of_the_rule(name: str, released: list[str]) -> None:
    arguments = inspect.signature(torch_bind.RULES[name]).parameters.values()
    assert [a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD] == released
    assert {a.name: a.default for a in arguments if a.kind is not a.POSITIONAL_OR_KEYWORD} == {"maximize": False}
    defaults = {a.name: a.default for a in arguments if a.name not in ("params", "maximize")}
    assert defaults == reference.RULES[name]().hyperparameters()


INVALID = {
    "lr": (-1, r"Invalid lr: -1 \(must be at least 0 and finite\)"),
    "weight_decay": (float("nan"), "Invalid weight_decay: nan"),
    "betas": ((0.9, 1.0), r"Invalid betas: \(0.9, 1.0\)"),
    "eps": (torch.tensor(1e-8), "Invalid eps: .* Python number, not a tensor"),
}


@pytest.mark.parametrize(("key", "value", "message"), [(k, *v) for k, v in INVALID.items()])
def test_hyperparameters_are_checked_wherever_they_come_from(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP([parameter(2)], **{key: value})
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP([{"params": [parameter(2)], key: value}])
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP([{"params": [parameter(2)], key: reference.AdamP.defaults()[key]}], **{key: value})
    optimizer = torch_bind.AdamP([parameter(2)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [parameter(3)], key: value})
    assert len(optimizer.param_groups) == 1


# --- the numbers


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("maximize", [False, True])
def test_contiguous_cpu_parameters_get_the_bits_of_the_reference(name: str, dtype: Any, maximize: bool) -> None:
    shapes = [(), (7,), (4, 5), (3, 2, 3, 3), (0, 3)]
    rng = np.random.default_rng(0)
    params = [np.asarray(rng.standard_normal(s), dtype) for s in shapes]
    key, hyperparameters = OPTIMIZERS[name]
    rules = [reference.RULES[key](**{**hyperparameters, "lr": lr}) for lr in (0.1, 0.01)]
    groups = [Group(rules[0], [0, 1, 2]), Group(rules[1], [3, 4])]
    states = reference.init(groups, params)
    ours = [Parameter(torch.tensor(p)) for p in params]
    optimizer = build(name, [{"params": ours[:3]}, {"params": ours[3:], "lr": 0.01}], maximize=maximize)
    for absent in (None, 2, 3, None):
        grads = [None if i == absent else np.asarray(rng.standard_normal(s), dtype) for i, s in enumerate(shapes)]
        params, states = reference.step(groups, params, grads, states, maximize=maximize)
        for p, g in zip(ours, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        for p, expected, s in zip(ours, params, states, strict=True):
            assert p.detach().numpy().tobytes() == expected.tobytes()
            for field, value in s._asdict().items():
                if value is not None:
                    assert np.array_equal(optimizer.state[p][field].numpy(), value), field


def layouts() -> dict[str, tuple[Callable[[], Parameter], Callable[[Tensor], Tensor], bool]]:
    """How parameters and gradients may lie in memory, and whether the core can step them."""
    as_is = torch.clone
    return {
        "contiguous": (lambda: parameter(4, 6), as_is, True),
        "0-d": (lambda: parameter(), as_is, True),
        "empty": (lambda: parameter(0, 3), as_is, True),
        "float64": (lambda: parameter(4, 6, dtype=torch.float64), as_is, True),
        "bfloat16": (lambda: parameter(4, 6, dtype=torch.bfloat16), as_is, False),
        "float16": (lambda: parameter(4, 6, dtype=torch.float16), as_is, False),
        "transposed": (lambda: Parameter(normal(6, 4).t()), as_is, False),
        "a slice": (lambda: Parameter(normal(4, 12)[:, ::2]), as_is, False),
        "channels last": (lambda: Parameter(normal(4, 3, 2, 5).to(memory_format=torch.channels_last)), as_is, False),
        "a transposed gradient": (lambda: parameter(4, 6), lambda g: g.t().contiguous().t(), False),
        "an expanded gradient": (lambda: parameter(4, 6), lambda g: g[:1].expand(4, 6), False),
        "a negated view as gradient": (lambda: parameter(4, 6), lambda g: torch._neg_view(-g), False),
    }


@every_optimizer
@pytest.mark.parametrize("layout", layouts())
def test_every_layout_is_stepped_by_the_right_path_and_by_the_rule(
    name: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, lay, in_core = layouts()[layout]
    p = make()
    optimizer = build(name, [p])
    calls = count_calls(monkeypatch)
    twin = Parameter(p.detach().clone(memory_format=torch.contiguous_format).to(working_dtype(p)))
    expected = build(name, [twin])
    for seed in (1, 2, 3):
        g = lay(normal(*p.shape, dtype=p.dtype, seed=seed))
        p.grad, twin.grad = g, g.to(twin.dtype).contiguous()
        twin.data.copy_(p.data)
        optimizer.step()
        taken = len(calls)
        calls.clear()
        expected.step()
        calls.clear()
        assert taken == in_core
        unit = torch.finfo(p.dtype).eps
        torch.testing.assert_close(p.to(twin.dtype), twin, rtol=8 * unit, atol=8 * unit)
        for field, x in optimizer.state[p].items():
            assert x.dtype == (torch.float32 if field == "step" else twin.dtype)
            torch.testing.assert_close(x, expected.state[twin][field], rtol=1e-6, atol=1e-6)


def working_dtype(p: Tensor) -> torch.dtype:
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows by one for each parameter that the core steps."""
    calls: list[None] = []
    step_in_core = stepping.step_in_core

    def counted(*args: Any) -> None:
        calls.append(None)
        step_in_core(*args)

    monkeypatch.setattr(stepping, "step_in_core", counted)
    return calls


PURE: dict[str, Any] = {"sgd": sgd, "adamp": adamp}


def pure_step(name: str, p: Tensor, g: Tensor, state: Any, update: Any = None) -> Any:
    key, hyperparameters = OPTIMIZERS[name]
    rule = reference.RULES[key](**hyperparameters)
    return (update or PURE[key])(p, g, *state, **rule.hyperparameters())


def first_state(name: str, p: Tensor) -> Any:
    key = OPTIMIZERS[name][0]
    return (None,) if key == "sgd" else (torch.tensor(0.0), torch.zeros_like(p), torch.zeros_like(p))


SHAPES = [(), (5,), (4, 6), (1, 40), (40, 1), (3, 4, 2, 2)]


@every_optimizer
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tangent", [False, True])
def test_the_pure_function_is_the_rule_up_to_the_order_of_sums(
    name: str, shape: tuple[int, ...], tangent: bool
) -> None:
    key, hyperparameters = OPTIMIZERS[name]
    rule = reference.RULES[key](**hyperparameters)
    p = normal(*shape, dtype=torch.float64)
    expected, s_expected = p.numpy(), rule.init(p.numpy())
    state = first_state(name, p)
    for seed in (1, 2, 3):
        g = normal(*shape, dtype=torch.float64, seed=seed)
        g = g - (g * p).sum() / (p * p).sum() * p if tangent else g
        expected, s_expected = rule.step(expected, g.numpy(), s_expected)
        p, *state = pure_step(name, p, g, state)
        np.testing.assert_allclose(p.numpy(), expected, rtol=1e-13, atol=1e-14)
        for got, wanted in zip(state, s_expected, strict=True):
            assert (got is None) == (wanted is None)
            if got is not None:
                np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-14, atol=1e-15)


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_parameters_are_rounded_once_from_float32(name: str, dtype: torch.dtype) -> None:
    p = parameter(8, 16, dtype=dtype)
    optimizer = build(name, [p])
    key, hyperparameters = OPTIMIZERS[name]
    rule = reference.RULES[key](**hyperparameters)
    s = rule.init(p.detach().float().numpy())
    for seed in (1, 2, 3):
        before = p.detach().float().numpy()
        p.grad = normal(8, 16, dtype=dtype, seed=seed)
        optimizer.step()
        exact, s = rule.step(before, p.grad.float().numpy(), s)
        halfway = 0.5 * torch.finfo(dtype).eps * np.maximum(np.abs(exact), torch.finfo(dtype).smallest_normal)
        off = np.abs(p.detach().float().numpy() - exact)
        assert np.all(off <= halfway * (1 + 1e-3)), "more than the rounding of one store"  # 1e-3: float32's own
        for field, x in optimizer.state[p].items():
            assert x.dtype == torch.float32
            np.testing.assert_allclose(x.numpy(), getattr(s, field), rtol=1e-6, atol=1e-7)


# --- torch's promises


@every_optimizer
@every_dtype
def test_a_step_writes_in_place_and_never_the_gradient(name: str, dtype: torch.dtype) -> None:
    p = parameter(4, 6, dtype=dtype)
    optimizer = build(name, [p], maximize=True)
    run(optimizer, 1)
    places = [x.data_ptr() for x in everything(optimizer)]
    p.grad = normal(4, 6, dtype=dtype, seed=2)
    before, version = p.grad.clone(), p.grad._version
    optimizer.step()
    assert [x.data_ptr() for x in everything(optimizer)] == places
    assert torch.equal(p.grad, before)
    assert p.grad._version == version
    assert not any(x.data_ptr() == p.grad.data_ptr() for x in everything(optimizer))


@every_optimizer
@every_dtype
def test_autograd_notices_that_a_parameter_was_written(name: str, dtype: torch.dtype) -> None:
    p = parameter(4, 6, dtype=dtype)
    optimizer = build(name, [p])
    loss: Any = (p * p).sum()
    run(optimizer, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def saved_and_loaded(optimizer: torch_bind.RuleOptimizer, name: str) -> torch_bind.RuleOptimizer:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = loaded_directly(optimizer, name, torch.load(file, weights_only=True))
    assert_same(everything(other), everything(optimizer))
    return other


def loaded_directly(optimizer: torch_bind.RuleOptimizer, name: str, state: Any = None) -> torch_bind.RuleOptimizer:
    params = [Parameter(p.detach().clone()) for group in optimizer.param_groups for p in group["params"]]
    other = build(name, params, lr=0.7)
    other.load_state_dict(state or optimizer.state_dict())
    return other


COPIES: dict[str, Callable[[torch_bind.RuleOptimizer, str], torch_bind.RuleOptimizer]] = {
    "saved and loaded": saved_and_loaded,
    "loaded directly": loaded_directly,
    "deep copy": lambda optimizer, _: copy.deepcopy(optimizer),
    "pickle": lambda optimizer, _: pickle.loads(pickle.dumps(optimizer)),
}


@every_optimizer
@every_dtype
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_goes_on_bit_for_bit_and_shares_nothing(name: str, dtype: torch.dtype, how: str) -> None:
    optimizer = build(name, [parameter(4, 6, dtype=dtype), parameter(3, dtype=dtype, seed=1)])
    run(optimizer, 1, 2)
    other = COPIES[how](optimizer, name)
    before = [x.clone() for x in everything(optimizer)]
    run(other, 3, 4)
    assert_same(everything(optimizer), before)
    run(optimizer, 3, 4)
    assert_same(everything(other), everything(optimizer))


def test_hooks_on_loading_have_the_last_word() -> None:
    optimizer = build("adamp", [parameter(3, dtype=torch.bfloat16)])
    run(optimizer, 1)
    other = build("adamp", [parameter(3, dtype=torch.bfloat16)])

    def double_m(_: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
        state_dict = copy.deepcopy(state_dict)
        state_dict["state"][0]["exp_avg"] *= 2
        return state_dict

    other.register_load_state_dict_pre_hook(double_m)
    other.register_load_state_dict_post_hook(lambda o: o.state[o.param_groups[0]["params"][0]]["exp_avg_sq"].mul_(3))
    other.load_state_dict(optimizer.state_dict())
    (ours,), (theirs,) = other.state.values(), optimizer.state.values()
    assert_same([ours["exp_avg"], ours["exp_avg_sq"]], [2 * theirs["exp_avg"], 3 * theirs["exp_avg_sq"]])


def test_checkpoints_of_torch_and_of_the_released_package_load() -> None:
    p, q = parameter(4, 6), parameter(4, 6)
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    ours = torch_bind.SGD([q])
    for seed in (1, 2, 3):
        p.grad = q.grad = normal(4, 6, seed=seed)
        theirs.step()
        if seed == 1:
            q.data.copy_(p.data)
            ours.load_state_dict(theirs.state_dict())
        else:
            ours.step()
    torch.testing.assert_close(p, q)

    hyperparameters = {key: value for key, value in build("adamp", [p]).defaults.items() if key != "maximize"}
    released = {  # an integer for the step, no `maximize`
        "state": {0: {"step": 5, "exp_avg": normal(4, 6), "exp_avg_sq": normal(4, 6).square()}},
        "param_groups": [{**hyperparameters, "params": [0]}],
    }
    optimizer = torch_bind.AdamP([q])
    optimizer.load_state_dict(released)
    run(optimizer, 1)
    assert optimizer.state[q]["step"].item() == 6
    assert optimizer.param_groups[0]["maximize"] is False


def test_the_closure_runs_with_gradients_before_any_is_read() -> None:
    p = parameter(3)
    optimizer = torch_bind.SGD([p], lr=0.5)
    start = p.detach().clone()

    def closure() -> Any:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss: Any = p.square().sum() / 2
        loss.backward()
        return loss

    loss: Any = optimizer.step(closure)
    assert loss.item() == pytest.approx(start.square().sum().item() / 2)
    assert torch.equal(p.detach(), start - 0.5 * start)
    assert optimizer.step() is None


@every_optimizer
def test_parameters_without_gradient_are_left_alone(name: str) -> None:
    p, q = parameter(3), parameter(4)
    optimizer = build(name, [p, q])
    p.grad, before = torch.ones(3), q.detach().clone()
    optimizer.step()
    assert torch.equal(q.detach(), before)
    assert not optimizer.state.get(q)


def test_sgd_without_momentum_keeps_no_state() -> None:
    optimizer = build("sgd", [parameter(3)])
    run(optimizer, 1)
    assert optimizer.state_dict()["state"] == {}


def test_steps_are_counted_in_float32_on_the_cpu_whatever_the_defaults() -> None:
    p = parameter(3)
    optimizer = build("adamp", [p])
    p.grad = torch.ones(3)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    step = optimizer.state[p]["step"]
    assert (step.dtype, step.device.type, step.item()) == (torch.float32, "cpu", 1)


def sparse() -> Parameter:
    p = parameter(3, 2)
    p.grad = torch.eye(3, 2).to_sparse()
    return p


def complex_() -> Parameter:
    p = Parameter(torch.ones(3, dtype=torch.complex64))
    p.grad = torch.ones_like(p)
    return p


@pytest.mark.parametrize(
    ("make", "message"),
    [(sparse, "AdamP does not step torch.sparse_coo gradients"), (complex_, "AdamP does not step complex parameters")],
)
def test_the_unsupported_is_refused_before_anything_moves(make: Callable[[], Parameter], message: str) -> None:
    p = parameter(3)
    p.grad, before = torch.ones(3), p.detach().clone()
    with pytest.raises(RuntimeError, match=message):
        torch_bind.AdamP([p, make()]).step()
    assert torch.equal(p.detach(), before)


def linear_to_zero(optimizer: torch_bind.RuleOptimizer) -> Any:
    return torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 3, end_factor=0, total_iters=7)


def one_cycle(optimizer: torch_bind.RuleOptimizer) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=12)


def numpy_factor(optimizer: torch_bind.RuleOptimizer) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: np.float32(1 / (t + 1)))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("name", ["sgd with momentum", "adamp"])
@pytest.mark.parametrize("schedule", [linear_to_zero, one_cycle, numpy_factor])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_step_takes_the_groups_values_of_its_moment(name: str, schedule: Any, dtype: torch.dtype) -> None:
    p = parameter(3, 4, dtype=dtype)
    optimizer = build(name, [p])
    scheduler = schedule(optimizer)
    key = OPTIMIZERS[name][0]
    s = optimizer.rule().init(p.detach().numpy())
    for seed in range(10):
        before = p.detach().clone().numpy()
        group = optimizer.param_groups[0]
        values = {field: group[field] for field in reference.RULES[key].hyperparameter_names()}
        rule = reference.RULES[key](**{**values, "lr": max(0.0, float(values["lr"]))})  # LinearLR ends at -4e-20
        run(optimizer, seed)
        expected, s = rule.step(before, normal(3, 4, dtype=dtype, seed=100 * seed).numpy(), s)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=torch.finfo(dtype).eps)
        scheduler.step()


# --- devices, compilers and shards


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_step_in_torch_never_asks_for_a_value(name: str, dtype: torch.dtype) -> None:
    with FakeTensorMode():  # where asking for one raises: on a GPU, the host would wait for the device
        params = [Parameter(torch.ones(shape, dtype=dtype)) for shape in SHAPES]
        optimizer = build(name, params, maximize=True)
        for _ in range(2):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
        with pytest.raises(DataDependentOutputException):
            float(params[0])


@every_optimizer
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_pure_function_stays_on_its_device(name: str, shape: tuple[int, ...]) -> None:
    with FakeTensorMode():  # knows GPUs even where there is none
        p = torch.ones(shape, device="cuda")
        state = first_state(name, p)
        for _ in range(2):
            p, *state = pure_step(name, p, torch.ones_like(p), state)
        assert (p.device.type, p.dtype) == ("cuda", torch.float32)
        for x in state:
            assert x is None or x.device.type == "cuda" or (x is state[0] and "adamp" in name), "all but the step"


@pytest.fixture
def one_rank(tmp_path: Any) -> Iterator[Any]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@every_optimizer
def test_dtensors_take_the_path_of_torch(name: str, one_rank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p, twin = Parameter(distribute_tensor(normal(4, 6), one_rank, [Shard(0)])), parameter(4, 6)
    sharded, whole = build(name, [p]), build(name, [twin])
    calls = count_calls(monkeypatch)
    for seed in (1, 2):
        p.grad = distribute_tensor(normal(4, 6, seed=seed), one_rank, [Shard(0)])
        sharded.step()
        assert not calls
        twin.grad = normal(4, 6, seed=seed)
        whole.step()
        calls.clear()
    for a, b in zip(everything(sharded), everything(whole), strict=True):
        assert isinstance(a, DTensor) or a.shape == ()
        torch.testing.assert_close(a.full_tensor() if isinstance(a, DTensor) else a, b)


SHARDINGS: list[list[Placement]] = [[Shard(0)], [Shard(1)], [Replicate()]]


def step_sharded(rank: int, world: int, file: str) -> None:
    """Run by each rank: sharded steps equal the whole ones."""
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    for name in OPTIMIZERS:
        for placements in SHARDINGS:
            p, twin = Parameter(distribute_tensor(normal(5, 6), mesh, placements)), parameter(5, 6)
            sharded, whole = build(name, [p]), build(name, [twin])
            for seed in (1, 2, 3):
                g, w = normal(5, 6, seed=seed), twin.detach()
                twin.grad = g - (g * w).sum() / (w * w).sum() * w  # so that the layer is found where the rows are not
                p.grad = distribute_tensor(twin.grad, mesh, placements)
                sharded.step()
                whole.step()
            for a, b in zip(everything(sharded), everything(whole), strict=True):
                torch.testing.assert_close(a.full_tensor() if isinstance(a, DTensor) else a, b)
    dist.destroy_process_group()


@pytest.mark.slow
def test_sharded_steps_equal_whole_ones(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from stepgauge.properties.layers import (
        test_torch_bind as importable,  # by the other processes, unlike pytest's module
    )

    spawn(importable.step_sharded, args=(2, os.fspath(tmp_path / "rendezvous")), nprocs=2)  # type: ignore[no-untyped-call]


@pytest.mark.slow
@compiles
@every_optimizer
@pytest.mark.parametrize("shape", [(), (4, 6), (3, 4, 2, 2)], ids=str)
def test_the_pure_function_compiles_whole(name: str, shape: tuple[int, ...]) -> None:
    torch.compiler.reset()
    key = OPTIMIZERS[name][0]
    compiled = torch.compile(PURE[key], fullgraph=True, dynamic=False)
    p = q = normal(*shape)
    s = r = first_state(name, p)
    for seed in (1, 2, 3):
        g = normal(*shape, seed=seed)
        p, *s = pure_step(name, p, g, s)
        q, *r = pure_step(name, q, g, r, compiled)
        torch.testing.assert_close(q, p)
        for a, b in zip(r, s, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b)


@pytest.mark.slow
@compiles
@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_compiled_step_is_the_step(name: str, dtype: torch.dtype) -> None:
    torch.compiler.reset()
    params, twins = ([parameter(4, 6, dtype=dtype), parameter(3, dtype=dtype)] for _ in range(2))
    ours, compiled = build(name, params), build(name, twins)
    step = torch.compile(compiled.step)
    for seed in (1, 2, 3):
        run(ours, seed)
        for p, q in zip(params, twins, strict=True):
            q.grad = p.grad
        step()
    for a, b in zip(everything(compiled), everything(ours), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.gpu
@every_optimizer
@every_dtype
def test_a_gpu_steps_as_the_cpu_and_is_never_waited_for(name: str, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shapes = [(), (5,), (4, 6), (3, 4, 2, 2)]
    ours = build(name, [parameter(*shape, dtype=dtype) for shape in shapes])
    theirs = build(name, [Parameter(parameter(*shape, dtype=dtype).detach().cuda()) for shape in shapes])
    for seed in (1, 2, 3):
        run(ours, seed)
        for p, q in zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
            q.grad = p.grad.cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            theirs.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for a, b in zip(everything(theirs), everything(ours), strict=True):
        torch.testing.assert_close(a.cpu(), b)
