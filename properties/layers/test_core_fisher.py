"""Law: the core's Fisher solves are the reference's, in either form, and solve what they say they solve."""

import tracemalloc
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from stepgauge import core, reference
from stepgauge.core._blas import write_gram, write_product
from stepgauge.core._fisher import (
    FisherProduct,
    cheaper_form,
    conjugate_gradients,
    natural_direction,
    solve_fisher,
    solve_shared,
    weigh_outputs,
)
from stepgauge.core._fisher_patches import unfold
from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.layer_inputs import LAYER_INPUTS
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import LayerRecipe, ParameterGroup, Recipe
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.gauge.tolerance.envelope import ROUNDOFF, covering_envelope
from stepgauge.reference import Array, Convolution
from stepgauge.reference.conjugate_gradients import conjugate_gradients as reference_gradients
from stepgauge.reference.conjugate_gradients import guarded, plain
from stepgauge.reference.layers import LayerGradient, patches, same_padding

DTYPES = ("float32", "float64")
FORMS: tuple[Literal["parameter", "sample"], ...] = ("parameter", "sample")


def _rule(base: Any, chosen: str, dialect: str = "published") -> Any:
    """A rule of the core whose solves take one form."""
    return type(base.__name__, (base,), {"form": chosen, "dialects": (dialect,)})


def _system(
    samples: int, cols: int, rows: int, *, dtype: str = "float64", of_samples: float = 1.0
) -> tuple[Array, Array, Array]:
    """Inputs, normalised weights and right-hand sides; of these a part is no combination of samples."""
    rng = np.random.default_rng(samples + 1000 * cols)
    X, Y = rng.standard_normal((samples, cols)), rng.standard_normal((samples, rows))
    e = of_samples * Y.T @ X + (1 - of_samples) * samples**0.5 * rng.standard_normal((rows, cols))
    F = Y**2
    S = F / (F.T @ np.sum(X * X, axis=1) / cols)
    return X.astype(dtype), S.astype(dtype), e.astype(dtype)


def _fisher(X: Array, S: Array, row: int, tau: float) -> Array:
    X = X.astype(np.float64)
    return X.T @ (S[:, row].astype(np.float64)[:, None] * X) + tau * np.eye(X.shape[1])


# Products


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(("rows", "inner", "cols"), [(2, 3, 4), (5, 1, 1), (1, 7, 2), (3, 40, 3)])
def test_products_are_those_of_row_major_matrices(
    rows: int, inner: int, cols: int, transpose_b: bool, transpose_a: bool, add: bool, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, inner), (inner, cols), (rows, cols)))
    expected = a.astype(float) @ b + add * c.astype(float)
    allowed = (inner + 2) * ROUNDOFF[dtype] * (np.abs(a) @ np.abs(b) + np.abs(c))
    stored = [np.ascontiguousarray(x.T if turned else x) for x, turned in ((a, transpose_a), (b, transpose_b))]
    write_product(stored[0], stored[1], c, transpose_a=transpose_a, transpose_b=transpose_b, add=add)
    assert np.all(np.abs(c - expected) <= allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1)])
def test_gram_matrices_are_whole(shape: tuple[int, int], transpose: bool, dtype: str) -> None:
    """BLAS writes one triangle."""
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    op = a.T if transpose else a
    c = np.full((len(op), len(op)), np.nan, dtype)
    write_gram(a, c, transpose=transpose)
    assert np.array_equal(c, c.T)
    allowed = op.shape[1] * ROUNDOFF[dtype] * (np.abs(op) @ np.abs(op).T)
    assert np.all(np.abs(c - op.astype(float) @ op.T) <= allowed)


# Against the reference, through the gauge

LAYERS = {
    "fewer samples than columns": LayerRecipe(40, 5, samples=9),
    "few samples": LayerRecipe(30, 3, samples=6, bias=False),
    "one column": LayerRecipe(1, 3, samples=7, bias=False),
    "one row": LayerRecipe(9, 1, samples=20),
    "many positions": LayerRecipe(3, 4, (9, 9), Convolution((3, 3), padding=((1, 1), (1, 1))), samples=5),
    "more than a block of samples": LayerRecipe(6, 3, (7,), samples=50),
    "groups": LayerRecipe(8, 4, (3, 3), Convolution((3, 3), groups=2), samples=4),
}


def _problem(rule: str, layer: LayerRecipe, kind: str = "random", **changes: Any) -> Problem:
    known = {"lr": 0.05, "sample_size": None, "momentum": 0.47, "tau": 0.03, "eps": 0.04, "num_iters": 4, **changes}
    own = {n: v for n, v in {**reference.RULES[rule].defaults(), **known}.items() if n in known or n != "y_sample_size"}
    own = {n: v for n, v in own.items() if n in reference.RULES[rule].hyperparameter_names()}
    members = tuple(range(len(layer.shapes)))
    return expand(Recipe(rule, (ParameterGroup(own, members),), (), gradients=(kind,), steps=3, layers=(layer,)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_frog_in_either_form_is_the_reference(name: str, chosen: str, dtype: str) -> None:
    """Both are within what rounding may do to the reference, hence within twice that of each other."""
    layer = LAYERS[name]
    iterations = min(4, layer.shapes[0][-1])  # past the number of unknowns rounding decides
    for dialect, denom_eps in (("published", 0.0), ("released", 1e-4)):
        problem = _problem("frog", layer, num_iters=iterations, denom_eps=denom_eps)
        centre, allowed = covering_envelope(problem, dialect, dtype)
        got = RuleTarget(chosen, _rule(core.Frog, chosen, dialect), "frog", {}).run(problem, dtype)
        assert np.all(np.abs(got - centre) <= allowed), f"{dialect}: {np.max(np.abs(got - centre) / allowed)}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYER_INPUTS)
def test_sample_space_sees_every_kind_of_input(kind: str, dtype: str) -> None:
    for layer in (LAYERS["fewer samples than columns"], LayerRecipe(64, 3, samples=24, bias=False)):
        for changes in ({"tau": 0.03}, {"tau": 1.1, "momentum": 0.0}):
            problem = _problem("frog", layer, kind, **changes)
            centre, allowed = covering_envelope(problem, "published", dtype)
            got = RuleTarget("sample", _rule(core.Frog, "sample"), "frog", {}).run(problem, dtype)
            assert np.all(np.abs(got - centre) <= allowed), np.max(np.abs(got - centre) / allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", ["matrix", "sample"])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_kfrog_in_either_form_is_the_reference(samples: int, chosen: str, dtype: str) -> None:
    layer = LayerRecipe(4, 3, (3, 3), Convolution((3, 3), padding=((1, 1), (1, 1))), bias=False, samples=samples)
    problem = _problem("kfrog", layer, y_momentum=0.63)
    centre, allowed = covering_envelope(problem, "published", dtype)
    got = RuleTarget(chosen, _rule(core.KFrog, chosen), "kfrog", {}).run(problem, dtype)
    assert np.all(np.abs(got - centre) <= allowed), np.max(np.abs(got - centre) / allowed)


@pytest.mark.parametrize(("base", "chosen"), [(core.Frog, "sample"), (core.KFrog, "sample"), (core.KFrog, "matrix")])
def test_every_form_conforms(base: Any, chosen: str) -> None:
    """Of its own accord a rule takes the form with fewer operations, hence one alone on problems as small as these."""
    report = check_optimizer(_rule(base, chosen), level="quick", diagnosis=False)
    assert report.verdict == "conforms", str(report)


# Against linear algebra


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", FORMS)
@pytest.mark.parametrize(("samples", "cols"), [(1, 1), (1, 6), (2, 9), (5, 12), (30, 8), (12, 12)])
def test_many_iterations_solve_the_system(samples: int, cols: int, chosen: Any, dtype: str) -> None:
    """The attainable error is that of some iterations times the condition number times the roundoff."""
    tau = 0.2
    for of_samples in (1.0, 0.5):
        X, S, e = _system(samples, cols, 4, dtype=dtype, of_samples=of_samples)
        W = solve_fisher(X, S, e, tau, 3 * cols, form=chosen)
        for row in range(4):
            F = _fisher(X, S, row, tau)
            solved = np.linalg.solve(F, e[row].astype(float))
            allowed = 3 * cols * np.linalg.cond(F) * ROUNDOFF[dtype] * np.linalg.norm(solved)
            assert np.linalg.norm(W[row] - solved) <= allowed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", FORMS)
@pytest.mark.parametrize(("samples", "cols"), [(6, 20), (16, 64), (40, 10), (300, 12)])
@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
def test_steps_have_unit_fisher_norm(iterations: int, samples: int, cols: int, chosen: Any, dtype: str) -> None:
    """<F h, h> = 1 after any number of iterations."""
    rng = np.random.default_rng(samples)
    X, Y, e = (rng.standard_normal(shape).astype(dtype) for shape in ((samples, cols), (samples, 3), (3, cols)))
    h = natural_direction(e, X, Y, 1.0, 0.1, iterations, form=chosen).astype(float)
    F = Y.astype(float) ** 2
    S = F / (F.T @ np.sum(X.astype(float) ** 2, axis=1) / cols)
    for row in range(3):
        Fisher = _fisher(X, S, row, 0.1)
        assert abs(h[row] @ Fisher @ h[row] - 1) <= 16 * np.linalg.cond(Fisher) * ROUNDOFF[dtype]


@pytest.mark.parametrize("chosen", FORMS)
def test_a_row_without_signals_has_the_damping_alone(chosen: Any) -> None:
    X, S, e = _system(8, 30, 3)
    S[:, 1] = 0
    assert solve_fisher(X, S, e, 1e-3, 4, form=chosen)[1] == pytest.approx(e[1] / 1e-3, rel=1e-13)
    Y = np.where(np.arange(3) == 1, 0.0, S)
    h = natural_direction(e, X, Y, 1.0, 1e-6, 4, form=chosen)
    assert h[1] == pytest.approx(e[1] / (1e-3 * np.linalg.norm(e[1])), rel=1e-12)


@pytest.mark.parametrize("denom_eps", [0.0, 1e-10])
@pytest.mark.parametrize("chosen", FORMS)
def test_a_row_without_gradient_stays(chosen: Any, denom_eps: float) -> None:
    X, S, e = _system(8, 30, 3)
    e[1] = 0
    h = natural_direction(e, X, S, 1.0, 0.1, 40, denom_eps, guarded=denom_eps == 0, form=chosen)
    assert np.array_equal(h[1], np.zeros(30))
    assert np.isfinite(h).all()


@pytest.mark.parametrize("chosen", FORMS)
def test_without_guard_and_eps_such_a_row_is_nan(chosen: Any) -> None:
    X, S, e = _system(8, 30, 3)
    e[1] = 0
    W = solve_fisher(X, S, e, 0.1, 4, guarded=False, form=chosen)
    assert [bool(np.isnan(w).all()) for w in W] == [False, True, False]


@pytest.mark.parametrize("chosen", FORMS)
def test_much_damping_divides(chosen: Any) -> None:
    """For tau far above the eigenvalues, at most D, the solution is e / tau."""
    X, S, e = _system(8, 30, 3)
    W = solve_fisher(X, S, e, 1e9, 4, form=chosen)
    assert np.max(np.abs(W * 1e9 - e)) <= 30 / 1e9 * np.max(np.linalg.norm(e, axis=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("chosen", FORMS)
def test_what_is_not_finite_spoils_its_rows(chosen: Any, bad: float) -> None:
    """In a right-hand side or a weight its row, in an input every row; never another."""
    for where, spoilt in (("e", [1]), ("S", [1]), ("X", [0, 1, 2])):
        arrays: dict[str, Any] = dict(zip("XSe", _system(8, 30, 3), strict=True))
        arrays[where][(2, 1) if where == "S" else (1, 2)] = bad
        W = solve_fisher(**arrays, tau=0.1, num_iters=4, form=chosen)
        assert [j for j in range(3) if not np.isfinite(W[j]).all()] == spoilt, where


# Which form, what memory, whose products


@pytest.mark.parametrize(("samples", "cols", "rows"), [(9, 40, 5), (40, 9, 5), (128, 4096, 1024), (1536, 2304, 256)])
@pytest.mark.parametrize("iterations", [1, 4])
def test_the_form_has_fewer_operations(samples: int, cols: int, rows: int, iterations: int) -> None:
    """Counted product by product: two for a multiplication and an addition."""
    product, kernel = 2 * samples * cols * rows, 2 * samples**2 * rows
    parameter = iterations * product + (iterations - 1) * product
    sample = samples**2 * cols + product + (iterations - 1) * kernel + product
    assert cheaper_form(samples, cols, rows, iterations) == ("sample" if sample < parameter else "parameter")


@pytest.mark.parametrize(("samples", "cols"), [(9, 40), (40, 9)])
def test_that_form_is_taken(samples: int, cols: int) -> None:
    X, S, e = _system(samples, cols, 5)
    expected = solve_fisher(X, S, e, 0.1, 4, form=cheaper_form(samples, cols, 5, 4))
    assert np.array_equal(solve_fisher(X, S, e, 0.1, 4), expected)


@pytest.mark.parametrize("chosen", FORMS)
@pytest.mark.parametrize(("samples", "cols", "rows"), [(700, 900, 40), (5000, 30, 20), (300, 600, 700)])
def test_working_memory_is_what_the_documentation_says(samples: int, cols: int, rows: int, chosen: Any) -> None:
    X, S, e = (x.astype(np.float32) for x in _system(samples, cols, rows))
    stated = {
        "parameter": 3 * rows * cols + rows * max(2**18 // (rows + cols), 256),
        "sample": samples**2 + 2 * rows * samples + 1536 * samples,
    }
    tracemalloc.start()
    try:
        solve_fisher(X, S, e, 1e-3, 4, form=chosen)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    small = 200 * rows + 2**16  # scalars of each row, and Python's own
    assert peak <= 4 * (stated[chosen] + S.size + e.size) + small


def test_rows_that_sample_space_has_lost_are_those_of_parameter_space() -> None:
    """Two samples span a Krylov space of three dimensions, after which the residual is rounding errors."""
    X, S, e = _system(2, 40, 5)
    lost, expected = (solve_fisher(X, S, e, 0.1, 8, form=form) for form in FORMS)
    assert np.array_equal(lost, expected)
    X, S, e = _system(20, 40, 5, of_samples=0.5)
    kept, other = (solve_fisher(X, S, e, 0.1, 4, form=form) for form in FORMS)
    assert not np.any(np.all(kept == other, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_may_be_the_callers(dtype: str) -> None:
    X, S, e = _system(40, 9, 5, dtype=dtype)
    rows = np.ascontiguousarray(S.T)
    asked = []

    def product(P: Array, AP: Array | None) -> Array:
        asked.append(AP is not None)
        return FisherProduct(X, rows)(P, AP)

    assert np.array_equal(conjugate_gradients(product, e, 0.1, 4), solve_fisher(X, S, e, 0.1, 4, form="parameter"))
    assert asked == [True, True, True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", [1, 7, 128, 129, 300])
def test_outputs_are_weighed_in_place(positions: int, dtype: str) -> None:
    Z, S = np.random.default_rng(0).standard_normal((2, 3, 4, positions)).astype(dtype)
    S = S**2
    weighed, expected = S * Z, np.sum(S * Z.astype(float) ** 2, axis=(0, 2))
    curvature = weigh_outputs(Z, S)
    assert np.array_equal(Z, weighed)
    assert np.all(np.abs(curvature - expected) <= 3 * positions * ROUNDOFF[dtype] * expected)


GEOMETRIES = {
    "3x3": Convolution((3, 3), padding=((1, 1), (1, 1))),
    "1x1, stride 2": Convolution((1, 1), (2, 2)),
    "uneven stride": Convolution((2, 3), (2, 1)),
    "dilation": Convolution((2, 2), dilation=(2, 3), padding=((1, 2), (3, 0))),
    "same": Convolution((2, 4), padding=same_padding((2, 4))),
    "wide padding": Convolution((2, 2), padding=((5, 4), (7, 6))),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_unfolded_inputs_are_patches(name: str, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 5)).astype(dtype)
    for image in (x, x[:, ::-1], x[:0]):
        expected = patches(image, GEOMETRIES[name])
        assert np.array_equal(unfold(image, GEOMETRIES[name]), expected.reshape(-1, expected.shape[2]))


# Any array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", [*FORMS, None])
@pytest.mark.parametrize(
    ("samples", "cols", "rows"), [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0), (1, 1, 1), (0, 1, 1)]
)
def test_empty_and_smallest_systems(samples: int, cols: int, rows: int, chosen: Any, dtype: str) -> None:
    """Without samples the matrix is tau."""
    rng = np.random.default_rng(0)
    X, S, e = (rng.random(shape).astype(dtype) for shape in ((samples, cols), (samples, rows), (rows, cols)))
    W = solve_fisher(X, S, e, 0.5, 3, form=chosen)
    assert W.shape == e.shape
    if samples == 0:
        assert np.allclose(W, e / 0.5, rtol=8 * ROUNDOFF[dtype], atol=0)
    shared, variances = solve_shared(X, 0.5, e, 0.5, 3, 1e-10)
    assert (shared.shape, variances.shape) == (e.shape, (cols,))


def _everywhere(x: Array) -> dict[str, Array]:
    """The same numbers, laid out in every way."""
    spread = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    spread[::2, ::3] = x
    shifted = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    fixed = x.copy()
    fixed.flags.writeable = False
    turned = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    return {
        "Fortran": np.asfortranarray(x),
        "strided": spread[::2, ::3],
        "reversed": turned,
        "unaligned": shifted,
        "read-only": fixed,
    }


@pytest.mark.parametrize("chosen", FORMS)
def test_layout_does_not_matter_and_nothing_is_written(chosen: Any) -> None:
    arrays: dict[str, Any] = dict(zip("XSe", _system(9, 21, 4), strict=True))
    expected = solve_fisher(**arrays, tau=0.1, num_iters=3, form=chosen)
    for name in arrays:
        for layout, x in _everywhere(arrays[name]).items():
            before = x.copy()
            W = solve_fisher(**{**arrays, name: x}, tau=0.1, num_iters=3, form=chosen)
            assert np.array_equal(W, expected), (name, layout)
            assert np.array_equal(x, before), (name, layout)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a list": ({"X": [[1.0]]}, TypeError, "Invalid X: list .must be a NumPy array"),
    "integers": ({"X": np.ones((3, 4), int)}, TypeError, "Invalid X: dtype int64 .must be float32 or float64"),
    "swapped bytes": ({"X": np.ones((3, 4), ">f8")}, TypeError, "Invalid X: dtype >f8"),
    "two dtypes": ({"e": np.ones((2, 4), np.float32)}, TypeError, r"Invalid e: dtype float32 .* e\.astype\(X\.dtype\)"),
    "a vector": ({"S": np.ones(3)}, ValueError, r"Invalid S: shape \(3,\) .must be a matrix"),
    "too few weights": ({"S": np.ones((2, 2))}, ValueError, r"Invalid S: shape \(2, 2\) .must be \(3, 2\)"),
    "too few columns": ({"e": np.ones((2, 3))}, ValueError, r"Invalid e: shape \(2, 3\) .must have 4 columns like X"),
    "negative tau": ({"tau": -1.0}, ValueError, r"Invalid tau: -1\.0 .must be at least 0 and finite"),
    "infinite eps": ({"denom_eps": np.inf}, ValueError, "Invalid denom_eps: inf"),
    "no iterations": ({"num_iters": 0}, ValueError, "Invalid num_iters: 0 .must be an integer of at least 1"),
    "half an iteration": ({"num_iters": 0.5}, ValueError, r"Invalid num_iters: 0\.5"),
    "unknown form": ({"form": "dual"}, ValueError, "Invalid form: 'dual' .must be 'parameter' or 'sample', or None"),
}


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_system_is(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"X": np.ones((3, 4)), "S": np.ones((3, 2)), "e": np.ones((2, 4)), "tau": 0.1, "num_iters": 2}
    with pytest.raises(error, match=f"^{message}"):
        solve_fisher(**{**arguments, **changes})


def _layer(dtype: str = "float64") -> LayerGradient:
    rng = np.random.default_rng(0)
    G, X, Y = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 5), (6, 5), (6, 3)))
    return LayerGradient(G, X, Y, 6, 6)


STEPS: dict[str, Callable[[], Any]] = {
    "frog": lambda: core.Frog(momentum=0.9),
    "frog, nesterov": lambda: core.Frog(momentum=0.9, nesterov=True),
    "frog, released": lambda: core.Frog(denom_eps=1e-10, weight_decay=0.1, dialect="released"),
    "kfrog": lambda: core.KFrog(momentum=0.9, y_momentum=0.5),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("layer", [True, False])
def test_a_step_writes_parameter_and_state_only(layer: bool, name: str) -> None:
    rule, p = STEPS[name](), np.ones((3, 5))
    g: Any = _layer() if layer else _layer().grad
    seen = [x for x in (g if layer else [g]) if isinstance(x, np.ndarray)]
    before = [x.copy() for x in seen]
    s = rule.init(p)
    moved, again = rule.step(p, g, s)
    assert moved is p
    assert all(a is b for a, b in zip(s, again, strict=True) if isinstance(a, np.ndarray))
    assert again.step == 1
    assert not np.array_equal(p, np.ones((3, 5)))
    assert all(np.array_equal(a, b) for a, b in zip(seen, before, strict=True))


BAD_STEPS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "p turned": ({"p": np.ones((5, 3)).T}, ValueError, "Invalid p: strides"),
    "p of integers": ({"p": np.ones((3, 5), int)}, TypeError, "Invalid p: dtype int64"),
    "grad in float32": ({"grad": np.ones((3, 5), np.float32)}, TypeError, "Invalid grad: dtype float32"),
    "grad of another shape": ({"grad": np.ones((5, 3))}, ValueError, r"Invalid grad: shape \(5, 3\)"),
    "inputs of another layer": ({"inputs": np.ones((6, 4))}, ValueError, r"Invalid inputs: shape \(6, 4\)"),
    "signals of another layer": ({"signals": np.ones((6, 2))}, ValueError, r"Invalid signals: shape \(6, 2\)"),
    "no samples": ({"samples": 0}, ValueError, "Invalid samples: 0 .must be at least 1"),
    "M in float32": ({"momentum_buffer": np.ones((3, 5), np.float32)}, TypeError, "Invalid momentum_buffer: dtype"),
}


@pytest.mark.parametrize(("changes", "error", "message"), BAD_STEPS.values(), ids=BAD_STEPS)
@pytest.mark.parametrize("name", ["frog", "kfrog"])
def test_a_refused_step_has_written_nothing(
    name: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    rule = STEPS[name]()
    p = changes.get("p", np.ones((3, 5)))
    s = rule.init(np.ones((3, 5)))
    s = s._replace(momentum_buffer=changes.get("momentum_buffer", s.momentum_buffer))
    g = _layer()._replace(**{n: x for n, x in changes.items() if n in LayerGradient._fields})
    before = p.copy(), [np.copy(x) for x in s]
    with pytest.raises(error, match=f"^{message}"):
        rule.step(p, g, s)
    assert np.array_equal(p, before[0])
    assert all(np.array_equal(a, b) for a, b in zip(s, before[1], strict=True))


@pytest.mark.parametrize("denom_eps", [0.0, 1e-10, 1e-2])
@pytest.mark.parametrize("chosen", FORMS)
def test_a_single_system_is_that_of_the_reference(chosen: Any, denom_eps: float) -> None:
    """Where eps matters, residuals are no longer orthogonal: sample space keeps account of it."""
    X, S, e = _system(12, 50, 4, of_samples=0.5)
    e *= 1e-3
    divide = plain if denom_eps else guarded
    expected = reference_gradients(lambda P: (S * (X @ P.T)).T @ X + 0.1 * P, e, 4, denom_eps, divide)
    W = solve_fisher(X, S, e, 0.1, 4, denom_eps, guarded=not denom_eps, form=chosen)
    condition = max(np.linalg.cond(_fisher(X, S, row, 0.1)) for row in range(4))
    allowed = 16 * condition * ROUNDOFF["float64"] * np.linalg.norm(expected, axis=1)
    assert np.all(np.linalg.norm(W - expected, axis=1) <= allowed)
