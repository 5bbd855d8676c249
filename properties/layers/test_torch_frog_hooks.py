"""Law: what a layer saw between two steps counts, and nothing else, however a model is run, copied and rebuilt."""

import copy
import gc
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils.checkpoint import checkpoint

from stepgauge import torch_bind
from stepgauge.properties.gauge.targets.torch_optimizer import one_thread
from stepgauge.torch_bind.fisher_recorder import Reservoir

BOTH = [torch_bind.Frog, torch_bind.KFrog]
both = pytest.mark.parametrize("optimizer_of", BOTH)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The layers are tiny: threads would mostly wait for each other."""
    with one_thread():
        yield


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def network(*, dropout: float = 0.0, inplace: bool = False) -> Any:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(3, 3, 2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(27, 2),
    )
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(normal(*p.shape, seed=k) / 4)
    return model


def backward(model: nn.Module, seed: int = 0, samples: int = 6) -> None:
    model(normal(samples, 2, 4, 4, seed=seed)).square().mean().backward()


def train(optimizer: Any, model: nn.Module, *seeds: int) -> None:
    for seed in seeds:
        optimizer.zero_grad()
        backward(model, seed)
        optimizer.step()


def build(optimizer_of: Any, model: nn.Module, **changes: Any) -> Any:
    return optimizer_of(
        model.parameters(), model, **{"lr": 0.05, "momentum": 0.9, "sample_size": 3, "seed": 1} | changes
    )


def trained(optimizer_of: Any, *seeds: int, **changes: Any) -> list[Tensor]:
    """The parameters after an undisturbed run."""
    model = network()
    train(build(optimizer_of, model, **changes), model, *seeds)
    return values(model)


def values(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def assert_same(got: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b), f"off by {(a - b).abs().max():.3g}"


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


# --- what counts


@both
def test_a_step_without_a_backward_pass_since_the_last_is_one_clear_error(optimizer_of: Any) -> None:
    """D34: the release raises KeyError, or steps by what it saw before. A second step without passes is no other."""
    model = network()
    optimizer = build(optimizer_of, model)
    for _ in range(2):
        before, steps = values(model), [int(state["step"]) for state in optimizer.state.values()]
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        with pytest.raises(RuntimeError, match=r"layer 0 has a gradient, but no backward pass .*skip_modules"):
            optimizer.step()
        assert_same(values(model), before)
        assert steps == [int(state["step"]) for state in optimizer.state.values()]
        train(optimizer, model, 1)


@both
def test_evaluation_leaves_nothing_behind(optimizer_of: Any) -> None:
    """D34: in the release a forward pass with gradients enabled, of another batch size, breaks the next step."""
    model = network()
    optimizer = build(optimizer_of, model)
    for seed in (1, 2):
        optimizer.zero_grad()
        with torch.no_grad():
            backward_free = model.eval()(normal(9, 2, 4, 4))
        with torch.inference_mode():
            model(normal(8, 2, 4, 4))
        backward(model.train(), seed)
        kept = model(normal(20, 2, 4, 4))  # a loss that is looked at, between backward and step
        assert kept.requires_grad
        assert not backward_free.requires_grad
        optimizer.step()
    assert_same(values(model), trained(optimizer_of, 1, 2))


@both
def test_zero_grad_may_stand_anywhere_before_the_first_backward_pass(optimizer_of: Any) -> None:
    runs = []
    for zeroes_late in (False, True):
        model = network()
        optimizer = build(optimizer_of, model, sample_size=None)
        for seed in (1, 2):
            if not zeroes_late:
                optimizer.zero_grad()
            losses = [model(normal(6, 2, 4, 4, seed=s)).square().mean() for s in (seed, seed + 10)]
            if zeroes_late:
                optimizer.zero_grad()
            for loss in losses:
                loss.backward()
            optimizer.step()
        runs.append(values(model))
    assert_same(*runs)


@both
@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_step_that_is_left_out_is_forgotten(optimizer_of: Any, set_to_none: bool) -> None:
    """As GradScaler does where gradients overflow: what layers saw then is not finite."""
    model = network()
    optimizer = build(optimizer_of, model)
    train(optimizer, model, 1)
    (model(normal(6, 2, 4, 4)) * float("inf")).sum().backward()
    optimizer.zero_grad(set_to_none)
    backward(model, 2)
    optimizer.step()
    assert_same(values(model), trained(optimizer_of, 1, 2))


def test_gradients_of_the_model_set_to_none_begin_anew_as_well() -> None:
    model = network()
    optimizer = build(torch_bind.Frog, model)
    train(optimizer, model, 1)
    (model(normal(6, 2, 4, 4)) * float("inf")).sum().backward()
    model.zero_grad()
    backward(model, 2)
    optimizer.step()
    assert_same(values(model), trained(torch_bind.Frog, 1, 2))


@both
def test_grad_scaler_leaves_out_a_step_that_overflows(optimizer_of: Any) -> None:
    model = network()
    optimizer = build(optimizer_of, model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = values(model)
    for scale in (float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(model(normal(6, 2, 4, 4, seed=2)).square().mean() * scale).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(p, q) for p, q in zip(values(model), before, strict=True))
        assert moved is (scale == 1.0)
    if optimizer_of is torch_bind.Frog:  # the other has the scale of the loss in its step, and says so
        assert_same(values(model), trained(optimizer_of, 2))


@both
def test_what_follows_a_layer_may_overwrite_its_output(optimizer_of: Any) -> None:
    """D33: behind the release's hooks, ReLU(inplace=True) raises."""
    model = network(inplace=True)
    train(build(optimizer_of, model), model, 1, 2)
    assert_same(values(model), trained(optimizer_of, 1, 2))


@both
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpoints_change_nothing(optimizer_of: Any, reentrant: bool) -> None:
    model = network()
    optimizer = build(optimizer_of, model)
    for seed in (1, 2):
        optimizer.zero_grad()
        x = normal(6, 2, 4, 4, seed=seed).requires_grad_()
        out: Any = checkpoint(model, x, use_reentrant=reentrant)
        out.square().mean().backward()
        optimizer.step()
    assert_same(values(model), trained(optimizer_of, 1, 2))


@both
def test_inputs_may_be_given_by_keyword(optimizer_of: Any) -> None:
    layer = nn.Conv2d(2, 3, 2)
    optimizer = build(optimizer_of, layer)
    before = values(layer)
    layer(input=normal(4, 2, 3, 3)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(layer.weight, before[0])


@both
def test_a_batch_without_samples_steps_nothing(optimizer_of: Any) -> None:
    """Such as an expert that no token was sent to."""
    layer = nn.Conv2d(2, 3, 2)
    optimizer = build(optimizer_of, layer)
    before = values(layer)
    layer(normal(0, 2, 3, 3)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.weight, before[0])


# --- samples


@both
def test_a_step_draws_nothing_from_the_generators_of_torch_and_numpy(optimizer_of: Any) -> None:
    """D35: the release draws its samples there, so that dropout and the order of data change."""
    model = network()
    states = torch.get_rng_state(), str(np.random.get_state(legacy=False))  # noqa: NPY002  # the one to be left alone
    train(build(optimizer_of, model, seed=None), model, 1, 2)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(np.random.get_state(legacy=False)) == states[1]  # noqa: NPY002  # likewise


def test_samples_are_drawn_anew_by_step_and_layer_and_by_the_seed() -> None:
    model = network()

    def kept(optimizer: Any) -> list[bytes]:
        backward(model, samples=40)
        first = [r.reservoirs[0].parts[0][1].numpy().tobytes() for _, r in optimizer._watched.values()]
        return first[2:]  # of the last layer, whose signals differ between samples

    optimizer = build(torch_bind.Frog, model, lr=0.0)
    draws = []
    for _ in range(2):
        model.zero_grad()
        draws.append(kept(optimizer))
        optimizer.step()
    again, other = network(), build(torch_bind.Frog, model, lr=0.0, seed=2)
    del again
    draws.append(kept(other))
    assert len({draw[0] for draw in draws}) == 3


def test_inputs_and_signals_of_a_sample_stay_together() -> None:
    """The gradient of one sample is its signal times its input: with samples of their own kind, none is mixed."""
    layer = nn.Linear(3, 3, bias=False)
    optimizer = torch_bind.Frog(layer.parameters(), layer, sample_size=4)
    for k in range(3):
        x = torch.arange(10.0)[:, None].repeat(1, 3) + 10 * k
        layer(x).backward(x)
    (reservoir,) = optimizer._watched[""].recorder.reservoirs
    inputs, signals = (torch.cat(parts) for parts in zip(*reservoir.parts, strict=True))
    assert inputs.shape == (4, 3)
    assert torch.equal(inputs, signals)
    assert len(set(inputs[:, 0].tolist())) == 4
    assert (reservoir.kept, reservoir.seen) == (4, 30)


def test_every_sample_of_all_passes_is_as_likely_to_be_kept() -> None:
    counts, runs, batches = np.zeros(14), 400, (2, 7, 5)
    for seed in range(runs):
        reservoir, first = Reservoir(), 0
        for k, batch in enumerate(batches):
            rows = torch.arange(first, first + batch)
            chosen = rows[torch.from_numpy(np.random.default_rng([seed, k]).permutation(batch)[:4])]
            reservoir.add((chosen,), batch, 4, partial(np.random.default_rng, [seed, k, 1]))
            first += batch
        assert reservoir.kept == 4
        for part in reservoir.parts:
            counts[part[0].numpy()] += 1
    expected = runs * 4 / 14
    assert np.abs(counts - expected).max() < 5 * (expected * 10 / 14) ** 0.5  # five standard deviations


def test_each_pass_of_a_module_used_several_times_is_chosen_from_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(Reservoir, "add", lambda *args: drawn.append(int(args[-1]().integers(2**60))))
    layer = nn.Conv2d(2, 2, 1)
    optimizer = build(torch_bind.KFrog, layer)
    layer(layer(layer(normal(6, 2, 3, 3)))).sum().backward()
    assert next(iter(optimizer._watched.values())).recorder.passes == 3
    assert len(set(drawn)) == 3 * 2  # inputs and signals


def test_accumulation_keeps_no_more_than_sample_size_in_memory() -> None:
    model = network()
    optimizer = build(torch_bind.KFrog, model, sample_size=3, y_sample_size=5)
    for seed in range(4):
        backward(model, seed)
    assert [[r.kept for r in x.reservoirs] for _, x in optimizer._watched.values()] == [[3, 5], [3, 5], []]


# --- the model


def test_the_optimizer_may_be_built_before_it_knows_the_model() -> None:
    model = network()
    optimizer = torch_bind.Frog(model.parameters(), lr=0.05, momentum=0.9, sample_size=3, seed=1)
    backward(model)
    with pytest.raises(RuntimeError, match=r"Frog has no model: .*attach"):
        optimizer.step()
    assert optimizer.attach(model) is optimizer
    train(optimizer, model, 1, 2)
    assert_same(values(model), trained(torch_bind.Frog, 1, 2))


@both
def test_detached_it_leaves_the_model_as_it_was_and_attached_again_it_goes_on(optimizer_of: Any) -> None:
    """The released name of `detach` is `close`."""
    model = network()
    optimizer = build(optimizer_of, model)
    assert hooks_of(model) == 3
    train(optimizer, model, 1)
    optimizer.close()
    assert hooks_of(model) == 0
    optimizer.attach(model).attach(model)
    assert hooks_of(model) == 3
    train(optimizer, model, 2)
    assert_same(values(model), trained(optimizer_of, 1, 2))


def test_hooks_of_an_optimizer_that_is_gone_go_with_the_next_forward_pass() -> None:
    """The release's hooks keep the optimizer, its state and activations alive until `close`."""
    model = network()
    optimizer = build(torch_bind.Frog, model)
    train(optimizer, model, 1)
    del optimizer
    gc.collect()
    backward(model)
    assert hooks_of(model) == 0


def test_layers_named_in_skip_modules_are_none() -> None:
    model = network()
    optimizer = build(torch_bind.Frog, model, skip_modules=["0", "5"], momentum=0.0)
    before = values(model)
    backward(model)
    optimizer.step()
    for k in (0, 1, 4, 5):
        p = list(model.parameters())[k]
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), before[k] - 0.05 * 0.25 * p.grad)
    with pytest.raises(ValueError, match=r"Invalid skip_modules: nobody \(the model has no such modules\)"):
        build(torch_bind.Frog, model, skip_modules=["nobody"])


class Doubled(nn.Linear):
    """A layer that computes something else than its class."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_modules_that_are_no_plain_layers_step_along_their_momentum() -> None:
    """Attention calls its projection's weights itself, a parametrization computes them, a subclass may do anything."""
    attention = nn.MultiheadAttention(4, 2)
    normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    model: Any = nn.ModuleList([attention, Doubled(4, 4), normed, nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)])
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1)
    assert hooks_of(model) == 0
    x = normal(3, 2, 4)
    before = values(model)
    normed(Doubled.forward(model[1], attention(x, x, x)[0])).square().sum().backward()
    optimizer.step()
    for p, q in zip(model.parameters(), before, strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.detach(), q - 0.1 * 0.25 * p.grad)


@both
def test_parameters_may_be_replaced_in_model_and_groups(optimizer_of: Any) -> None:
    """As sharding and trainers do after the optimizer was built: nothing is known by the old ones."""
    model = network()
    optimizer = build(optimizer_of, model)
    replaced = {}
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            replaced[p] = Parameter(p.detach().clone())
            setattr(module, name, replaced[p])
    for group in optimizer.param_groups:
        group["params"] = [replaced[p] for p in group["params"]]
    train(optimizer, model, 1, 2)
    assert_same(values(model), trained(optimizer_of, 1, 2))


def test_layers_added_to_the_model_are_watched_once_their_group_is_added() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 3))
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1, tau=0.1)
    model.append(nn.Linear(3, 2))
    optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.2})
    before = model[1].bias.detach().clone()
    model(normal(5, 4)).square().sum().backward()
    optimizer.step()
    assert hooks_of(model) == 2
    assert not torch.allclose(model[1].bias, before - 0.2 * 0.25 * model[1].bias.grad)


# --- copies


def copied_together(optimizer: Any, model: nn.Module) -> tuple[Any, nn.Module]:
    pair: tuple[Any, nn.Module] = copy.deepcopy((optimizer, model))
    return pair


def copied_model_first(optimizer: Any, model: nn.Module) -> tuple[Any, nn.Module]:
    twin, other = copy.deepcopy((model, optimizer))
    return other, twin


def pickled_together(optimizer: Any, model: nn.Module) -> tuple[Any, nn.Module]:
    pair: tuple[Any, nn.Module] = pickle.loads(pickle.dumps((optimizer, model)))
    return pair


def pickled_model_first(optimizer: Any, model: nn.Module) -> tuple[Any, nn.Module]:
    twin, other = pickle.loads(pickle.dumps((model, optimizer)))
    return other, twin


def held_by_the_model(optimizer: Any, model: nn.Module) -> tuple[Any, nn.Module]:
    model.held: Any = optimizer  # type: ignore[misc]  # as a Lightning module may
    twin = copy.deepcopy(model)
    del model.held
    return twin.__dict__.pop("held"), twin


def copied_alone(optimizer: Any, _: nn.Module) -> tuple[Any, nn.Module]:
    other = copy.deepcopy(optimizer)
    return other, other.model


COPIES: list[Callable[[Any, nn.Module], tuple[Any, nn.Module]]] = [
    copied_together,
    copied_model_first,
    pickled_together,
    pickled_model_first,
    held_by_the_model,
    copied_alone,
]


@both
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_with_its_model_goes_on_bit_for_bit_and_leaves_the_original_alone(optimizer_of: Any, how: Any) -> None:
    """D1: copies of the release raise."""
    model = network()
    optimizer = build(optimizer_of, model)
    train(optimizer, model, 1, 2)
    before = values(model)
    other, twin = how(optimizer, model)
    assert twin is not model
    assert hooks_of(twin) == hooks_of(model) == 3
    train(other, twin, 3)
    assert_same(values(model), before)
    train(optimizer, model, 3)
    expected = trained(optimizer_of, 1, 2, 3)
    assert_same(values(model), expected)
    assert_same(values(twin), expected)


@pytest.mark.parametrize("through", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_the_model_alone_is_free_of_the_optimizer(through: Any) -> None:
    """Such as one whose weights are averages: its passes must not count for the original."""
    model = network()
    optimizer = build(torch_bind.Frog, model)
    average = through(model)
    train(optimizer, model, 1)
    optimizer.zero_grad()
    backward(average, 7)
    assert hooks_of(average) == 0
    assert all(recorder.passes == 0 for _, recorder in optimizer._watched.values())
    train(optimizer, model, 2)
    assert_same(values(model), trained(torch_bind.Frog, 1, 2))


# --- checkpoints


def through_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_resumed_run_goes_on_bit_for_bit_samples_included(optimizer_of: Any, dtype: torch.dtype) -> None:
    """Although `load_state_dict` of torch casts state to the parameter's dtype."""
    runs = []
    for resumes in (False, True):
        model = network().to(dtype)
        optimizer = build(optimizer_of, model)
        for t in range(4):
            if resumes and t == 2:
                state = through_file(optimizer.state_dict())
                optimizer.detach()
                optimizer = build(optimizer_of, model, lr=0.7, seed=9)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            model(normal(6, 2, 4, 4, seed=t, dtype=dtype)).square().mean().backward()
            optimizer.step()
        runs.append([*values(model), *(x for p in model.parameters() for x in optimizer.state[p].values())])
    assert_same(*runs)
    assert {x.dtype for x in runs[0]} == {dtype, torch.float32 if dtype != torch.float64 else dtype, torch.float32}


@both
def test_a_checkpoint_of_the_release_loads(optimizer_of: Any) -> None:
    """An integer for the step, a vector for the signals' average, none of our options in the groups."""
    model = network()
    optimizer = build(optimizer_of, model)
    rule = optimizer_of.rule
    group = {**rule.defaults(), "momentum": 0.5, "params": list(range(6))}
    state: dict[int, Any] = {
        k: {"step": 4, "momentum_buffer": normal(*p.shape, seed=k)} for k, p in enumerate(values(model))
    }
    if optimizer_of is torch_bind.KFrog:
        state[0]["y_momentum_buffer"] = torch.ones(3)
    optimizer.load_state_dict({"state": state, "param_groups": [group]})
    weight = next(model.parameters())
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], state[0]["momentum_buffer"])
    train(optimizer, model, 1)
    assert int(optimizer.state[weight]["step"]) == 5
    assert optimizer.param_groups[0]["momentum"] == 0.5
    if optimizer_of is torch_bind.KFrog:
        assert optimizer.state[weight]["y_momentum_buffer"].shape == (3, 1)


@both
def test_a_checkpoint_of_something_else_is_refused_before_anything_changes(optimizer_of: Any) -> None:
    model = network()
    optimizer = build(optimizer_of, model)
    train(optimizer, model, 1)
    adam = torch.optim.Adam(model.parameters())
    backward(model)
    adam.step()
    own = optimizer.state_dict()
    renamed = {k: {"exp_avg": x["momentum_buffer"], **x} for k, x in own["state"].items()}
    without_step = {k: {"momentum_buffer": x["momentum_buffer"]} for k, x in own["state"].items()}
    resized = {k: {**x, "momentum_buffer": torch.zeros(9)} for k, x in own["state"].items()}
    fewer = [{**own["param_groups"][0], "params": [0, 1]}]
    wrong = {
        "is not of": adam.state_dict(),
        "a parameter has exp_avg": {**own, "state": renamed},
        "has no step": {**own, "state": without_step},
        "other parameters": {**own, "state": resized},
        "has not groups of": {**own, "param_groups": fewer},
    }
    before, buffers = optimizer.param_groups[0]["lr"], [s["momentum_buffer"].clone() for s in optimizer.state.values()]
    for message, state in wrong.items():
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
        assert optimizer.param_groups[0]["lr"] == before
        assert_same([s["momentum_buffer"] for s in optimizer.state.values()], buffers)


# --- precision, devices, compilers


@both
@pytest.mark.parametrize("path", ["core", "torch"])
def test_autocast_changes_what_is_seen_and_not_how_it_is_solved(
    optimizer_of: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step inside of autocast is the step outside of it: solves are in float32."""
    module = torch_bind.frog if optimizer_of is torch_bind.Frog else torch_bind.kfrog
    monkeypatch.setattr(module, "fits_core", lambda *_: path == "core")
    runs = []
    for inside in (False, True):
        model = network()
        optimizer = build(optimizer_of, model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(normal(6, 2, 4, 4)).float().square().mean()
        loss.backward()
        (last,) = optimizer._watched["5"].recorder.reservoirs or [None]
        assert optimizer_of is torch_bind.KFrog or last.parts[0][1].dtype == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            optimizer.step()
        runs.append(values(model))
    assert_same(*runs)
    start = values(network())
    exact = trained(optimizer_of, 0)
    for p, q, before in zip(runs[0], exact, start, strict=True):
        assert p.dtype == torch.float32
        assert (p - q).abs().max() < 0.1 * (q - before).abs().max()  # bfloat16 has 2 to 3 digits


@both
def test_bfloat16_parameters_are_rounded_once_from_a_step_in_float32(optimizer_of: Any) -> None:
    low, exact = network().bfloat16(), network().bfloat16().float()
    optimizers = [build(optimizer_of, model) for model in (low, exact)]
    out = low(normal(6, 2, 4, 4, dtype=torch.bfloat16))
    out.square().mean().backward()
    backward(exact)
    pairs = zip(optimizers[0]._watched.values(), optimizers[1]._watched.values(), strict=True)
    for (_, seen), (_, twin) in pairs:  # the same in both, so that the step alone is compared
        twin.reservoirs = copy.deepcopy(seen.reservoirs)
    for p, q in zip(low.parameters(), exact.parameters(), strict=True):
        assert p.grad is not None
        q.grad = p.grad.float()
    for optimizer in optimizers:
        optimizer.step()
    for p, q in zip(low.parameters(), exact.parameters(), strict=True):
        assert torch.equal(p, q.bfloat16())


@both
def test_a_step_waits_for_no_device_and_takes_no_branch_on_values(optimizer_of: Any) -> None:
    """Fake tensors have no values: whatever looked at one would raise."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2))
        optimizer = build(optimizer_of, model, sample_size=None)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.zeros(6, 2, 4, 4)).square().mean().backward()
            optimizer.step()


@both
def test_launches_do_not_grow_with_the_parameters_that_are_no_layers(optimizer_of: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            on_host = any(isinstance(x, Tensor) and x.ndim == 0 for x in args)  # counters
            self.count += func.namespace == "aten" and not on_host
            return func(*args, **(kwargs or {}))

    counts = []
    for number in (3, 30):
        params = [Parameter(normal(2, 3)) for _ in range(number)]
        optimizer = optimizer_of(params, nn.Module(), momentum=0.9)
        for _ in range(2):
            for p in params:
                p.grad = torch.ones_like(p)
            with Counter() as counter:  # type: ignore[no-untyped-call]  # torch's
                optimizer.step()
        counts.append(counter.count - number)  # a detached view of each is no launch
    assert counts == [3, 3]  # twice the momentum, once the parameter


@pytest.mark.slow
@both
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # which the compiler itself uses
def test_a_compiled_step_and_a_compiled_model_are_the_plain_ones(optimizer_of: Any) -> None:
    for what in ("step", "model"):
        torch._dynamo.reset()
        model = network()
        optimizer = build(optimizer_of, model)
        run: Any = torch.compile(model, backend="eager") if what == "model" else model
        step: Any = torch.compile(optimizer.step, backend="eager") if what == "step" else optimizer.step
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of graph breaks
            for seed in (1, 2, 3):
                optimizer.zero_grad()
                backward(run, seed)
                step()
        assert_same(values(model), trained(optimizer_of, 1, 2, 3))
