"""Law: whoever compiles, steps as without; a step never waits for the device, and always launches as much."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from stepgauge import torch_bind
from stepgauge.properties.layers.torch_cases import (
    CASES,
    LAUNCHES,
    OF_EACH,
    SHAPES,
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
)

compiles = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:Profiler function")  # torch's own
every_case = pytest.mark.parametrize("name", CASES)
every_rule = pytest.mark.parametrize("name", OF_EACH.values())


def test_importing_the_bindings_imports_no_compiler() -> None:
    code = "import sys, stepgauge.torch_bind; print([m for m in sys.modules if m.startswith('torch._dynamo')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- compiled steps

Compiled = Callable[[Any, Callable[[], None]], Callable[[], None]]


def after(backward: Callable[[], None], step: Any) -> Callable[[], None]:
    def train() -> None:
        backward()
        step()

    return train


def bound(optimizer: Any, backward: Callable[[], None]) -> Callable[[], None]:
    return after(backward, torch.compile(optimizer.step, backend="eager"))


def in_a_function(optimizer: Any, backward: Callable[[], None]) -> Callable[[], None]:
    def step() -> None:
        optimizer.step()

    return after(backward, torch.compile(step, backend="eager"))


def in_training(optimizer: Any, backward: Callable[[], None]) -> Callable[[], None]:
    def train() -> None:
        optimizer.zero_grad()
        backward()
        optimizer.step()

    return torch.compile(train, backend="eager")


def with_a_closure(optimizer: Any, backward: Callable[[], None]) -> Callable[[], None]:
    def closure() -> float:
        optimizer.zero_grad()
        backward()
        return 0.0

    return torch.compile(lambda: optimizer.step(closure), backend="eager")


@compiles
@every_case
@pytest.mark.parametrize("how", [bound, in_a_function, in_training, with_a_closure])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.usefixtures("eager_mathematics")
def test_a_compiled_step_keeps_the_states_of_equal_shapes_apart(name: str, how: Compiled, dtype: torch.dtype) -> None:
    """A state looked up in a compiled frame is, from its second call on, another parameter's of the same shape."""
    torch.compiler.reset()
    params, twins = ([Parameter(torch.ones(8, dtype=dtype)) for _ in range(3)] for _ in range(2))
    ours, plain = build(name, params), build(name, twins)
    targets = [normal(8, dtype=dtype, seed=i) for i in range(3)]

    def backward(own: list[Parameter]) -> None:
        loss: Any = torch.stack([((p - y) ** 2).sum() for p, y in zip(own, targets, strict=True)]).sum()
        loss.backward()

    step = how(ours, lambda: backward(params))
    for _ in range(4):
        ours.zero_grad()
        plain.zero_grad()
        backward(twins)
        plain.step()
        step()
    assert_same(everything(ours), everything(plain))


@compiles
@pytest.mark.parametrize("optimizer", [torch_bind.AdamP, torch_bind.Frog])
def test_a_full_graph_is_refused_with_the_reason(optimizer: Any) -> None:
    torch.compiler.reset()
    p = parameter(3)
    p.grad = torch.ones(3)
    before = p.detach().clone()
    step: Any = torch.compile(optimizer([p]).step, fullgraph=True, backend="eager")
    with pytest.raises(RuntimeError, match=r"looks its states up by parameter.*compile without fullgraph=True"):
        step()
    assert torch.equal(p, before)


@pytest.fixture
def eager_mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mathematics of a compiled step without the compiler, whose rounding is a matter of its own."""
    from stepgauge.torch_bind import in_torch

    monkeypatch.setattr(in_torch, "compiled_step", lambda: in_torch._step)


@pytest.mark.slow
@compiles
@every_case
@pytest.mark.parametrize("how", ["foreach", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_compiled_mathematics_are_the_mathematics(name: str, how: str, dtype: torch.dtype) -> None:
    """Of slices, and of float16: both beyond the core; with a schedule, which is not compiled for anew."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    params, twins = (
        [Parameter(normal(4, 12, dtype=dtype, seed=i)[:, ::2]) for i in range(2)] for _ in range(2)
    )  # fmt: skip
    ours, plain = build(name, params, foreach=how == "foreach"), build(name, twins)
    step = torch.compile(ours.step) if how == "compiled" else ours.step
    for seed in range(1, 5):
        for optimizer in (ours, plain):
            optimizer.param_groups[0]["lr"] = 0.1 / seed
        feed(params, seed)
        feed(twins, seed)
        plain.step()
        step()
        unit = torch.finfo(dtype).eps
        for a, b in zip(params, twins, strict=True):
            torch.testing.assert_close(a, b, rtol=8 * unit, atol=8 * unit)
    for x, y in zip(comparable(ours)[2:], comparable(plain)[2:], strict=True):
        torch.testing.assert_close(
            x, y, rtol=1e-2 if dtype == torch.float16 else 1e-4, atol=1e-2 if dtype == torch.float16 else 1e-4
        )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2 + (
        how == "compiled"
    )  # the first step's, the others'


@pytest.mark.slow
@compiles
def test_past_the_limit_of_compilations_it_steps_all_the_same() -> None:
    """Here each step has other parameters with gradients, for which it would be compiled anew."""
    params, twins = ([parameter(2, dtype=torch.float16, seed=i) for i in range(5)] for _ in range(2))
    ours, plain = build("sgd", params, foreach=True), build("sgd", twins)
    for seed in range(1, 14):
        for own in (params, twins):
            feed(own, seed)
            for i, p in enumerate(own):
                p.grad = p.grad if seed >> i & 1 else None
        ours.step()
        plain.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.slow
@compiles
@every_case
@pytest.mark.parametrize("shape", [(), (4, 6), (3, 4, 2, 2)], ids=str)
def test_the_pure_function_compiles_whole(name: str, shape: tuple[int, ...]) -> None:
    torch.compiler.reset()
    compiled = torch.compile(optimizer_of(name).update, fullgraph=True, dynamic=False)
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


# --- no value is asked for, and launches are constant


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is not typed
    """Counts the operators that a GPU would launch: those that have a result with memory of its own."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not getattr(func, "is_view", False):
            self.count += 1
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_step_in_torch_never_asks_for_a_value(name: str, dtype: torch.dtype) -> None:
    with FakeTensorMode():  # where asking for one raises: on a GPU, the host would wait for the device
        params = [Parameter(torch.ones(shape, dtype=dtype)) for shape in SHAPES]
        optimizer = build(name, params, maximize=True, lr=torch.tensor(0.1))
        for _ in range(3):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
        with pytest.raises(DataDependentOutputException):
            float(params[0])


@every_case
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_pure_function_stays_on_its_device(name: str, shape: tuple[int, ...]) -> None:
    with FakeTensorMode():  # knows GPUs even where there is none
        p = torch.ones(shape, device="cuda")
        state = first_state(name, p)
        fields = list(optimizer_of(name).fields(build(name, [Parameter(torch.ones(1))])._set()[0].rule))
        for _ in range(3):
            p, *state = pure_step(name, p, torch.ones_like(p), state)
        assert p.device.type == "cuda"
        for field, x in zip(fields, state, strict=True):
            assert x is None or x.device.type == ("cpu" if field == "step" else "cuda"), field


@every_case
def test_launches_are_constant_and_few(name: str) -> None:
    """Whatever the numbers are: for the first step of a parameter, a full buffer, a projection, NaN."""
    counts = []
    p = normal(4, 6)
    state = first_state(name, p)
    for seed in range(6):
        g = normal(4, 6, seed=seed) * (float("nan") if seed == 5 else seed)
        with Launches() as launches:
            p, *state = pure_step(name, p, g, state)
        counts.append(launches.count)
    assert len(set(counts[1:])) == 1, counts  # the first may make a buffer
    assert counts[1] <= LAUNCHES[name]


@every_rule
def test_steps_are_captured_where_they_are_counted_on_the_device(name: str) -> None:
    p, q = parameter(4, 6, dtype=torch.float16), parameter(4, 6, dtype=torch.float16)
    ours, plain = build(name, [p], capturable=True), build(name, [q])
    for seed in (1, 2):
        feed([p], seed)
        feed([q], seed)
        ours.step()
        plain.step()
    assert_same(everything(ours), everything(plain))
    with FakeTensorMode():
        x = Parameter(torch.ones(4, 6, device="cuda"))
        for capturable, device in ((True, "cuda"), (False, "cpu")):
            optimizer = build(name, [x], capturable=capturable)
            fields = optimizer._set()[0].fields
            if "step" in fields:
                from stepgauge.torch_bind.state import begun

                made = begun(optimizer._set()[0].rule, fields, x, {}, capturable)
                assert made["step"].device.type == device


@pytest.mark.gpu
@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_gpu_steps_as_the_cpu_and_is_never_waited_for(name: str, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    ours = [parameter(*shape, dtype=dtype) for shape in SHAPES]
    theirs = [Parameter(p.detach().cuda()) for p in ours]
    on_cpu, on_gpu = build(name, ours), build(name, theirs)
    for seed in (1, 2, 3):
        feed(ours, seed)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = p.grad.cuda()  # type: ignore[union-attr]
        on_cpu.step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            on_gpu.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    unit = torch.finfo(dtype).eps
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=16 * unit, atol=16 * unit)


@pytest.mark.gpu
@every_rule
def test_a_step_is_captured_in_a_graph(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    params = [Parameter(normal(4, 6).cuda()), Parameter(normal(5).cuda())]
    twins = [Parameter(p.detach().clone()) for p in params]
    lr = torch.tensor(0.1, device="cuda")
    captured, plain = build(name, params, capturable=True, lr=lr), build(name, twins)
    for p in params:
        p.grad = torch.ones_like(p)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        captured.step()  # makes the state
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured.step()
    for p in twins:
        p.grad = torch.ones_like(p)
    plain.step()
    for seed in (1, 2, 3):
        for p, q in zip(params, twins, strict=True):
            g = normal(*p.shape, seed=seed).cuda()
            p.grad.copy_(g)  # type: ignore[union-attr]
            q.grad = g
        graph.replay()
        plain.step()
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q)


@pytest.fixture(autouse=True)
def quiet_compiler() -> Iterator[None]:
    yield
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
