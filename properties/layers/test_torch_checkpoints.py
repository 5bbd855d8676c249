"""Law: a state goes through any copy bit for bit, those of released packages load and go on, and no other does."""

import copy
import importlib
import importlib.util
import io
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from stepgauge import torch_bind
from stepgauge.properties.layers.torch_cases import (
    CASES,
    OF_EACH,
    assert_same,
    build,
    comparable,
    everything,
    feed,
    normal,
    parameter,
    params_of,
    run,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
every_case = pytest.mark.parametrize("name", CASES)
every_rule = pytest.mark.parametrize("name", OF_EACH.values())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


# --- copies


def saved_and_loaded(optimizer: Any, name: str) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = loaded_directly(optimizer, name, torch.load(file, weights_only=True))
    assert_same(everything(other), everything(optimizer))
    return other


def loaded_directly(optimizer: Any, name: str, state: Any = None) -> Any:
    other = build(name, [Parameter(p.detach().clone()) for p in params_of(optimizer)], lr=0.7)
    other.load_state_dict(state or optimizer.state_dict())
    return other


COPIES: dict[str, Callable[[Any, str], Any]] = {
    "saved and loaded": saved_and_loaded,
    "loaded directly": loaded_directly,
    "deep copy": lambda optimizer, _: copy.deepcopy(optimizer),
    "pickle": lambda optimizer, _: pickle.loads(pickle.dumps(optimizer)),
}


@every_case
@every_dtype
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_goes_on_bit_for_bit_and_shares_nothing(name: str, dtype: torch.dtype, how: str) -> None:
    optimizer = build(name, [parameter(4, 6, dtype=dtype), parameter(3, dtype=dtype, seed=1)])
    run(optimizer, 1, 2, 3)
    other = COPIES[how](optimizer, name)
    before = [x.clone() for x in everything(optimizer)]
    run(other, 4, 5, 6, 7)
    assert_same(everything(optimizer), before)
    run(optimizer, 4, 5, 6, 7)
    assert_same(everything(other), everything(optimizer))


@every_case
def test_a_state_goes_on_beside_a_parameter_in_another_format(name: str) -> None:
    """Loaded, and so laid out anew; or in place, where the model is converted under it."""
    optimizer = build(name, [parameter(4, 3, 2, 2)])
    run(optimizer, 1, 2)
    (p,) = params_of(optimizer)
    twin = Parameter(p.detach().clone().to(memory_format=torch.channels_last))
    loaded = build(name, [twin])
    loaded.load_state_dict(optimizer.state_dict())
    converted = copy.deepcopy(optimizer)
    (q,) = params_of(converted)
    q.data = q.data.to(memory_format=torch.channels_last)
    for seed in (3, 4, 5):
        run(optimizer, seed)
        for other in (loaded, converted):
            (own,) = params_of(other)
            own.grad = p.grad.to(memory_format=torch.channels_last)
            other.step()
            torch.testing.assert_close(own.detach(), p.detach(), rtol=2e-5, atol=2e-5)
    for field, x in loaded.state[twin].items():
        if x.shape == twin.shape:
            assert x.stride() == twin.stride(), field


@every_case
def test_the_two_paths_continue_each_others_states(name: str) -> None:
    params = [parameter(4, 6), parameter(3, seed=1)]
    mixed, plain = build(name, params), build(name, [Parameter(p.detach().clone()) for p in params])
    for seed in range(1, 8):
        run(plain, seed)
        for p, q in zip(params, params_of(plain), strict=True):
            p.grad = q.grad.clone()
        if seed % 3 == 0:
            fits, mixed._fits = mixed._fits, lambda *_: False
            mixed._plan = None
            mixed.step()
            mixed._fits = fits
        else:
            mixed.step()
    for a, b in zip(comparable(mixed), comparable(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


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


# --- other packages

HEAVY = {"lr": 0.1, "momentum": 0.9}
RELEASED: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [  # theirs and its keywords, ours and its own
    ("torch.optim", "SGD", HEAVY, "SGD", {}),
    ("torch.optim", "SGD", {"lr": 0.1}, "SGD", {}),
    ("torch.optim", "Adam", {"lr": 0.1, "amsgrad": True}, "Adam", {}),
    ("torch.optim", "Adam", {"lr": 0.1, "weight_decay": 0.1}, "Adam", {}),
    ("torch.optim", "AdamW", {"lr": 0.1}, "AdamW", {}),
    ("torch.optim", "RMSprop", {"lr": 0.1, "momentum": 0.9, "centered": True}, "RMSprop", {}),
    ("torch.optim", "RMSprop", {"lr": 0.1}, "RMSprop", {}),
    ("adamp", "AdamP", {"lr": 0.1, "weight_decay": 0.1}, "AdamP", {}),
    ("adamp", "SGDP", {**HEAVY, "nesterov": True}, "SGDP", {}),
    ("adamp", "SGDP", {**HEAVY, "delta": 10.0}, "SGDP", {"dialect": "released"}),
    ("fsgdm", "FSGDM", {"lr": 0.1, "n_stages": 2, "sigma": 9}, "FSGDM", {"dialect": "released"}),
    ("lion_pytorch", "Lion", {"lr": 0.1}, "Lion", {}),
    ("timm.optim.adamp", "AdamP", {"lr": 0.1}, "AdamP", {}),
    ("timm.optim.sgdp", "SGDP", {**HEAVY, "nesterov": True}, "SGDP", {}),
    ("timm.optim.lion", "Lion", {"lr": 0.1}, "Lion", {}),
    ("pytorch_optimizer", "AdamP", {"lr": 0.1}, "AdamP", {}),
    ("pytorch_optimizer", "SGDP", {**HEAVY, "nesterov": True, "weight_decay": 0.0}, "SGDP", {}),
    ("pytorch_optimizer", "Lion", {"lr": 0.1}, "Lion", {}),
    ("pytorch_optimizer", "Adai", {"lr": 0.1}, "Adai", {}),
]


def released(module: str, name: str) -> Any:
    """A class of a package; of timm's optimizers without the rest of it, which needs torchvision."""
    parts = module.split(".")
    found = importlib.util.find_spec(parts[0])
    if found is None:
        pytest.skip(f"{parts[0]} is not installed")
    if parts[0] == "timm":
        package = ModuleType(f"{parts[0]}_{parts[1]}")
        package.__path__ = [f"{place}/{parts[1]}" for place in found.submodule_search_locations or ()]
        sys.modules[package.__name__] = package
        module = f"{package.__name__}.{parts[2]}"
    return getattr(importlib.import_module(module), name)


@pytest.mark.filterwarnings("ignore")  # of theirs
@pytest.mark.parametrize(("package", "name", "keywords", "own", "options"), RELEASED)
def test_a_state_of_a_released_package_loads_and_goes_on(
    package: str, name: str, keywords: dict[str, Any], own: str, options: dict[str, Any]
) -> None:
    params = [parameter(4, 6), parameter(5, seed=1)]
    theirs = released(package, name)(params, **keywords)
    for seed in (1, 2, 3):
        feed(params, seed)
        theirs.step()
    twins = [Parameter(p.detach().clone()) for p in params]
    ours = getattr(torch_bind, own)(twins, lr=0.7, **options)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    ours.load_state_dict(torch.load(file, weights_only=True))
    assert ours.param_groups[0]["lr"] == keywords["lr"]
    for seed in (4, 5, 6):
        feed(params, seed)
        feed(twins, seed)
        theirs.step()
        ours.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-5, atol=1e-6)
    again = getattr(torch_bind, own)([Parameter(p.detach().clone()) for p in twins], lr=0.7, **options)
    again.load_state_dict(ours.state_dict())
    assert_same(everything(again), everything(ours))


@pytest.mark.filterwarnings("ignore")  # of theirs
@pytest.mark.parametrize(
    ("package", "name", "own"), [("adamp", "AdamP", "AdamP"), ("adamp", "SGDP", "SGDP"), ("fsgdm", "FSGDM", "FSGDM")]
)
def test_a_script_for_a_released_package_runs_after_changing_its_import(package: str, name: str, own: str) -> None:
    runs = []
    for Optimizer in (released(package, name), getattr(torch_bind, own)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 5)
        )
        optimizer = Optimizer(model.parameters(), lr=0.01)
        for _ in range(5):
            loss: Any = torch.nn.functional.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.randint(5, (8,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        runs.append([p.detach() for p in model.parameters()])
    for p, q in zip(*runs, strict=True):
        torch.testing.assert_close(q, p, rtol=1e-4, atol=1e-4)


# --- what is no state of this rule and these parameters


def lacking(field: str) -> Callable[[Any], None]:
    return lambda loaded: loaded["state"][0].pop(field)


def set_to(field: str, value: Any) -> Callable[[Any], None]:
    return lambda loaded: loaded["state"][0].update({field: value})


BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("adam", lacking("exp_avg"), "parameter 0 of group 0 lacks exp_avg, which Adam keeps"),
    ("adam", lacking("step"), "parameter 0 of group 0 lacks step"),
    ("adam, amsgrad", lacking("max_exp_avg_sq"), "lacks max_exp_avg_sq"),
    ("adam", set_to("exp_avg", torch.ones(3, 4)), r"exp_avg of parameter 0 of group 0 is \(3, 4\), not \(4, 6\)"),
    ("adam", set_to("exp_avg", 0.0), "exp_avg of parameter 0 of group 0 is None, not"),
    ("sgd, momentum", set_to("exp_avg", torch.ones(4, 6)), "has exp_avg, which SGD does not keep"),
    ("adamp", lambda loaded: loaded["state"].update({7: {}}), r"has the state of \['7'\], which no group has"),
    ("adamp", lambda loaded: loaded["param_groups"].pop(), r"groups of \[\] parameters \(must be of \[2\]"),
    ("adamp", lambda loaded: loaded["param_groups"][0]["params"].pop(), r"groups of \[1\] parameters"),
    ("adamp", lambda loaded: loaded.pop("state"), "has param_groups, not state, param_groups"),
    (
        "adam_c",
        lambda loaded: loaded["param_groups"][0].update(topC=3),
        r"critical_gradients .* is \(2, 4, 6\), not \(3",
    ),
    ("adamp", lambda loaded: loaded["param_groups"][0].update(dialect="releasd"), "Invalid dialect: releasd"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), BROKEN)
def test_another_state_is_refused_before_anything_changes(
    name: str, spoil: Callable[[Any], None], message: str
) -> None:
    optimizer, source = (build(name, [parameter(4, 6), parameter(3)]) for _ in range(2))
    run(optimizer, 1)
    run(source, 2, 3)
    loaded = copy.deepcopy(source.state_dict())
    spoil(loaded)
    before = [x.clone() for x in everything(optimizer)]
    groups = copy.deepcopy([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(loaded)
    assert_same(everything(optimizer), before)
    assert groups == [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(source.state_dict())


@pytest.mark.parametrize("name", OF_EACH.values())
@pytest.mark.parametrize("other", OF_EACH.values())
def test_a_state_of_another_rule_loads_only_if_it_has_the_same_fields(name: str, other: str) -> None:
    optimizer, source = build(name, [parameter(4, 6)]), build(other, [parameter(4, 6)])
    run(source, 1, 2, 3)
    record = source.state_dict()["state"].get(0, {})
    group = {**optimizer.param_groups[0], **source.param_groups[0]}
    fields = optimizer._setting(tuple(group[n] for n in optimizer._names())).fields
    needed = {n for n, make in fields.items() if make is not None}
    if record and not needed <= record.keys() <= fields.keys():
        before = [x.clone() for x in everything(optimizer)]
        with pytest.raises(ValueError, match="Invalid state_dict: "):
            optimizer.load_state_dict(source.state_dict())
        assert_same(everything(optimizer), before)


# --- bad input


def sparse() -> Parameter:
    p = parameter(3, 2)
    p.grad = torch.eye(3, 2).to_sparse()
    return p


def resized() -> Parameter:
    p = parameter(3, 2)
    p.grad = torch.ones(3, 2)
    p.data = torch.ones(4, 2)
    return p


@every_rule
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sparse, "does not step torch.sparse_coo gradients .parameter 1 of group 0"),
        (resized, r"parameter 1 of group 0 is torch.float32 of \(4, 2\) on cpu, its gradient"),
    ],
)
def test_a_gradient_that_cannot_be_stepped_is_refused_before_anything_moves(
    name: str, make: Callable[[], Parameter], message: str
) -> None:
    p, q = parameter(3), make()
    p.grad, before = torch.ones(3), p.detach().clone()
    optimizer = build(name, [p, q])
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    assert torch.equal(p.detach(), before)
    assert not optimizer.state


@every_rule
def test_a_parameter_resized_between_steps_is_refused_before_anything_moves(name: str) -> None:
    p, q = parameter(3), parameter(4, 2)
    optimizer = build(name, [p, q])
    run(optimizer, 1, 2)
    q.data = torch.ones(5, 2)
    q.grad = torch.ones(5, 2)
    before = [x.clone() for x in everything(optimizer)]
    if not any(x.shape == (4, 2) for x in optimizer.state.get(q, {}).values()):
        pytest.skip("keeps nothing of the parameter's shape")
    with pytest.raises(RuntimeError, match=r"of parameter 1 of group 0 is \(4, 2\), not \(5, 2\): .* resized"):
        optimizer.step()
    assert_same(everything(optimizer), before)
    del optimizer.state[q]
    optimizer.step()


def quantised() -> Any:
    return Parameter(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), requires_grad=False)


BAD_PARAMETERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "complex": (lambda: Parameter(torch.ones(3, dtype=torch.complex64)), TypeError, "does not step complex parameters"),
    "integer": (lambda: Parameter(torch.ones(3, dtype=torch.int64), requires_grad=False), TypeError, "torch.int64"),
    "quantised": (quantised, TypeError, "torch.qint8 parameters"),
    "sparse": (lambda: Parameter(torch.eye(3).to_sparse()), TypeError, "torch.sparse_coo parameters: make them dense"),
}


@every_rule
@pytest.mark.parametrize("kind", BAD_PARAMETERS)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, and here all the same
def test_a_parameter_that_no_step_could_step_is_refused_at_once(name: str, kind: str) -> None:
    make, error, message = BAD_PARAMETERS[kind]
    with pytest.raises(error, match=message):
        build(name, [parameter(2), make()])
    optimizer = build(name, [parameter(2)])
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [make()]})
    assert len(optimizer.param_groups) == 1


@every_rule
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")  # which we refuse, after it
def test_a_parameter_is_in_once(name: str) -> None:
    p = parameter(2)
    with pytest.raises(ValueError, match="parameter 1 is parameter 0 again"):
        build(name, [p, p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        build(name, [{"params": [p]}, {"params": [p]}])


@every_rule
def test_parameters_without_memory_are_refused_in_a_step(name: str) -> None:
    p = Parameter(torch.ones(3, device="meta"))
    optimizer = build(name, [p])
    p.grad = torch.ones(3, device="meta")
    with pytest.raises(RuntimeError, match="does not step parameters on the meta device"):
        optimizer.step()


@pytest.mark.parametrize("name", ["adai", "sgd_c"])
def test_what_is_pooled_is_on_one_device(name: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        params = [Parameter(torch.ones(3, device=device)) for device in ("cpu", "cuda")]
        for p in params:
            p.grad = torch.ones_like(p)
        with pytest.raises(RuntimeError, match="pools over its parameters, which are on cpu, cuda:0: must be on one"):
            build(name, params).step()


@every_rule
def test_parameters_that_share_memory_are_stepped_one_after_the_other(name: str) -> None:
    base = normal(4, 3)
    p, q = Parameter(base), Parameter(base.view(12))
    optimizer = build(name, [p, q])
    for x in (p, q):
        x.grad = torch.ones_like(x)
    optimizer.step()
    assert optimizer._plan is None
    assert torch.isfinite(p.detach()).all()


@every_rule
def test_a_gradient_that_is_the_parameter_is_read_before_that_is_written(name: str) -> None:
    p, twin = parameter(4, 3), parameter(4, 3)
    optimizer, expected = build(name, [p]), build(name, [twin])
    for _ in range(2):
        p.grad, twin.grad = p.detach(), twin.detach().clone()
        optimizer.step()
        expected.step()
    assert_same(everything(optimizer), everything(expected))
