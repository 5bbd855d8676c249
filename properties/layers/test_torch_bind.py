"""Law: the torch optimizers are the rules, whichever way they compute them, and keep torch's promises."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.properties.layers.torch_cases import (
    CASES,
    OF_EACH,
    SHAPES,
    assert_close,
    assert_same,
    build,
    comparable,
    everything,
    feed,
    first_state,
    normal,
    optimizer_of,
    parameter,
    pure_step,
    reference_fields,
    rule_of,
    run,
)
from stepgauge.reference import Group
from stepgauge.torch_bind import in_core, in_torch
from stepgauge.torch_bind.state import working_dtype

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
every_case = pytest.mark.parametrize("name", CASES)
every_rule = pytest.mark.parametrize("name", OF_EACH.values())
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


# --- the constructor

ADAM = ["lr", "betas", "eps", "weight_decay", "amsgrad"]
ADAM_C = ["lr", "betas", "eps", "decay", "kappa", "topC", "weight_decay", "amsgrad", "aggr", "synced"]
RMSPROP = ["lr", "alpha", "eps", "weight_decay", "momentum", "centered"]
SIGNATURES = {  # of the released classes, in their order
    "sgd": ["lr", "momentum", "dampening", "weight_decay", "nesterov"],
    "adam": ADAM,
    "adamw": ADAM,
    "rmsprop": RMSPROP,
    "adamp": ["lr", "betas", "eps", "weight_decay", "delta", "wd_ratio", "nesterov"],
    "sgdp": ["lr", "momentum", "dampening", "weight_decay", "nesterov", "eps", "delta", "wd_ratio"],
    "fsgdm": ["lr", "weight_decay", "c_scaling", "v_coefficient", "n_stages", "sigma"],
    "lion": ["lr", "betas", "weight_decay"],
    "adai": ["lr", "betas", "eps", "weight_decay", "decoupled"],
    "adaiv2": ["lr", "betas", "eps", "weight_decay", "dampening", "decoupled"],
    "sgd_c": ["lr", "kappa", "dampening", "weight_decay", "momentum", "decay", "topC", "aggr", "synced", "nesterov"],
    "rmsprop_c": [*RMSPROP, "decay", "kappa", "topC", "aggr", "synced"],
    "adam_c": ADAM_C,
    "adamw_c": ADAM_C,
}
OPTIONS = {"dialect": "", "maximize": False, "foreach": None, "capturable": False}


@pytest.mark.parametrize("rule", OF_EACH)
def test_the_signature_is_the_released_one_with_the_defaults_of_the_rule(rule: str) -> None:
    arguments = list(inspect.signature(torch_bind.RULES[rule]).parameters.values())
    positional = [a for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD]
    assert [a.name for a in positional] == ["params", *SIGNATURES[rule]]
    assert {a.name: a.default for a in arguments if a not in positional} == OPTIONS
    given = {a.name: a.default for a in positional[1:] if a.default is not a.empty}
    assert given == reference.RULES[rule].defaults()


@pytest.mark.parametrize("name", ["SGD_C", "RMSprop_C", "Adam_C", "AdamW_C"])
def test_the_eff_classes_are_the_others_with_the_released_defaults(name: str) -> None:
    plain, eff = getattr(torch_bind, name), getattr(torch_bind, f"{name}_eff")
    ours, theirs = (inspect.signature(one).parameters for one in (plain, eff))
    assert list(ours) == list(theirs)
    changed = {n: p.default for n, p in theirs.items() if p.default != ours[n].default}
    assert changed == {"decay": 0.99, "topC": 20} | ({} if name == "SGD_C" else {"aggr": "sum"})
    assert (eff.update, eff.rule, eff.__bases__) == (plain.update, plain.rule, (plain,))
    p, q = parameter(4, 3), parameter(4, 3)
    run(eff([p], topC=2), 1, 2, 3)
    run(plain([q], topC=2, decay=0.99, aggr="sum"), 1, 2, 3)
    assert_same([p.detach()], [q.detach()])


INVALID = {
    "lr": (-1, r"Invalid lr: -1 \(must be at least 0 and finite\)"),
    "weight_decay": (float("nan"), "Invalid weight_decay: nan"),
    "betas": ((0.9, 1.0), r"Invalid betas: \(0.9, 1.0\)"),
    "eps": (torch.tensor(1e-8), "Invalid eps: .* Python number, not a tensor"),
    "dialect": ("releasd", "Invalid dialect: releasd"),
}


@pytest.mark.parametrize(("key", "value", "message"), [(k, *v) for k, v in INVALID.items()])
def test_hyperparameters_are_checked_wherever_they_come_from(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP([parameter(2)], **{key: value})
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP([{"params": [parameter(2)], key: value}])
    with pytest.raises(ValueError, match=message):
        torch_bind.AdamP(
            [{"params": [parameter(2)], key: reference.AdamP.defaults().get(key, "published")}], **{key: value}
        )
    optimizer = torch_bind.AdamP([parameter(2)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [parameter(3)], key: value})
    assert len(optimizer.param_groups) == 1


# --- the numbers


def exact(name: str) -> bool:
    """Whether the core has the bits of the reference: not where it keeps a sum that the reference takes anew."""
    return "_c" not in name or "bypassed" in name


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("maximize", [False, True])
def test_contiguous_cpu_parameters_get_the_bits_of_the_reference(name: str, dtype: Any, maximize: bool) -> None:
    shapes = [(), (7,), (4, 5), (3, 2, 3, 3), (0, 3)]
    rng = np.random.default_rng(0)
    params = [np.asarray(rng.standard_normal(s), dtype) for s in shapes]
    groups = [Group(rule_of(name), [0, 1, 2]), Group(rule_of(name, lr=0.01), [3, 4])]
    states = reference.init(groups, params)
    ours = [Parameter(torch.tensor(p)) for p in params]
    optimizer = build(name, [{"params": ours[:3]}, {"params": ours[3:], "lr": 0.01}], maximize=maximize)
    seen: set[int] = set()
    for absent in (1, 1, 1, None, 2, 3, 0, None):  # one comes late
        grads = [None if i == absent else np.asarray(rng.standard_normal(s), dtype) for i, s in enumerate(shapes)]
        seen |= {i for i, g in enumerate(grads) if g is not None}
        params, states = reference.step(groups, params, grads, states, maximize=maximize)
        for p, g in zip(ours, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        for p, expected, s in zip(ours, params, states, strict=True):
            got = [
                p.detach().numpy(),
                *(optimizer.state[p][f].numpy() for f in optimizer.state.get(p, {}) if f in reference_fields(s)),
            ]
            wanted = [
                expected,
                *(reference_fields(s)[f] for f in optimizer.state.get(p, {}) if f in reference_fields(s)),
            ]
            for a, b in zip(got, wanted, strict=True):
                if exact(name):
                    assert np.array_equal(a, b)
                else:
                    np.testing.assert_allclose(a, b, rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)


def layouts() -> dict[str, tuple[Callable[[], Parameter], Callable[[Tensor], Tensor], str]]:
    """How parameters and gradients may lie in memory, and who steps them: rules by rows need their rows in order."""
    as_is = torch.clone
    return {
        "contiguous": (lambda: parameter(4, 6), as_is, "core"),
        "0-d": (lambda: parameter(), as_is, "core"),
        "empty": (lambda: parameter(0, 3), as_is, "core"),
        "float64": (lambda: parameter(4, 6, dtype=torch.float64), as_is, "core"),
        "bfloat16": (lambda: parameter(4, 6, dtype=torch.bfloat16), as_is, "core"),
        "float16": (lambda: parameter(4, 6, dtype=torch.float16), as_is, "torch"),
        "transposed": (lambda: Parameter(normal(6, 4).t()), lambda g: g.t().contiguous().t(), "core, not by rows"),
        "a slice": (lambda: Parameter(normal(4, 12)[:, ::2]), as_is, "torch"),
        "channels last": (lambda: Parameter(normal(4, 3, 2, 5).to(memory_format=torch.channels_last)), as_is, "core"),
        "a transposed gradient": (lambda: parameter(4, 6), lambda g: g.t().contiguous().t(), "core"),
        "an expanded gradient": (lambda: parameter(4, 6), lambda g: g[:1].expand(4, 6), "core"),
        "a negated view as gradient": (lambda: parameter(4, 6), lambda g: torch._neg_view(-g), "core"),
    }


@every_case
@pytest.mark.parametrize("layout", layouts())
def test_every_layout_is_stepped_by_the_right_path_and_by_the_rule(
    name: str, layout: str, paths: dict[str, int]
) -> None:
    make, lay, path = layouts()[layout]
    p = make()
    optimizer = build(name, [p])
    in_c = path == "core" or (path != "torch" and not optimizer.by_rows)
    twin = Parameter(p.detach().clone(memory_format=torch.contiguous_format).to(working_dtype(p)))
    expected = build(name, [twin])
    for seed in (1, 2, 3):
        g = lay(normal(*p.shape, dtype=p.dtype, seed=seed))
        p.grad, twin.grad = g, g.to(twin.dtype).contiguous()
        twin.data.copy_(p.data)
        paths.update(core=0, torch=0)
        optimizer.step()
        assert paths == ({"core": 1, "torch": 0} if in_c else {"core": 0, "torch": 1})
        expected.step()
        unit = torch.finfo(p.dtype).eps
        torch.testing.assert_close(p.to(twin.dtype), twin, rtol=8 * unit, atol=8 * unit)
        assert_close(comparable(optimizer)[1:], comparable(expected)[1:], rtol=2e-5, atol=2e-6)


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each of the two paths has been taken."""
    taken = {"core": 0, "torch": 0}

    def count(module: Any, path: str) -> None:
        step = module.step

        def counted(*args: Any, **keywords: Any) -> Any:
            taken[path] += 1
            return step(*args, **keywords)

        monkeypatch.setattr(module, "step", counted)

    count(in_core, "core")
    count(in_torch, "torch")
    return taken


@every_case
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tangent", [False, True])
def test_the_pure_function_is_the_rule_up_to_the_order_of_sums(
    name: str, shape: tuple[int, ...], tangent: bool
) -> None:
    params = [normal(*shape, dtype=torch.float64).numpy()]
    groups = [Group(rule_of(name), [0])]
    states = reference.init(groups, params)
    p = normal(*shape, dtype=torch.float64)
    state = first_state(name, p)
    for seed in range(1, 7):
        scale = 1 + 5 * (seed % 3)  # so that some gradients enter a full buffer, and some do not
        g = scale * normal(*shape, dtype=torch.float64, seed=seed)
        g = g - (g * p).sum() / (p * p).sum() * p if tangent else g
        params, states = reference.step(groups, params, [g.numpy()], states)
        p, *state = pure_step(name, p, g, state)
        np.testing.assert_allclose(p.numpy(), params[0], rtol=1e-13, atol=1e-13)
        fields = dict(zip(optimizer_of(name).fields(rule_of(name)), state, strict=True))
        for field, wanted in reference_fields(states[0]).items():
            if fields[field] is not None:
                np.testing.assert_allclose(fields[field].numpy(), wanted, rtol=1e-13, atol=1e-13)
        if hasattr(states[0], "buffer"):
            check_buffer(fields, states[0].buffer)


def check_buffer(fields: dict[str, Any], buffer: Any) -> None:
    """The slots, in order, are the entries."""
    order = fields["critical_order"][: len(buffer.entries)]
    np.testing.assert_allclose(fields["critical_keys"][order].numpy(), buffer.keys, rtol=1e-13)
    assert torch.isneginf(fields["critical_keys"]).sum() == len(fields["critical_keys"]) - len(buffer.entries)
    for slot, entry in zip(order, buffer.entries, strict=True):
        np.testing.assert_allclose(fields["critical_gradients"][slot].numpy(), entry.value, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(fields["critical_sum"].numpy(), buffer.sum, rtol=1e-12, atol=1e-12)


BAD = [float("nan"), float("inf"), -float("inf")]


@every_case
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_pure_function_takes_what_is_not_finite_where_the_rule_takes_it(name: str, bad: float) -> None:
    params = [normal(3, 4, dtype=torch.float64).numpy()]
    groups = [Group(rule_of(name), [0])]
    states = reference.init(groups, params)
    p = normal(3, 4, dtype=torch.float64)
    state = first_state(name, p)
    for seed in range(1, 7):
        g = seed * normal(3, 4, dtype=torch.float64, seed=seed)
        if seed in (2, 5):  # before a buffer is full, and after
            g[1, 2] = bad
        params, states = reference.step(groups, params, [g.numpy()], states)
        p, *state = pure_step(name, p, g, state)
        np.testing.assert_allclose(p.numpy(), params[0], rtol=1e-12, atol=1e-12)


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_parameters_are_rounded_once_from_float32(name: str, dtype: torch.dtype) -> None:
    p = parameter(8, 16, dtype=dtype)
    optimizer = build(name, [p])
    groups = [Group(rule_of(name), [0])]
    states = reference.init(groups, [p.detach().float().numpy()])
    for seed in (1, 2, 3):
        before = p.detach().float().numpy()
        p.grad = normal(8, 16, dtype=dtype, seed=seed)
        optimizer.step()
        (exactly,), states = reference.step(groups, [before], [p.grad.float().numpy()], states)
        halfway = 0.5 * torch.finfo(dtype).eps * np.maximum(np.abs(exactly), torch.finfo(dtype).smallest_normal)
        off = np.abs(p.detach().float().numpy() - exactly)
        assert np.all(off <= halfway * (1 + 1e-3) + 1e-6), "more than the rounding of one store"  # float32's own
        for x in optimizer.state.get(p, {}).values():
            assert x.dtype in (torch.float32, torch.float64, torch.int64)


# --- torch's promises


@every_case
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


@every_rule
@every_dtype
def test_autograd_notices_that_a_parameter_was_written(name: str, dtype: torch.dtype) -> None:
    p = parameter(4, 6, dtype=dtype)
    optimizer = build(name, [p])
    loss: Any = (p * p).sum()
    run(optimizer, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_rule
def test_the_closure_runs_with_gradients_before_any_is_read(name: str) -> None:
    p, twin = parameter(3), parameter(3)
    optimizer, expected = build(name, [p]), build(name, [twin])

    def closure() -> Any:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss: Any = p.square().sum() / 2
        loss.backward()
        return loss

    loss: Any = optimizer.step(closure)
    assert loss.item() == pytest.approx(twin.square().sum().item() / 2)
    twin.grad = twin.detach().clone()
    assert expected.step() is None
    assert_same(everything(optimizer), everything(expected))


@every_case
def test_parameters_without_gradient_are_left_alone(name: str) -> None:
    p, q = parameter(3), parameter(4)
    optimizer = build(name, [p, q])
    p.grad, before = torch.ones(3), q.detach().clone()
    optimizer.step()
    assert torch.equal(q.detach(), before)
    assert set(optimizer.state.get(q, {})) <= ({"step", "momentum_buffer"} if optimizer.counts_calls else set())


@every_case
def test_gradients_that_come_and_go_are_stepped_as_ever(name: str) -> None:
    """Whether a plan over some of the parameters is at hand, or has to be made anew."""
    shapes = [(4, 3), (5,), (2, 2)]
    params, twins = ([parameter(*s, seed=i) for i, s in enumerate(shapes)] for _ in range(2))
    optimizer, expected = build(name, params), build(name, twins)
    for seed, absent in enumerate([(2,), (2,), (1, 2), (), (0, 2), (0, 1, 2), (1,), ()]):
        for own in (params, twins):
            feed(own, seed)
            for i in absent:
                own[i].grad = None
        optimizer.step()
        expected._plan = None
        expected.step()
        assert_same(everything(optimizer), everything(expected))


@every_rule
def test_what_is_replaced_between_steps_is_noticed(name: str) -> None:
    """A parameter's memory, a field of the state or its memory, the whole state: none is written where it was."""
    p, q = parameter(4, 3), parameter(4, 3)
    optimizer, expected = build(name, [p]), build(name, [q])
    run(optimizer, 1), run(expected, 1)  # type: ignore[func-returns-value]
    kept = [x.clone() for x in (p.detach(),)]
    old = p.data
    p.data = p.data.clone()
    for field, x in list(optimizer.state.get(p, {}).items()):
        optimizer.state[p][field] = x.clone()
    run(optimizer, 2), run(expected, 2)  # type: ignore[func-returns-value]
    assert_same(everything(optimizer), everything(expected))
    assert_same([old], kept)
    for x in optimizer.state.get(p, {}).values():
        x.data = x.data.clone()
    run(optimizer, 3), run(expected, 3)  # type: ignore[func-returns-value]
    assert_same(everything(optimizer), everything(expected))
    optimizer.state.clear(), expected.state.clear()
    run(optimizer, 4), run(expected, 4)  # type: ignore[func-returns-value]
    assert_same(everything(optimizer), everything(expected))


@every_rule
def test_both_ways_of_zeroing_gradients(name: str) -> None:
    p, q = parameter(4, 3), parameter(4, 3)
    optimizer, expected = build(name, [p]), build(name, [q])
    for seed, to_none in enumerate((True, False, True, False)):
        g = normal(4, 3, seed=seed)
        p.grad = g.clone() if p.grad is None else p.grad.add_(g)
        q.grad = g
        optimizer.step(), expected.step()
        optimizer.zero_grad(set_to_none=to_none)
        assert_same(everything(optimizer), everything(expected))


@every_rule
def test_groups_added_late_step_as_by_an_optimizer_of_their_own(name: str) -> None:
    p, q = parameter(4, 3), parameter(5, seed=1)
    optimizer = build(name, [p])
    run(optimizer, 1)
    optimizer.add_param_group({"params": [q], "lr": 0.01})
    alone = parameter(5, seed=1)
    expected = build(name, [alone], lr=0.01)
    for seed in (2, 3):
        feed([p, q], seed)
        alone.grad = torch.as_tensor(q.grad).clone()
        optimizer.step(), expected.step()
    if optimizer.rule.pools_over != "all":
        assert_same([q.detach(), *optimizer.state[q].values()], [alone.detach(), *expected.state[alone].values()])
    else:
        assert not torch.equal(q.detach(), parameter(5, seed=1).detach())


@every_rule
def test_named_parameters_and_hooks(name: str) -> None:
    model, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    optimizer, expected = build(name, model.named_parameters()), build(name, twin.parameters())
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    run(optimizer, 1, 2), run(expected, 1, 2)  # type: ignore[func-returns-value]
    assert calls == ["before", "after"] * 2
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert_same(everything(optimizer), everything(expected))


def test_sgd_without_momentum_keeps_no_state() -> None:
    optimizer = build("sgd", [parameter(3)])
    run(optimizer, 1)
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize(("rule", "options", "fields"), [
    ("adam", {}, {"step", "exp_avg", "exp_avg_sq"}),
    ("adam", {"amsgrad": True}, {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    ("rmsprop", {}, {"step", "square_avg"}),
    ("rmsprop", {"momentum": 0.9, "centered": True}, {"step", "square_avg", "grad_avg", "momentum_buffer"}),
])  # fmt: skip
def test_no_memory_is_taken_for_what_the_hyperparameters_do_not_need(
    rule: str, options: dict[str, Any], fields: set[str]
) -> None:
    p = parameter(3)
    optimizer = torch_bind.RULES[rule]([p], **options)
    run(optimizer, 1)
    theirs = getattr(torch.optim, optimizer.rule.__name__)([q := parameter(3)], **options)
    run(theirs, 1)
    assert set(optimizer.state[p]) == fields == set(theirs.state[q])


@pytest.mark.parametrize(
    "name", [name for name in OF_EACH.values() if "step" in optimizer_of(name).fields(rule_of(name))]
)
def test_steps_are_counted_in_float32_on_the_cpu_whatever_the_defaults(name: str) -> None:
    p = parameter(3)
    optimizer = build(name, [p])
    p.grad = torch.ones(3)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    step = optimizer.state[p]["step"]
    assert (step.dtype, step.device.type, step.item()) == (torch.float32, "cpu", 1)


def linear_to_zero(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 3, end_factor=0, total_iters=7)


def from_zero(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: t / 5)


def one_cycle(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=12)


def numpy_factor(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: np.float32(1 / (t + 1)))  # type: ignore[arg-type, return-value]


@every_rule
@pytest.mark.parametrize("schedule", [linear_to_zero, from_zero, one_cycle, numpy_factor])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_a_step_takes_the_groups_values_of_its_moment(name: str, schedule: Any, dtype: torch.dtype) -> None:
    p = parameter(3, 4, dtype=dtype)
    optimizer = build(name, [p])
    if schedule is one_cycle and not {"momentum", "betas"} & optimizer.param_groups[0].keys():
        schedule = numpy_factor  # FSGDM has neither to cycle, which torch refuses
    scheduler = schedule(optimizer)
    record = optimizer.rule
    groups = [Group(rule_of(name), [0])]
    states = reference.init(groups, [p.detach().to(working_dtype(p)).numpy()])
    for seed in range(10):
        before = p.detach().to(working_dtype(p), copy=True).numpy()
        group = optimizer.param_groups[0]
        values = {field: group[field] for field in record.hyperparameter_names()}
        rule = record(**{**values, "lr": max(0.0, float(values["lr"]))}, dialect=group["dialect"])  # it ends at -4e-20
        feed([p], seed)
        g = p.grad.to(working_dtype(p)).numpy()  # type: ignore[union-attr]
        optimizer.step()
        (expected,), states = reference.step([Group(rule, [0])], [before], [g], states)
        unit = torch.finfo(dtype).eps
        np.testing.assert_allclose(p.detach().to(working_dtype(p)).numpy(), expected, rtol=8 * unit, atol=8 * unit)
        scheduler.step()


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_rate_may_be_a_tensor_and_each_group_has_its_own(name: str, dtype: torch.dtype) -> None:
    params, twins = ([parameter(3, 4, dtype=dtype), parameter(5, dtype=dtype)] for _ in range(2))
    ours = build(name, [{"params": [p]} for p in params], lr=torch.tensor(0.25))
    floats = build(name, [{"params": [p]} for p in twins], lr=0.25)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (ours, floats)]
    for seed in (1, 2, 3):
        run(ours, seed), run(floats, seed)  # type: ignore[func-returns-value]
        for scheduler in schedulers:
            scheduler.step()
    assert_same(everything(ours), everything(floats))
    assert [float(group["lr"]) for group in ours.param_groups] == [0.25 / 8] * 2


@every_rule
def test_a_scaler_skips_what_is_not_finite(name: str) -> None:
    p, q = parameter(3, 4), parameter(3, 4)
    optimizer, expected = build(name, [p]), build(name, [q])
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for seed, finite in enumerate((True, False, True)):
        g = normal(3, 4, seed=seed)
        loss: Any = scaler.scale((p * g).sum())
        optimizer.zero_grad()
        loss.backward()
        if finite:
            q.grad = g
            expected.step()
        else:
            p.grad[0, 0] = float("inf")  # type: ignore[index]
        scaler.step(optimizer)
        scaler.update()
    assert_same(everything(optimizer), everything(expected))


@every_rule
def test_mixed_dtypes_step_as_each_would(name: str) -> None:
    params = [parameter(4, 3, dtype=dtype, seed=i) for i, dtype in enumerate(DTYPES)]
    optimizer = build(name, params)
    states = [rule_of(name).init(p.detach().to(working_dtype(p)).numpy()) for p in params]
    feed(params, 1)
    before = [p.detach().to(working_dtype(p)).numpy().copy() for p in params]
    groups = [Group(rule_of(name), [0, 1, 2, 3])]
    grads = [p.grad.to(working_dtype(p)).numpy() for p in params]  # type: ignore[union-attr]
    optimizer.step()
    after, _ = reference.step(groups, before, grads, states)
    for p, expected in zip(params, after, strict=True):
        unit = torch.finfo(p.dtype).eps
        unit = max(unit, 2.0**-23) if optimizer.rule.pools_over == "all" else unit  # each adds up in its own precision
        np.testing.assert_allclose(p.detach().double().numpy(), expected, rtol=8 * unit, atol=8 * unit)


# --- several threads


@every_rule
def test_threads_share_a_step_bit_for_bit(name: str) -> None:
    p, q = parameter(600, 1000), parameter(600, 1000)
    before = torch.get_num_threads()
    try:
        for threads, own in ((1, p), (2, q)):
            torch.set_num_threads(threads)
            run(build(name, [own]), 1, 2)
    finally:
        torch.set_num_threads(before)
    assert_same([p.detach()], [q.detach()])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
