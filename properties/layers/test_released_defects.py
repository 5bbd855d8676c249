"""What the authors' released code does wrong on today's torch, each by its number, and what the bindings do instead.

Numbered in the order in which the defects were found, by running the released packages (adamp 0.3.0, fsgdm 1.0, adai at
e6c1b9d, cgoptimizer at 997abaf) on torch 2.13. Missing numbers are no defect of a rule that is bound here.
"""

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.properties.layers.torch_cases import assert_same, everything, feed, normal, parameter, run

NAMES = ["SGD_C", "RMSprop_C", "Adam_C", "AdamW_C"]
ALL = [*NAMES, *(f"{name}_eff" for name in NAMES)]
critical = pytest.mark.parametrize("name", ALL)
SMALL: dict[str, Any] = {"lr": 0.1, "topC": 2}


def made(name: str, params: Any, **keywords: Any) -> Any:
    return getattr(torch_bind, name)(params, **keywords)


def fed(params: list[Parameter], grads: Any) -> None:
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else torch.as_tensor(g).to(p.dtype).reshape(p.shape)


@critical
def test_d1_a_full_buffer_raises_nothing_in_originals_and_copies(name: str) -> None:
    optimizer = made(name, [parameter(3)])
    run(optimizer, *range(25))
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        run(other, 25)


@critical
def test_d2_checkpoints_load_with_weights_only(name: str) -> None:
    optimizer = made(name, [parameter(3)], **SMALL)
    run(optimizer, 1, 2, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    made(name, [parameter(3)], **SMALL).load_state_dict(torch.load(file, weights_only=True))


@critical
@pytest.mark.parametrize("dialect", ["published", "released", "released_eff"])
def test_d3_d4_a_resumed_run_keeps_its_buffer_count_and_moments(name: str, dialect: str) -> None:
    p = parameter(4, 3)
    whole = made(name, [p], **SMALL, dialect=dialect)
    run(whole, 1, 2, 3, 4, 5)
    resumed = made(name, [Parameter(p.detach().clone())], **SMALL, dialect=dialect)
    resumed.load_state_dict(whole.state_dict())
    run(whole, 6, 7, 8)
    run(resumed, 6, 7, 8)
    assert_same(everything(resumed), everything(whole))


@pytest.mark.parametrize("name", [n for n in ALL if not n.startswith("SGD")])
def test_d5_without_kappa_it_is_the_base(name: str) -> None:
    base = getattr(torch.optim, name.split("_")[0])
    p, q = parameter(4, 3), parameter(4, 3)
    run(made(name, [p], lr=0.1, kappa=0), 1, 2, 3)
    run(base([q], lr=0.1), 1, 2, 3)
    torch.testing.assert_close(p, q)


@pytest.mark.parametrize("name", ["SGD_C", "SGD_C_eff"])
def test_d6_without_kappa_the_momentum_stays(name: str) -> None:
    p, q = parameter(4, 3), parameter(4, 3)
    run(made(name, [p], lr=0.1, momentum=0.9, kappa=0), 1, 2, 3)
    run(torch.optim.SGD([q], lr=0.1, momentum=0.9), 1, 2, 3)
    torch.testing.assert_close(p, q)


@critical
def test_d7_only_the_smallest_key_leaves(name: str) -> None:
    """Keys 1, 5, 2 and 6 leave 5, 2, 6; then 3 is larger than the smallest, 2, and enters."""
    (p,) = params = [Parameter(torch.zeros(1, dtype=torch.float64))]
    optimizer = made(name, params, lr=0.0, topC=3, decay=1.0, weight_decay=0.0)
    for g in (1.0, 5.0, 2.0, 6.0, 3.0):
        fed(params, [g])
        optimizer.step()
    assert sorted(optimizer.state[p]["critical_gradients"].flatten().tolist()) == [3.0, 5.0, 6.0]


@critical
def test_d8_a_buffer_has_a_capacity(name: str) -> None:
    for topC in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"Invalid topC: {topC}"):
            made(name, [parameter(3)], topC=topC)
    p = parameter(3)
    optimizer = made(name, [p], topC=2)
    run(optimizer, *range(6))
    assert optimizer.state[p]["critical_gradients"].shape == (2, 3)


@critical
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_d9_a_first_gradient_that_is_nan_leaves_the_buffer_empty(name: str, dtype: torch.dtype) -> None:
    (p,) = params = [parameter(3, dtype=dtype)]
    optimizer = made(name, params, **SMALL)
    fed(params, [torch.full((3,), torch.nan)])
    optimizer.step()
    assert torch.isneginf(optimizer.state[p]["critical_keys"]).all()
    assert not optimizer.state[p]["critical_gradients"].any()
    feed(params, 1)
    optimizer.step()
    assert torch.isneginf(optimizer.state[p]["critical_keys"]).sum() == 1


@critical
def test_d10_a_buffer_is_where_its_parameter_is(name: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        p = Parameter(torch.ones(3, device="cuda"))
        optimizer = made(name, [p])
        (setting,) = optimizer._set()
        fields = {n: make(p, setting.rule) for n, make in setting.fields.items() if n.startswith("critical")}
    assert {n: x.device.type for n, x in fields.items()} == dict.fromkeys(fields, "cuda")


@critical
def test_d11_the_sum_of_a_buffer_does_not_drift(name: str) -> None:
    (p,) = params = [parameter(64)]
    optimizer = made(name, params, lr=0.0, topC=5, decay=0.9)
    for seed in range(2000):
        fed(params, [normal(64, seed=seed) * 10 ** (seed % 7 - 3)])
        optimizer.step()
    state = optimizer.state[p]
    exactly = state["critical_gradients"].double().sum(0)
    norms = state["critical_gradients"].double().norm(dim=1).sum()
    assert (state["critical_sum"].double() - exactly).abs().max() <= 64 * torch.finfo(torch.float32).eps * norms


@critical
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:Profiler function")
def test_d12_a_compiled_step_fills_the_buffer(name: str) -> None:
    torch.compiler.reset()
    p, q = parameter(3), parameter(3)
    ours, plain = made(name, [p], **SMALL), made(name, [q], **SMALL)
    step: Any = torch.compile(ours.step, backend="eager")
    for seed in (1, 2, 3):
        feed([p], seed)
        step()
        run(plain, seed)
    assert_same(everything(ours), everything(plain))


@critical
def test_d13_decay_and_aggregation_are_checked(name: str) -> None:
    for keywords in ({"decay": 5.0}, {"decay": -1.0}, {"decay": 0.0}, {"aggr": "bogus"}, {"kappa": -1.0}, {"lr": -1.0}):
        with pytest.raises(ValueError, match=f"^Invalid {next(iter(keywords))}: "):
            made(name, [parameter(3)], **keywords)


@critical
def test_d14_all_are_exported(name: str) -> None:
    assert name in torch_bind.__all__


def test_d15_what_synced_means_is_said_and_computed() -> None:
    """The key is the sum of the norms; not synced, each parameter's own norm."""
    assert "sum of the norms" in str(torch_bind.SGD_C.__doc__)
    params = [Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2)]
    for synced, keys in ((True, [11.0, 11.0]), (False, [5.0, 6.0])):
        optimizer = torch_bind.SGD_C(params, topC=1, decay=1.0, synced=synced)
        fed(params, [[3.0, 4.0], [0.0, 6.0]])
        optimizer.step()
        assert [optimizer.state[p]["critical_keys"].item() for p in params] == keys


@critical
def test_d16_a_step_writes_one_slot_where_it_lies(name: str) -> None:
    p = parameter(4, 3)
    optimizer = made(name, [p], lr=0.1, topC=4)
    run(optimizer, *range(6))
    slots = optimizer.state[p]["critical_gradients"]
    for seed in range(6, 12):
        before, place = slots.clone(), slots.data_ptr()
        run(optimizer, seed)
        assert optimizer.state[p]["critical_gradients"] is slots
        assert slots.data_ptr() == place
        assert (slots != before).flatten(1).any(1).sum() <= 1


@pytest.mark.parametrize("name", ["Adai", "AdaiV2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_d17_gradients_that_are_zero_or_none_move_nothing(name: str, dtype: torch.dtype) -> None:
    (p,) = params = [parameter(3, dtype=dtype)]
    optimizer, before = made(name, params, lr=0.1), p.detach().clone()
    optimizer.step()
    assert not optimizer.state
    fed(params, [torch.zeros(3)])
    optimizer.step()
    assert torch.equal(p.detach(), before)
    assert optimizer.state[p]["step"].item() == 1


@pytest.mark.parametrize("name", ["Adai", "AdaiV2"])
def test_d18_low_precision_stays_finite(name: str) -> None:
    params = [parameter(8, dtype=torch.bfloat16, seed=i) for i in range(8)]
    optimizer = made(name, params, lr=0.1)
    for seed in range(3):
        fed(params, [normal(8, seed=seed + i) * (1e3 if i == 0 else 1e-3) for i in range(8)])
        optimizer.step()
    assert all(torch.isfinite(x).all() for x in everything(optimizer))
    with pytest.raises(ValueError, match="Invalid eps: 0"):
        made(name, params, lr=0.1, eps=0.0)
    optimizer = made(name, params, lr=0.1, eps=1e-9)
    before = [p.detach().clone() for p in params]
    with pytest.raises(ValueError, match="1 - eps rounds to 1 in float32"):
        run(optimizer, 1)
    assert_same([p.detach() for p in params], before)


@pytest.mark.parametrize("name", ["Adai", "AdaiV2"])
def test_d19_closures_may_go_backward(name: str) -> None:
    p = parameter(3)
    optimizer = made(name, [p], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss: Any = p.square().sum()
        loss.backward()
        return loss

    loss: Any = optimizer.step(closure)
    assert loss.item() > 0


@pytest.mark.parametrize("name", ["Adai", "AdaiV2", "SGD", "AdamP", "SGD_C"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_d20_decay_is_not_written_into_the_gradient(name: str, dtype: torch.dtype) -> None:
    p = parameter(4, 3, dtype=dtype)
    keywords = {"decoupled": False} if name.startswith("Adai") else {}
    optimizer = made(name, [p], lr=0.1, weight_decay=0.1, **keywords)
    p.grad = normal(4, 3, dtype=dtype)
    before = p.grad.clone()
    optimizer.step()
    assert torch.equal(p.grad, before)


def test_d21_that_the_groups_are_coupled_is_said() -> None:
    for optimizer in (torch_bind.Adai, torch_bind.AdaiV2):
        assert "over all parameters of all groups" in " ".join(str(optimizer.__doc__).split())


@pytest.mark.parametrize("name", ["AdamP", "SGDP"])
@pytest.mark.parametrize("arrange", ["channels last", "transposed", "gradient alone"])
def test_d22_any_memory_format_steps_alike(name: str, arrange: str) -> None:
    p = parameter(4, 3, 2, 2)
    axes = {"channels last": (0, 2, 3, 1), "transposed": (3, 2, 1, 0), "gradient alone": (3, 2, 1, 0)}[arrange]

    def laid(x: torch.Tensor) -> torch.Tensor:
        return x.permute(axes).contiguous().permute(tuple(np.argsort(axes)))

    q = Parameter(p.detach().clone() if arrange == "gradient alone" else laid(p.detach()))
    ours, theirs = (made(name, [x], lr=0.1, weight_decay=0.1, delta=10.0) for x in (p, q))
    for seed in (1, 2, 3):
        p.grad = normal(4, 3, 2, 2, seed=seed)
        q.grad = laid(p.grad)
        ours.step()
        theirs.step()
    torch.testing.assert_close(q, p, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["AdamP", "SGDP"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_d23_empty_parameters_are_stepped(name: str, dtype: torch.dtype) -> None:
    params = [Parameter(torch.ones(shape, dtype=dtype)) for shape in ((0, 3), (3, 0), (0,))]
    run(made(name, params, lr=0.1), 1, 2)


def test_d24_sgdp_refuses_to_divide_by_zero() -> None:
    with pytest.raises(ValueError, match="Invalid momentum: 1"):
        torch_bind.SGDP([parameter(3)], lr=0.1, momentum=1.0, weight_decay=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_d25_the_stored_momentum_is_not_projected_unless_asked(dtype: torch.dtype) -> None:
    p = parameter(4, 6, dtype=dtype)
    g = normal(4, 6, dtype=dtype, seed=1)
    for dialect, projected in (("published", False), ("released", True)):
        optimizer = torch_bind.SGDP([p], lr=0.0, momentum=0.9, delta=10.0, dialect=dialect)
        p.grad = g
        optimizer.step()
        kept = torch.equal(optimizer.state[p]["momentum_buffer"], g.to(optimizer.state[p]["momentum_buffer"].dtype))
        assert kept != projected


@pytest.mark.parametrize("name", ["AdamP", "Adam", "AdamW", "Adam_C", "AdamW_C", "Adam_C_eff"])
def test_d26_float16_stays_finite(name: str) -> None:
    p = parameter(4, 3, dtype=torch.float16)
    optimizer = made(name, [p], lr=0.01)
    for _ in range(3):
        p.grad = torch.full((4, 3), 1e-5, dtype=torch.float16)
        optimizer.step()
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("name", ["AdamP", "SGDP"])
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_d27_the_projection_compiles_whole(name: str) -> None:
    torch.compiler.reset()
    optimizer = made(name, [parameter(2, 3)], lr=0.1)
    (setting,) = optimizer._set()
    from stepgauge.torch_bind.in_torch import keywords

    update: Any = torch.compile(type(optimizer).update, fullgraph=True, backend="eager")
    p = normal(4, 3)
    state = [make(p, setting.rule) for make in setting.fields.values()]
    plain = type(optimizer).update(p, p, *state, **keywords(setting.rule))
    assert_same(list(update(p, p, *state, **keywords(setting.rule))), list(plain))


def test_d28_misspelled_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="v_coeffcicent"):
        torch_bind.FSGDM([parameter(3)], v_coeffcicent=7)  # type: ignore[call-arg]


def test_d29_fsgdm_refuses_to_divide_by_zero() -> None:
    with pytest.raises(ValueError, match="Invalid sigma: 3"):
        torch_bind.FSGDM([parameter(3)], n_stages=5, sigma=3)
    with pytest.raises(ValueError, match="Invalid c_scaling: 0"):
        torch_bind.FSGDM([parameter(3)], c_scaling=0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_d30_fsgdm_has_as_many_stages_as_said(dtype: torch.dtype) -> None:
    """A pulse in the momentum falls by the pole of each step: seven values in the 50 steps, and none in between."""
    (p,) = params = [Parameter(torch.zeros(1, dtype=dtype))]
    optimizer = torch_bind.FSGDM(params, lr=0.0, weight_decay=0.0, n_stages=7, sigma=50, c_scaling=1e-4)
    poles = []
    for t in range(50):
        fed(params, [[1.0]] if t == 0 else [[0.0]])
        if t:
            optimizer.state[p]["momentum_buffer"].fill_(1.0)
        optimizer.step()
        poles.append(round(optimizer.state[p]["momentum_buffer"].item(), 12) if t else 0.0)
    expected = [reference.FSGDM(n_stages=7, sigma=50, c_scaling=1e-4).pole(t) for t in range(1, 51)]
    np.testing.assert_allclose(poles, expected, rtol=1e-6)
    assert len(set(poles)) == 8  # stage 0, with the pole 0, to stage 7, which the last step begins
