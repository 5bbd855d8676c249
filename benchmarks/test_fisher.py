"""FROG's directions: the core beside the same recurrence in torch, and beside what BLAS can do.

    pip install -c constraints.txt -e '.[bench]'
    pytest benchmarks/test_fisher.py --benchmark-json fisher.json

Contestants take turns in one process, on one thread; times are medians of its CPU time. The convolutions are those of
ResNet-18 on images of 32 x 32, at FROG's default of 24 samples. The core unfolds a layer where that is cheaper, and
leaves the products of the others to torch's oneDNN, as the bindings can; unfolding is timed with the rest.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.linalg.blas import sgemm
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_weight

from stepgauge.core._fisher import cheaper_form, conjugate_gradients, natural_direction, weigh_outputs
from stepgauge.core._fisher_patches import unfold
from stepgauge.reference import Convolution

ITERATIONS, TAU = 4, 1e-2
ROUNDS = 9
SAMPLES = 24
CEILING = 1024  # sides of the matrices that show what a library's GEMM reaches

pytestmark = pytest.mark.benchmark(timer=time.thread_time, warmup=False)


class Layer(NamedTuple):
    count: int  # in the network
    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1

    @property
    def geometry(self) -> Convolution:
        side = self.kernel // 2
        return Convolution((self.kernel,) * 2, (self.stride,) * 2, ((side, side), (side, side)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples and positions, columns, rows."""
        return SAMPLES * (self.size // self.stride) ** 2, self.inputs * self.kernel**2, self.outputs


RESNET18 = {
    "stem": Layer(1, 3, 64, 32, 3),
    "layer1": Layer(4, 64, 64, 32, 3),
    "layer2, first": Layer(1, 64, 128, 32, 3, 2),
    "layer2": Layer(3, 128, 128, 16, 3),
    "layer2, shortcut": Layer(1, 64, 128, 32, 1, 2),
    "layer3, first": Layer(1, 128, 256, 16, 3, 2),
    "layer3": Layer(3, 256, 256, 8, 3),
    "layer3, shortcut": Layer(1, 128, 256, 16, 1, 2),
    "layer4, first": Layer(1, 256, 512, 8, 3, 2),
    "layer4": Layer(3, 512, 512, 4, 3),
    "layer4, shortcut": Layer(1, 256, 512, 8, 1, 2),
}
FASTER = {"layer4": 3.5}  # than torch, at least; other layers 1.0, all together 1.3
LINEAR = {"64 x 512 -> 512": (64, 512, 512, 1.0), "128 x 4096 -> 1024": (128, 4096, 1024, 5.5)}


class Row(NamedTuple):
    """Medians in milliseconds."""

    core: float
    torch: float
    share: float | None = None  # of GEMM's rate that the core's operations reach, in the library that multiplies for it
    torch_share: float | None = None  # of torch's, likewise


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[str, Row]]:
    """What was measured; printed at the end."""
    rows: dict[str, Row] = {}
    yield rows
    lines = [f"{'':22}{'core ms':>9}{'of GEMM':>9}{'torch ms':>10}{'of GEMM':>9}{'ratio':>7}"]
    for name, row in rows.items():
        shares = f"{row.core:9.1f}{_percent(row.share)}{row.torch:10.1f}{_percent(row.torch_share)}"
        lines.append(f"{name:22}{shares}{row.torch / row.core:7.2f}")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *lines, sep="\n")


def _percent(share: float | None) -> str:
    return f"{'':>9}" if share is None else f"{share:9.0%}"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1), torch.inference_mode():
        yield
    torch.set_num_threads(before)


def measure(
    benchmark: Any,
    core: Callable[[], Any],
    recurrence: Callable[[], Any],
    shape: tuple[int, int, int],
    form: str,
    library: str,
) -> Row:
    """Rounds in which the contestants and both libraries' GEMM take turns; `library` multiplies for the core."""
    square = np.asfortranarray(np.ones((CEILING, CEILING), np.float32))
    other = torch.ones(CEILING, CEILING)
    # A GEMM before each contestant, so that neither finds its arrays in the cache where the other has left them.
    peers = {"torch gemm": lambda: other @ other, "torch": recurrence, "scipy gemm": lambda: sgemm(1.0, square, square)}
    times: dict[str, list[float]] = {name: [] for name in peers}

    def others() -> None:
        for name, peer in peers.items():
            start = time.thread_time()
            peer()
            times[name].append(1e3 * (time.thread_time() - start))

    benchmark.pedantic(core, setup=others, rounds=ROUNDS, warmup_rounds=1)
    own = 1e3 * benchmark.stats.stats.median
    ms = {name: median(t[1:]) for name, t in times.items()}  # the first round warms up
    peak = {name: 2 * CEILING**3 / ms[f"{name} gemm"] for name in ("scipy", "torch")}
    share = operations(*shape, form) / own / peak[library]
    torch_share = operations(*shape, "torch") / ms["torch"] / peak["torch"]
    row = Row(own, ms["torch"], share, torch_share)
    benchmark.extra_info.update(row._asdict(), ratio=row.torch / row.core, form=form, library=library)
    return row


def operations(samples: int, cols: int, rows: int, form: str) -> int:
    """Of the matrix products alone."""
    product = 2 * samples * cols * rows
    if form == "sample":
        return samples**2 * cols + 2 * product + (ITERATIONS - 1) * 2 * samples**2 * rows
    return (2 * ITERATIONS - (form != "torch")) * product


def torch_recurrence(e: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    """Four conjugate gradients on all rows at once, from the formulas, and the scaling to unit length."""
    axes = tuple(range(1, e.ndim))
    w, r, p = torch.zeros_like(e), e, e
    rr = (r * r).sum(axes, keepdim=True)
    for _ in range(ITERATIONS):
        Ap = product(p) + TAU * p
        alpha = rr / (p * Ap).sum(axes, keepdim=True)
        w = w + alpha * p
        r = r - alpha * Ap
        before, rr = rr, (r * r).sum(axes, keepdim=True)
        p = r + rr / before * p
    return w * torch.rsqrt((w * e).sum(axes, keepdim=True))


def torch_linear(e: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    F = Y * Y
    S = F / (F.T @ (X * X).mean(1, keepdim=True)).T
    return torch_recurrence(e, lambda P: (S * (X @ P.T)).T @ X)


def torch_convolution(e: Tensor, x: Tensor, y: Tensor, geometry: Convolution) -> Tensor:
    S, options = torch_weights(x, y, geometry)
    return torch_recurrence(e, lambda P: conv2d_weight(x, e.shape, S * conv2d(x, P, **options), **options))


def torch_weights(x: Tensor, y: Tensor, geometry: Convolution) -> tuple[Tensor, dict[str, Any]]:
    """The normalised squares of the signals, and how torch is told the geometry."""
    options = {"stride": geometry.stride, "padding": tuple(side[0] for side in geometry.padding)}
    window = torch.ones(1, 1, *geometry.kernel) / (x.shape[1] * geometry.kernel[0] * geometry.kernel[1])
    F = y * y
    trace = (F * conv2d((x * x).sum(1, keepdim=True), window, **options)).sum((0, 2, 3))
    return F / trace[:, None, None], options


def core_unfolded(e: Tensor, x: Tensor, y: Tensor, geometry: Convolution) -> np.ndarray:
    X = unfold(x.numpy(), geometry)
    rows = y.flatten(2).transpose(0, 1).reshape(len(e), -1).numpy()
    return natural_direction(e.flatten(1).numpy(), X, rows.T, 1.0, TAU, ITERATIONS)


def core_over_onednn(e: Tensor, x: Tensor, y: Tensor, geometry: Convolution) -> np.ndarray:
    S, options = torch_weights(x, y, geometry)
    weights = S.flatten(2).numpy()

    def product(P: np.ndarray, AP: np.ndarray | None) -> np.ndarray:
        Z = conv2d(x, torch.from_numpy(P).view(e.shape), **options)
        curvature = weigh_outputs(Z.flatten(2).numpy(), weights)
        if AP is not None:
            torch.from_numpy(AP).view(e.shape).copy_(conv2d_weight(x, e.shape, Z, **options))
        return curvature

    return conjugate_gradients(product, e.flatten(1).numpy(), TAU, ITERATIONS, normalised=True)


def signals(shape: tuple[int, ...]) -> Tensor:
    """Random ones, reproducible."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def with_momentum(gradient: Tensor) -> Tensor:
    """A gradient beside which there are others: no combination of these samples."""
    return gradient + 0.5 * gradient.std() * signals(tuple(gradient.shape))


def test_same_direction() -> None:
    """The contestants compute the same, up to the roundings of four iterations."""
    layer = Layer(1, 8, 16, 8, 3)
    x, y = signals((SAMPLES, 8, 8, 8)), signals((SAMPLES, 16, 8, 8))
    e = with_momentum(conv2d_weight(x, (16, 8, 3, 3), y, padding=1))
    expected = torch_convolution(e, x, y, layer.geometry).flatten(1).numpy()
    for direction in (core_unfolded, core_over_onednn):
        assert np.max(np.abs(direction(e, x, y, layer.geometry) - expected)) <= 1e-4 * np.max(np.abs(expected))


@pytest.mark.parametrize("name", LINEAR)
def test_linear(benchmark: Any, table: dict[str, Row], name: str) -> None:
    samples, cols, rows, goal = LINEAR[name]
    X, Y = signals((samples, cols)), signals((samples, rows))
    e = with_momentum(Y.T @ X)
    arrays = [t.numpy() for t in (e, X, Y)]
    row = measure(
        benchmark,
        lambda: natural_direction(*arrays, 1.0, TAU, ITERATIONS),
        lambda: torch_linear(e, X, Y),
        (samples, cols, rows),
        cheaper_form(samples, cols, rows, ITERATIONS),
        "scipy",
    )
    table[name] = row
    assert row.torch / row.core >= goal


@pytest.mark.parametrize("name", RESNET18)
def test_convolution(benchmark: Any, table: dict[str, Row], name: str) -> None:
    layer = RESNET18[name]
    outputs = layer.size // layer.stride
    x, y = signals((SAMPLES, layer.inputs, layer.size, layer.size)), signals((SAMPLES, layer.outputs, outputs, outputs))
    weight = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    e = with_momentum(conv2d_weight(x, weight, y, stride=layer.stride, padding=layer.kernel // 2))
    form = cheaper_form(*layer.shape, ITERATIONS)
    unfolds = form == "sample" or layer.kernel == 1  # a patch of one pixel costs nothing to unfold
    direction = core_unfolded if unfolds else core_over_onednn
    row = measure(
        benchmark,
        lambda: direction(e, x, y, layer.geometry),
        lambda: torch_convolution(e, x, y, layer.geometry),
        layer.shape,
        form,
        "scipy" if unfolds else "torch",
    )
    table[name] = row
    assert row.torch / row.core >= FASTER.get(name, 1.0)


def test_whole_network(table: dict[str, Row]) -> None:
    if missing := RESNET18.keys() - table.keys():
        pytest.skip(f"{len(missing)} layers were not measured in this run")
    core, others = (sum(RESNET18[n].count * getattr(table[n], x) for n in RESNET18) for x in ("core", "torch"))
    table["all convolutions"] = Row(core, others)
    assert others / core >= 1.3
