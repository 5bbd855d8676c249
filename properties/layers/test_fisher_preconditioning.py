"""FROG and K-FROG against dense linear algebra, for every geometry."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgauge.reference.conjugate_gradients import conjugate_gradients, dot
from stepgauge.reference.driver import Group, init, step
from stepgauge.reference.frog import Frog
from stepgauge.reference.kfrog import KFrog
from stepgauge.reference.layers import (
    Convolution,
    Layer,
    LayerGradient,
    Seen,
    gradient_of,
    layers_of,
    matrices,
    patches,
    same_padding,
    subsample,
    tensors,
)
from stepgauge.reference.rule import Array

U = 2.0**-53
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # a remark on torch's speed
SETTINGS = settings(derandomize=True, deadline=None, max_examples=25)


class TorchLayer(NamedTuple):
    """A torch layer and the geometry that the reference has of it."""

    module: Any
    shape: tuple[int, ...]  # of one sample
    geometry: Convolution | None


def _conv(cin: int, cout: int, kernel: int, **options: Any) -> TorchLayer:
    module: Any = torch.nn.Conv2d(cin, cout, kernel, **options).double()
    padding = options.get("padding", 0)
    sides = same_padding((kernel, kernel), module.dilation) if padding == "same" else ((padding,) * 2,) * 2
    geometry = Convolution((kernel, kernel), module.stride, sides, module.dilation, module.groups)
    return TorchLayer(module, (cin, 5, 5), geometry)


def _layers() -> dict[str, TorchLayer]:
    return {
        "linear": TorchLayer(torch.nn.Linear(4, 3).double(), (4,), None),
        "linear without bias": TorchLayer(torch.nn.Linear(4, 3, bias=False).double(), (4,), None),
        "linear over a sequence": TorchLayer(torch.nn.Linear(4, 3).double(), (6, 4), None),
        "3x3": _conv(2, 3, 3),
        "stride 2": _conv(2, 3, 3, stride=2, padding=1),
        "dilation 2": _conv(2, 3, 2, dilation=2, padding=2),
        "1x1": _conv(2, 3, 1),
        "same": _conv(2, 3, 2, padding="same"),
        "same, dilated": _conv(2, 3, 4, padding="same", dilation=2),
        "two groups": _conv(4, 6, 2, groups=2),
        "depthwise": _conv(3, 3, 2, groups=3, bias=False),
    }


LAYERS = sorted(_layers())


def _seen(name: str, seed: int = 0, samples: int = 12) -> tuple[list[LayerGradient], TorchLayer, Array, Array]:
    """What a layer saw under random weights, inputs and output gradients."""
    torch.manual_seed(seed)
    layer = _layers()[name]
    x = torch.randn(samples, *layer.shape, dtype=torch.float64)
    out = layer.module(x)
    y = torch.randn_like(out)
    torch.autograd.backward(out, y)
    weight, bias = layer.module.weight, layer.module.bias
    bias_grad = None if bias is None else bias.grad.numpy()
    seen = layers_of(weight.grad.numpy(), bias_grad, Seen(x.numpy(), y.numpy()), layer.geometry)
    return seen, layer, x.numpy(), y.numpy()


def _fisher(g: LayerGradient, row: int, tau: float) -> Array:
    """The row's Fisher matrix, formed: normalised by its mean diagonal, and damped."""
    F = g.inputs.T @ np.diag(g.signals[:, row] ** 2) @ g.inputs
    return F / (np.trace(F) / len(F)) + tau * np.eye(len(F))


def _direction(
    g: LayerGradient, *, iterations: int, tau: float, e: Array | None = None, denom_eps: float = 0.0
) -> Array:
    rule = Frog(num_iters=iterations, tau=tau, denom_eps=denom_eps)
    return rule.natural_direction(g.grad if e is None else e, g)


@pytest.mark.parametrize("name", LAYERS)
def test_g8_gradient_is_signals_times_patches(name: str) -> None:
    """G = Y' X for every layer that torch has differentiated, biases, groups and padding included."""
    gradients, *_ = _seen(name)
    for g in gradients:
        assert np.max(np.abs(g.signals.T @ g.inputs - g.grad)) <= 64 * U * np.max(np.abs(g.grad)) * len(g.inputs) ** 0.5


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("two groups", "depthwise") and "linear" not in n])
def test_g8_convolution_is_a_product_with_patches(name: str) -> None:
    _, layer, x, _ = _seen(name)
    assert layer.geometry is not None
    weight = matrices(layer.module.weight.detach().numpy())[0]
    out = layer.module(torch.from_numpy(x)).detach().numpy() - layer.module.bias.detach().numpy()[:, None, None]
    product = (patches(x, layer.geometry) @ weight.T).transpose(0, 2, 1).reshape(out.shape)
    assert product == pytest.approx(out, abs=1e-13)


@pytest.mark.parametrize("name", LAYERS)
def test_matrices_and_back(name: str) -> None:
    """Weight and bias go into the rows of each group, and come back."""
    module = _layers()[name].module
    weight = module.weight.detach().numpy()
    bias = None if module.bias is None else module.bias.detach().numpy()
    parts = matrices(weight, bias, getattr(module, "groups", 1))
    again = tensors(parts, weight.shape, bias=bias is not None)
    assert np.array_equal(again[0], weight)
    assert (again[1] is None) if bias is None else np.array_equal(bias, again[1])  # type: ignore[arg-type]  # not None then


@pytest.mark.parametrize("name", LAYERS)
def test_g1_many_iterations_solve_the_system(name: str) -> None:
    """With 2 D iterations the step of a row is F^-1 g / sqrt(<F^-1 g, g>), F formed and solved densely."""
    for g in _seen(name)[0]:
        D = g.grad.shape[1]
        h = _direction(g, iterations=2 * D, tau=0.01)
        for row in range(len(g.grad)):
            solved = np.linalg.solve(_fisher(g, row, 0.01), g.grad[row])
            expected = solved / np.sqrt(solved @ g.grad[row])
            assert h[row] == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.max(np.abs(expected)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_g2_every_step_has_unit_fisher_norm(name: str, iterations: int) -> None:
    """<F h, h> = 1 after any number of iterations, not at convergence alone."""
    for g in _seen(name)[0]:
        h = _direction(g, iterations=iterations, tau=0.1)
        for row in range(len(g.grad)):
            assert h[row] @ _fisher(g, row, 0.1) @ h[row] == pytest.approx(1, abs=1e-11)


@SETTINGS
@given(st.integers(0, 1000))
def test_g3_inner_product_grows_with_iterations(seed: int) -> None:
    """<W_k, e> is positive and increases with k."""
    A, e = _system(seed, 9)
    inner = [float(dot(_solve(A, e, k), e)[0, 0]) for k in range(1, 6)]
    assert inner[0] > 0
    assert all(b >= a * (1 - 1e-13) for a, b in itertools.pairwise(inner))


def _system(seed: int, n: int, decades: float = 1.0) -> tuple[Array, Array]:
    """A positive definite matrix, and one right-hand side as a row."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return Q @ np.diag(10 ** rng.uniform(0, decades, n)) @ Q.T, rng.standard_normal((1, n))


def _solve(A: Array, e: Array, iterations: int) -> Array:
    return conjugate_gradients(lambda P: P @ A, e, iterations, 0.0)


@SETTINGS
@given(st.integers(0, 1000))
def test_g4_invariants(seed: int) -> None:
    """Directions are A-conjugate, residuals orthogonal, the A-norm of the error falls, D iterations solve."""
    A, e = _system(seed, 8)
    solution = np.linalg.solve(A, e[0])
    iterates = [np.zeros(8), *(_solve(A, e, k)[0] for k in range(1, 9))]
    steps = np.diff(iterates[:6], axis=0)
    steps /= np.sqrt(np.einsum("ij,jk,ik->i", steps, A, steps))[:, None]
    assert steps @ A @ steps.T == pytest.approx(np.eye(5), abs=1e-9)
    residuals = np.array([e[0] - A @ w for w in iterates[:5]])
    residuals /= np.linalg.norm(residuals, axis=1)[:, None]
    assert residuals @ residuals.T == pytest.approx(np.eye(5), abs=1e-9)
    errors = [float((w - solution) @ A @ (w - solution)) for w in iterates]
    assert all(b < a for a, b in itertools.pairwise(errors[:6]))
    assert iterates[8] == pytest.approx(solution, rel=1e-6, abs=1e-8)


def test_g4_the_residual_need_not_fall() -> None:
    """Its Euclidean norm may rise, whatever is said of it elsewhere."""
    A, e = np.diag([1.0, 100.0]), np.array([[1.0, 0.1]])
    first = np.linalg.norm(e[0] - A @ _solve(A, e, 1)[0])
    assert first > np.linalg.norm(e)


@SETTINGS
@given(st.integers(0, 1000), st.integers(1, 4))
def test_g4_few_eigenvalues_take_few_iterations(seed: int, distinct: int) -> None:
    """With m distinct eigenvalues m iterations are exact."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    A = Q @ np.diag(np.arange(1, distinct + 1)[rng.integers(0, distinct, 8)].astype(float)) @ Q.T
    e = rng.standard_normal((1, 8))
    assert _solve(A, e, distinct)[0] == pytest.approx(np.linalg.solve(A, e[0]), rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_g4_normalised_spectrum(name: str) -> None:
    """The eigenvalues lie between tau and D + tau."""
    for g in _seen(name)[0]:
        eigenvalues = np.linalg.eigvalsh(_fisher(g, 0, 0.01))
        D = g.grad.shape[1]
        assert np.all((eigenvalues > 0.01 - 1e-12) & (eigenvalues < D + 0.01 + 1e-12))
        assert np.sum(eigenvalues) == pytest.approx(D * 1.01)


@pytest.mark.parametrize(("scale", "allowed"), [(2.0**-20, 0.0), (1e-6, 1e-12), (1e3, 1e-12)])
def test_g5_steps_are_free_of_the_scale_of_the_loss(scale: float, allowed: float) -> None:
    """Published: bit for bit for powers of two. Released, denom_eps spoils it where gradients are small."""
    g = _seen("3x3")[0][0]
    small = g._replace(grad=scale * g.grad, signals=scale * g.signals)
    plain, scaled = (_direction(x, iterations=4, tau=0.01) for x in (g, small))
    assert np.max(np.abs(scaled - plain)) <= allowed * np.max(np.abs(plain))


def test_g5_the_release_is_not_free_of_it() -> None:
    g = _seen("3x3")[0][0]
    small = g._replace(grad=1e-6 * g.grad, signals=1e-6 * g.signals)
    plain, scaled = (_direction(x, iterations=4, tau=0.01, denom_eps=1e-10) for x in (g, small))
    assert np.max(np.abs(scaled - plain)) > 0.1 * np.max(np.abs(plain))


@pytest.mark.parametrize("scale", [8.0, 1e-3])
def test_g6_steps_scale_with_the_inputs_as_gradients_do(scale: float) -> None:
    """Inputs times c multiply G and leave F / tr F alone: the direction is the same."""
    g = _seen("3x3")[0][0]
    other = g._replace(grad=scale * g.grad, inputs=scale * g.inputs)
    plain, scaled = (_direction(x, iterations=4, tau=0.01) for x in (g, other))
    assert scaled == pytest.approx(plain, rel=1e-11, abs=1e-12)


def test_g6_the_batch_factor_cancels() -> None:
    g = _seen("3x3")[0][0]
    averaged, summed = (Frog(tau=0.01, batch_averaged=b).natural_direction(g.grad, g) for b in (True, False))
    assert averaged == pytest.approx(summed, rel=1e-12)


def test_g7_rows_are_independent() -> None:
    """A row depends on its own signals alone; permuting input coordinates permutes its columns."""
    g = _seen("3x3")[0][0]
    plain = _direction(g, iterations=4, tau=0.01)
    other = g.signals.copy()
    other[:, 1:] *= 7.0
    assert np.array_equal(_direction(g._replace(signals=other), iterations=4, tau=0.01)[0], plain[0])
    order = np.random.default_rng(0).permutation(g.grad.shape[1])
    permuted = g._replace(grad=g.grad[:, order], inputs=g.inputs[:, order])
    assert _direction(permuted, iterations=4, tau=0.01) == pytest.approx(plain[:, order], rel=1e-10, abs=1e-12)


def test_g9_a_row_without_gradient_stays() -> None:
    g = _seen("3x3")[0][0]
    e = g.grad.copy()
    e[1] = 0.0
    for denom_eps in (0.0, 1e-10):
        h = _direction(g, e=e, iterations=40, tau=0.01, denom_eps=denom_eps)
        assert np.array_equal(h[1], np.zeros_like(h[1]))
        assert np.all(np.isfinite(h))


def test_g10_much_damping_is_a_normalised_gradient() -> None:
    """For tau -> inf, h -> e / (sqrt(tau) |e|); a dead row has exactly that for every tau (the hazard of that step)."""
    g = _seen("3x3")[0][0]
    unit = g.grad / np.linalg.norm(g.grad, axis=1, keepdims=True)
    assert _direction(g, iterations=4, tau=1e9) == pytest.approx(unit / 1e9**0.5, rel=1e-6)
    signals = g.signals.copy()
    signals[:, 1] = 0.0
    dead = _direction(g._replace(signals=signals), iterations=4, tau=1e-6)
    assert dead[1] == pytest.approx(unit[1] / 1e-6**0.5, rel=1e-12)


def test_subsample_touches_no_global_state() -> None:
    before = _global_state()
    chosen = subsample(10, 4, np.random.default_rng(0))
    assert chosen is not None
    assert len(set(chosen)) == 4
    assert subsample(10, 10, np.random.default_rng(0)) is None
    assert subsample(10, None, np.random.default_rng(0)) is None
    assert _global_state() == before


def _global_state() -> str:
    return str(np.random.get_state(legacy=False)["state"])  # noqa: NPY002  # the global state is what is looked at


def test_subsampled_layer_holds_the_chosen_samples() -> None:
    _, layer, x, y = _seen("3x3")
    weight = np.zeros(tuple(layer.module.weight.shape))
    (part,) = layers_of(weight, None, Seen(x, y), layer.geometry, ([3, 1], [3, 1]))
    (whole,) = layers_of(weight, None, Seen(x, y), layer.geometry)
    positions = len(whole.inputs) // len(x)
    assert np.array_equal(part.inputs[:positions], whole.inputs[3 * positions : 4 * positions])
    assert np.array_equal(part.signals[positions:], whole.signals[positions : 2 * positions])
    assert (part.samples, part.batch) == (2, len(x))


@pytest.mark.parametrize(("inputs", "signals"), [(8.0, 1.0), (0.25, 1.0), (1.0, 1e3)])
def test_kf1_kfrog_is_free_of_scale(inputs: float, signals: float) -> None:
    """Inputs or signals times c, and with them the gradient: the same step, up to eps and the solver's 1e-10."""
    g = _seen("3x3")[0][0]
    scaled = g._replace(grad=inputs * signals * g.grad, inputs=inputs * g.inputs, signals=signals * g.signals)
    rule = KFrog(lr=1.0, num_iters=4, eps=1e-14)
    p = np.zeros_like(g.grad)
    plain, other = (rule.step(p, x, rule.init(p))[0] for x in (g, scaled))
    assert np.max(np.abs(other - plain)) < 1e-7 * np.max(np.abs(plain))


def test_kf1_kfrog_is_two_factors() -> None:
    """P = (e / sqrt(y + eps)) (X'X / B + eps)^-1 sqrt(diag(X'X / B)), solved densely."""
    g = _seen("3x3", samples=30)[0][0]
    rule = KFrog(lr=1.0, num_iters=200, eps=1e-3)
    p = np.zeros_like(g.grad)
    got, _ = rule.step(p, g, rule.init(p))
    y = np.sum(g.signals**2, axis=0) * g.samples
    xx = g.inputs.T @ g.inputs / g.samples
    e = g.grad / np.sqrt(y + 1e-3)[:, None]
    expected = -np.linalg.solve(xx + 1e-3 * np.eye(len(xx)), e.T).T * np.sqrt(np.diag(xx))
    assert np.max(np.abs(got - expected)) < 1e-6 * np.max(np.abs(expected))  # the solver's 1e-10 stops it there


def test_kfrog_adds_1e_10_to_both_denominators() -> None:
    """Visible where gradients are small: one and two iterations, written out for a row by itself."""
    g = _seen("3x3")[0][0]
    g = g._replace(grad=1e-8 * g.grad, signals=1e-8 * g.signals)
    xx = g.inputs.T @ g.inputs / g.samples
    e = g.grad[0] / np.sqrt(np.sum(g.signals[:, 0] ** 2) * g.samples + 0.5)
    A = xx + 0.5 * np.eye(len(xx))
    alpha = (e @ e) / (e @ A @ e + 1e-10)
    r = e - alpha * A @ e
    p = r + (r @ r) / (e @ e + 1e-10) * e
    solutions = [alpha * e, alpha * e + (r @ r) / (p @ A @ p + 1e-10) * p]
    for iterations, w in enumerate(solutions, start=1):
        rule = KFrog(lr=1.0, num_iters=iterations, eps=0.5)
        moved, _ = rule.step(np.zeros_like(g.grad), g, rule.init(g.grad))
        assert moved[0] == pytest.approx(-w * np.sqrt(np.diag(xx)), rel=1e-12)
    assert alpha < 0.5 * (e @ e) / (e @ A @ e)


@pytest.mark.parametrize("dialect", ["published", "released"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_other_parameters(dialect: str, nesterov: bool) -> None:
    """Published: decoupled decay. Released: torch's SGD with coupled decay, but nesterov does not store the decay."""
    rule = Frog(lr=0.1, momentum=0.9, weight_decay=0.2, nesterov=nesterov, dialect=dialect)
    p, s, m = np.array([1.0, -2.0]), rule.init(np.zeros(2)), np.zeros(2)
    rng = np.random.default_rng(0)
    for _ in range(4):
        g = rng.standard_normal(2)
        stored = g + 0.2 * p if dialect == "released" and not nesterov else g
        m = 0.9 * m + stored
        d = g + 0.9 * m if nesterov else m
        if dialect == "published":
            expected = (1 - 0.1 * 0.2) * p - 0.1 * 0.25 * d
        else:
            expected = p - 0.1 * 0.25 * (d + 0.2 * p if nesterov else d)
        p, s = rule.step(p, g, s)
        assert p == pytest.approx(expected, rel=1e-14)
        assert s.momentum_buffer == pytest.approx(m, rel=1e-14)


@pytest.mark.parametrize("apart", [False, True])
def test_bias_joins_its_weight_only_within_one_group(apart: bool) -> None:
    """In a group of its own it steps along its momentum, at a rate and with a decay of its own."""
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 4)), rng.standard_normal(3)
    seen = Seen(rng.standard_normal((6, 4)), rng.standard_normal((6, 3)))
    grads = gradient_of(seen, (3, 4), None, bias=True)
    rule = Frog(lr=0.1, tau=0.1, weight_decay=0.3)
    other = rule.but(lr=0.7, weight_decay=0.0)
    groups = [Group(rule, [0]), Group(other, [1])] if apart else [Group(rule, [0, 1])]
    layers = [Layer(0, 1)]
    moved, states = step(groups, [weight, bias], grads, init(groups, [weight, bias], layers), layers, {0: seen})
    (joint,) = layers_of(grads[0], None if apart else grads[1], seen)
    h = rule.natural_direction(joint.grad, joint)
    assert np.array_equal(moved[0], (1 - 0.1 * 0.3) * weight - 0.1 * h[:, :4])
    expected = bias - 0.7 * 0.25 * grads[1] if apart else (1 - 0.1 * 0.3) * bias - 0.1 * h[:, 4]
    assert np.array_equal(moved[1], expected)
    assert len(states) == (2 if apart else 1)
