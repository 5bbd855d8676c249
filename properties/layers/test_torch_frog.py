"""Law: Frog and KFrog step by the reference's rules, on both paths, for every geometry that a torch layer has."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from stepgauge import reference, torch_bind
from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.targets.torch_optimizer import TorchTarget, one_thread
from stepgauge.properties.gauge.vectors.format import frozen, read
from stepgauge.properties.gauge.vectors.replay import replay_case
from stepgauge.reference import Array, Convolution, Group
from stepgauge.reference.layers import Layer, Seen, same_padding
from stepgauge.torch_bind import fisher, fisher_systems, frog, kfrog

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # a remark on torch's speed
NEAR = 1e-10  # of the way: 4 iterations at tau 0.05 in float64, whatever the order of sums
FROG: dict[str, Any] = {
    "lr": 0.05,
    "tau": 0.05,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.1,
    "sample_size": None,
}
KFROG: dict[str, Any] = {"lr": 0.05, "eps": 0.05, "momentum": 0.8, "y_momentum": 0.6, "sample_size": None}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The layers are tiny: threads would mostly wait for each other."""
    with one_thread():
        yield


class Case(NamedTuple):
    """A torch layer, the shape of its input, its geometry for the reference, and its input for that."""

    module: Any
    shape: tuple[int, ...]
    geometry: Convolution | None = None
    padded: Callable[[Array], Array] = lambda x: x


def conv(geometry: Convolution, padding: Any = 0, channels: tuple[int, int] = (2, 3), **options: Any) -> Case:
    g = geometry
    module = nn.Conv2d(*channels, g.kernel, g.stride, padding, g.dilation, g.groups, **options)
    return Case(module.double(), (6, channels[0], 5, 5), geometry)


def cases() -> dict[str, Case]:
    def around(mode: Any, *sides: tuple[int, int]) -> Callable[[Array], Array]:
        return lambda x: np.pad(x, ((0, 0), (0, 0), *sides), mode=mode)

    one = ((1, 1), (1, 1))
    wrapped = conv(Convolution((3, 3)), 1, padding_mode="circular")
    uneven = conv(Convolution((2, 2)), "same", padding_mode="reflect")
    lifted = Convolution((1, 3), (1, 2), ((0, 0), (2, 2)), (1, 2))
    ring = nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular").double()
    return {
        "linear": Case(nn.Linear(4, 3).double(), (7, 4)),
        "linear without bias": Case(nn.Linear(4, 3, bias=False).double(), (7, 4)),
        "linear over a sequence": Case(nn.Linear(4, 3).double(), (3, 5, 4)),
        "linear of one sample": Case(nn.Linear(4, 3).double(), (4,)),
        "3x3": conv(Convolution((3, 3), padding=one), 1),
        "1x1": conv(Convolution((1, 1)), bias=False),
        "stride and dilation": conv(Convolution((2, 3), (2, 1), ((0, 0), (2, 2)), (1, 2)), (0, 2)),
        "groups": conv(Convolution((3, 3), groups=2), channels=(4, 6)),
        "depthwise without bias": conv(Convolution((2, 2), groups=3), channels=(3, 3), bias=False),
        "valid": conv(Convolution((2, 2)), "valid"),
        "same": conv(Convolution((2, 3), padding=same_padding((2, 3))), "same"),
        "same with groups": conv(Convolution((2, 2), padding=same_padding((2, 2)), groups=2), "same", (4, 4)),
        "circular": wrapped._replace(padded=around("wrap", (1, 1), (1, 1))),
        "same by reflection": uneven._replace(padded=around("reflect", (0, 1), (0, 1))),
        "Conv1d": Case(nn.Conv1d(2, 3, 3, 2, 2, 2).double(), (6, 2, 9), lifted, lambda x: x[:, :, None]),
        "circular Conv1d": Case(
            ring, (6, 2, 9), Convolution((1, 3)), lambda x: around("wrap", (0, 0), (1, 1))(x[:, :, None])
        ),
        "one image": Case(nn.Conv2d(2, 3, 2).double(), (2, 4, 4), Convolution((2, 2)), lambda x: x[None]),
    }


def on_path(monkeypatch: pytest.MonkeyPatch, path: str) -> list[str]:
    """Force the core, or the functions of tensors, where both can; returns which were taken."""
    taken: list[str] = []

    def fits(_: Tensor, inputs: Any, __: int) -> bool:
        grouped = any(getattr(x, "geometry", None) is not None and x.geometry.groups > 1 for x in inputs)
        taken.append("core" if path == "core" and not grouped else "torch")
        return taken[-1] == "core"

    for module in (frog, kfrog):
        monkeypatch.setattr(module, "fits_core", fits)
    return taken


def fed(module: Any, x: Tensor, seed: int) -> Tensor:
    """One forward and one backward pass with random signals, which are returned."""
    out = module(x)
    signals = normal(*out.shape, seed=seed, dtype=out.dtype)
    out.backward(signals)
    return signals


def seen_of(case: Case, x: Tensor, y: Tensor) -> Seen:
    """What the reference is told that the layer saw."""
    inputs, signals = x.numpy(), y.numpy()
    if case.geometry is None:
        return Seen(inputs, signals)
    signals = signals[None] if x.ndim == 3 and isinstance(case.module, nn.Conv2d) else signals
    return Seen(case.padded(inputs), signals[:, :, None] if signals.ndim == 3 else signals)


class Referee:
    """The reference, stepping copies of one layer's parameters."""

    def __init__(self, rule: Any, case: Case) -> None:
        self.shapes = [tuple(p.shape) for p in case.module.parameters()]
        self.params = [self._lifted(case, p.detach().numpy().copy()) for p in case.module.parameters()]
        self.layers = [Layer(0, 1 if len(self.params) > 1 else None, case.geometry)]
        self.groups = [Group(rule, range(len(self.params)))]
        self.states = reference.init(self.groups, self.params, self.layers)
        self.case = case

    @staticmethod
    def _lifted(case: Case, p: Array) -> Array:
        return p[:, :, None] if case.geometry and p.ndim == 3 else p

    def step(self, seen: Seen, **options: Any) -> None:
        grads = [self._lifted(self.case, p.grad.numpy()) for p in self.case.module.parameters()]
        self.params, self.states = reference.step(
            self.groups, self.params, grads, self.states, self.layers, {0: seen}, **options
        )

    def require_near(self, module: Any, start: list[Tensor]) -> None:
        for p, expected, before in zip(module.parameters(), self.params, start, strict=True):
            way = (p - before).abs().max().item()
            assert way > 0
            np.testing.assert_allclose(p.detach().numpy(), expected.reshape(p.shape), rtol=0, atol=NEAR * way)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("path", ["core", "torch"])
@pytest.mark.parametrize("name", cases())
def test_frog_is_the_reference_in_every_geometry(
    name: str, path: str, maximize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D33, D36: groups, 'same' and circular padding, which the release refuses or takes for another convolution."""
    taken, case = on_path(monkeypatch, path), cases()[name]
    optimizer = torch_bind.Frog(case.module.parameters(), case.module, maximize=maximize, **FROG)
    referee, start = Referee(reference.Frog(**FROG), case), [p.detach().clone() for p in case.module.parameters()]
    for t in range(3):
        optimizer.zero_grad()
        x = normal(*case.shape, seed=10 + t)
        referee.step(seen_of(case, x, fed(case.module, x, t)), maximize=maximize)
        optimizer.step()
    assert set(taken) == {path} or "groups" in name or "depthwise" in name
    referee.require_near(case.module, start)


CONVOLUTIONS = ["3x3", "1x1", "stride and dilation", "valid", "same", "circular", "one image"]


@pytest.mark.parametrize("path", ["core", "torch"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_kfrog_is_the_reference_in_every_geometry(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, case = on_path(monkeypatch, path), cases()[name]
    optimizer = torch_bind.KFrog(case.module.parameters(), case.module, **KFROG)
    referee, start = Referee(reference.KFrog(**KFROG), case), [p.detach().clone() for p in case.module.parameters()]
    for t in range(3):
        optimizer.zero_grad()
        x = normal(*case.shape, seed=10 + t)
        referee.step(seen_of(case, x, fed(case.module, x, t)))
        optimizer.step()
    assert set(taken) == {path}
    referee.require_near(case.module, start)


def test_kfrog_refuses_groups_when_it_is_attached() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(4, 4, 1, groups=2))
    optimizer = torch_bind.KFrog(model.parameters())
    with pytest.raises(ValueError, match=r"Invalid groups: 2 of layer 1 .*skip_modules"):
        optimizer.attach(model)
    assert optimizer.model is None
    torch_bind.KFrog(model.parameters(), model, skip_modules=["1"])


# --- several passes


@pytest.mark.parametrize("path", ["core", "torch"])
@pytest.mark.parametrize("optimizer_of", [torch_bind.Frog, torch_bind.KFrog])
def test_accumulated_micro_batches_are_one_batch(optimizer_of: Any, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release keeps the last one only."""
    on_path(monkeypatch, path)
    own = FROG if optimizer_of is torch_bind.Frog else KFROG
    case = cases()["3x3"]
    optimizer = optimizer_of(case.module.parameters(), case.module, **own)
    referee = Referee(optimizer_of.rule(**own), case)
    start = [p.detach().clone() for p in case.module.parameters()]
    for t in range(2):
        x = [normal(size, 2, 5, 5, seed=k + t) for k, size in enumerate((4, 2, 3))]
        y = [fed(case.module, part, 20 + k) for k, part in enumerate(x)]
        referee.step(seen_of(case, torch.cat(x), torch.cat(y)))
        optimizer.step()
        optimizer.zero_grad()
    referee.require_near(case.module, start)


@pytest.mark.parametrize("path", ["core", "torch"])
def test_a_module_used_twice_is_a_layer_that_saw_both_also_at_two_sizes(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D34: in the release the last call wins, and raises where the sizes differ."""
    on_path(monkeypatch, path)
    case = cases()["3x3"]
    optimizer = torch_bind.Frog(case.module.parameters(), case.module, **FROG)
    start = [p.detach().clone() for p in case.module.parameters()]
    x, small = normal(3, 2, 5, 5, seed=1), normal(4, 2, 3, 2, seed=2)
    outputs = [case.module(x), case.module(small)]
    signals = [normal(*out.shape, seed=3) for out in outputs]
    torch.autograd.backward(outputs, signals)
    expected = by_hand(case, [(x, signals[0]), (small, signals[1])])
    optimizer.step()
    for p, before, h in zip(case.module.parameters(), start, expected, strict=True):
        torch.testing.assert_close(p.detach(), (1 - 0.05 * 0.1) * before - 0.05 * h, rtol=1e-10, atol=1e-11)


def by_hand(case: Case, seen: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """FROG's direction of a convolution with bias, from its gradient and the rows of all that it saw."""
    parts = [
        reference.layers.layers_of(
            np.zeros(case.module.weight.shape), np.zeros(3), Seen(x.numpy(), y.numpy()), case.geometry
        )[0]
        for x, y in seen
    ]
    X, Y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "signals"))
    grads = [p.grad for p in case.module.parameters()]
    e = 1.8 * torch.cat([grads[0].flatten(1), grads[1][:, None]], 1).numpy()  # nesterov's first: g + 0.8 g
    gradient = reference.layers.LayerGradient(e, X, Y, sum(len(x) for x, _ in seen), 1)
    h = torch.from_numpy(reference.Frog(**FROG).natural_direction(e, gradient))
    return [h[:, :-1].reshape(case.module.weight.shape), h[:, -1]]


class Twins(nn.Module):
    """Two linear layers over one weight."""

    def __init__(self, *, bias: str) -> None:
        super().__init__()
        self.first, self.second = (nn.Linear(4, 3, bias=bias != "none").double() for _ in range(2))
        self.second.weight = self.first.weight
        if bias == "shared":
            self.second.bias = self.first.bias

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(z)])


@pytest.mark.parametrize("bias", ["none", "shared"])
def test_layers_that_share_a_weight_step_as_one_that_is_used_twice(bias: str) -> None:
    twins: Any = Twins(bias=bias)
    one: Any = nn.Linear(4, 3, bias=bias != "none").double()
    one.load_state_dict(twins.first.state_dict())
    pair = torch_bind.Frog(twins.parameters(), twins, **FROG), torch_bind.Frog(one.parameters(), one, **FROG)
    x, z, signals = normal(5, 4), normal(3, 4, seed=1), normal(8, 3, seed=2)
    twins(x, z).backward(signals)
    joined: Any = torch.cat([one(x), one(z)])
    joined.backward(signals)
    for optimizer in pair:
        optimizer.step()
    for p, q in zip(twins.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_biases_of_layers_that_share_a_weight_step_by_themselves_if_they_differ() -> None:
    twins: Any = Twins(bias="own")
    optimizer = torch_bind.Frog(twins.parameters(), twins, lr=0.1, tau=0.1)
    twins(normal(5, 4), normal(3, 4, seed=1)).square().sum().backward()
    before = [layer.bias.detach().clone() for layer in (twins.first, twins.second)]
    optimizer.step()
    for layer, bias in zip((twins.first, twins.second), before, strict=True):
        torch.testing.assert_close(layer.bias.detach(), bias - 0.1 * 0.25 * layer.bias.grad)


def test_a_bias_that_other_layers_have_too_steps_by_itself() -> None:
    """In either system it would be stepped twice."""
    model: Any = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)]).double()
    model[1].bias = model[0].bias
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1, tau=0.1)
    (model[0](normal(5, 4)) + model[1](normal(5, 4, seed=1))).square().sum().backward()
    before = model[0].bias.detach().clone()
    optimizer.step()
    torch.testing.assert_close(model[0].bias.detach(), before - 0.1 * 0.25 * model[0].bias.grad)


@pytest.mark.parametrize("options", [{"padding_mode": "circular"}, {"stride": 2}, {"dilation": 2}])
def test_a_weight_that_layers_apply_otherwise_steps_along_its_momentum(options: dict[str, Any]) -> None:
    model: Any = nn.ModuleList([nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1, **options)]).double()
    model[1].weight = model[0].weight
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1)
    x = normal(4, 2, 5, 5)
    (model[0](x).square().sum() + model[1](x).square().sum()).backward()
    before = model[0].weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), before - 0.1 * 0.25 * model[0].weight.grad)


def test_a_weight_shared_with_what_is_no_layer_steps_along_its_momentum() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.head(self.embedding(tokens))
            return out

    model: Any = Tied().double()
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1)
    before = model.head.weight.detach().clone()
    model(torch.tensor([0, 3])).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(model.head.weight.detach(), before - 0.1 * 0.25 * model.head.weight.grad)


# --- other parameters, groups, dialects


@pytest.mark.parametrize("dialect", ["published", "released"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_parameters_of_no_layer_are_the_reference(dialect: str, nesterov: bool, momentum: float) -> None:
    """D31: in the release, decay of these is coupled, and enters the momentum or p.grad."""
    if nesterov and not momentum:
        return
    own: dict[str, Any] = {
        "lr": 0.1,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": 0.3,
        "dialect": dialect,
    }
    p, model = Parameter(normal(3, 4)), nn.Module()
    optimizer = torch_bind.Frog([p], model, **own)
    groups, params = [Group(reference.Frog(**own), [0])], [p.detach().numpy().copy()]
    states = reference.init(groups, params)
    for t in range(3):
        p.grad = normal(3, 4, seed=t + 1)
        given = p.grad.clone()
        params, states = reference.step(groups, params, [given.numpy()], states)
        optimizer.step()
        assert torch.equal(p.grad, given)
        np.testing.assert_allclose(p.detach().numpy(), params[0], rtol=1e-14, atol=1e-15)
    assert ("momentum_buffer" in optimizer.state[p]) is (momentum > 0)
    if momentum:
        buffer = optimizer.state[p]["momentum_buffer"].numpy()
        np.testing.assert_allclose(buffer, states[0].momentum_buffer, rtol=1e-14)


def test_released_conditions_convolutions_alone_with_the_released_guard() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(3 * 9, 2), nn.Conv1d(1, 1, 1)).double()
    optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1, dialect="released")
    assert optimizer.param_groups[0]["denom_eps"] == 1e-10
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model[:3](normal(4, 2, 4, 4)).square().sum().backward()
    optimizer.step()
    for name, p in model.named_parameters():
        plain = None if p.grad is None else before[name] - 0.1 * 0.25 * p.grad
        follows = plain is not None and torch.allclose(p, plain, rtol=1e-12)
        assert follows is (name in ("0.bias", "2.weight", "2.bias")), name


def test_recorded_trajectories_of_the_release_replay() -> None:
    """With momentum, decay and every geometry that was recorded."""
    for rule, keywords in (("frog", {"dialect": "released"}), ("kfrog", {})):
        factory = torch_bind.RULES[rule]
        target = TorchTarget(factory.__name__, factory, rule, keywords, {})
        for case in (case for file in frozen() if file.stem == rule for case in read(file)):
            replay = replay_case(case, target)
            assert replay.share <= 1, f"{replay.case}: {replay.divergence}"


def test_groups_have_hyperparameters_of_their_own_sample_size_included() -> None:
    """D35: the release's hooks read the defaults."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    groups = [{"params": model[0].parameters(), "sample_size": 5}, {"params": model[1].parameters(), "lr": 0.0}]
    optimizer = torch_bind.Frog(groups, model, lr=0.1, sample_size=7)
    before = [p.detach().clone() for p in model.parameters()]
    model(normal(20, 4, dtype=torch.float32)).square().sum().backward()
    kept = [[r.kept for r in recorder.reservoirs] for _, recorder in optimizer._watched.values()]
    assert kept == [[5], [7]]
    optimizer.step()
    moved = [not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)]
    assert moved == [True, True, False, False]


def test_a_bias_in_a_group_of_its_own_and_one_of_a_frozen_weight_step_along_their_momentum() -> None:
    for is_frozen in (False, True):
        layer: Any = nn.Linear(4, 3).double()
        layer.weight.requires_grad_(not is_frozen)
        groups = [{"params": [layer.weight]}, {"params": [layer.bias]}]
        optimizer = torch_bind.Frog(layer.parameters() if is_frozen else groups, layer, lr=0.1)
        before = layer.bias.detach().clone()
        layer(normal(6, 4)).square().sum().backward()
        optimizer.step()
        torch.testing.assert_close(layer.bias.detach(), before - 0.1 * 0.25 * layer.bias.grad)


# --- laws


@pytest.mark.parametrize("path", ["core", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_does_not_depend_on_the_scale_of_the_loss(
    path: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D32: the release's guard makes steps vanish with the loss; powers of two are exact."""
    on_path(monkeypatch, path)
    steps = []
    for scale in (1.0, 2.0**-20, 2.0**14):
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(75, 2)).to(dtype)
        with torch.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(normal(*p.shape, seed=k, dtype=dtype) / 8)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch_bind.Frog(model.parameters(), model, lr=0.1, tau=0.1)
        (scale * model(normal(8, 2, 5, 5, seed=9, dtype=dtype)).square().sum()).backward()
        optimizer.step()
        steps.append([p.detach() - q for p, q in zip(model.parameters(), before, strict=True)])
    for other in steps[1:]:
        assert all(torch.equal(a, b) for a, b in zip(steps[0], other, strict=True))


@pytest.mark.parametrize("path", ["core", "torch"])
def test_each_row_steps_by_lr_in_its_own_fisher_metric(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: <F h, h> = lr^2, however few the iterations."""
    on_path(monkeypatch, path)
    layer: Any = nn.Linear(5, 3, bias=False).double()
    optimizer = torch_bind.Frog(layer.parameters(), layer, lr=0.03, tau=0.2, num_iters=2)
    before, x = layer.weight.detach().clone(), normal(9, 5, seed=1)
    y = fed(layer, x, 2)
    optimizer.step()
    for j, h in enumerate(layer.weight.detach() - before):
        fisher = x.T @ (y[:, j : j + 1] ** 2 * x)
        fisher = fisher / (fisher.trace() / 5) + 0.2 * torch.eye(5, dtype=torch.float64)
        assert (h @ fisher @ h).item() == pytest.approx(0.03**2, rel=1e-12)


def test_the_paths_are_chosen_by_what_is_cheaper() -> None:
    def fits(inputs: Any, rows: int, device: str = "cpu") -> bool:
        p = torch.zeros(rows, 1, device=device)
        return fisher_systems.fits_core(p, [inputs], 4)

    def images(channels: int, size: int, kernel: int, groups: int = 1) -> Any:
        geometry = Convolution((kernel, kernel), groups=groups)
        return fisher.ConvolutionInputs(torch.zeros(24, channels, size, size), geometry, has_bias=False)

    assert fits(fisher.LinearInputs(torch.zeros(8, 4)), 3)
    assert not fits(fisher.LinearInputs(torch.zeros(8, 4)), 3, "meta")
    assert fits(images(512, 4, 3), 512)  # deep: few positions, in sample space
    assert not fits(images(64, 32, 3), 64)  # early: unfolding costs more than it saves
    assert fits(images(64, 32, 1), 64)  # nothing to unfold
    assert not fits(images(512, 4, 3, groups=512), 512)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["core", "torch"])
@pytest.mark.parametrize("name", ["Frog", "KFrog"])
def test_the_gauge_finds_that_either_path_conforms(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, path)
    report = check_optimizer(getattr(torch_bind, name), level="quick", diagnosis=False)
    assert report, str(report)


def test_the_signature_is_the_released_one_with_the_defaults_of_the_rule() -> None:
    released = {
        "frog": "lr lr_other_ratio momentum nesterov weight_decay sample_size num_iters tau batch_averaged "
        "skip_modules denom_eps",
        "kfrog": "lr momentum nesterov y_momentum sample_size num_iters batch_averaged skip_modules y_sample_size eps",
    }
    for rule, names in released.items():
        arguments = inspect.signature(torch_bind.RULES[rule]).parameters.values()
        positional = [a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD]
        assert positional == ["params", "model", *names.split()]
        optimizer: Any = torch_bind.RULES[rule]
        group = optimizer([Parameter(normal(2))]).param_groups[0]
        defaults = reference.RULES[rule]().hyperparameters()
        assert {name: group[name] for name in defaults} == defaults
