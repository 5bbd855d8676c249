"""Law: the core computes the bits of the reference, in place."""

import inspect
import pickle
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from stepgauge import core, reference
from stepgauge.reference import Array, Group
from stepgauge.reference.projection import cosine, project

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy reports overflow, C does not

DTYPES = (np.float32, np.float64)
WITHOUT_REDUCTION = array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
# around the turns of NumPy's summation: 8 lanes, blocks of 128, halving, and its buffers of 8192 elements
WITH_ROWS = st.tuples(
    st.integers(1, 4), st.integers(1, 20) | st.integers(120, 140) | st.integers(250, 1200) | st.just(20_001)
)
KINDS = ("random", "tangent to rows", "tangent to the layer", "zero", "negative zero", "not finite", "huge", "tiny")


class Recipe(NamedTuple):
    """A parameter and its gradients, before NumPy expands them."""

    shape: tuple[int, ...]
    dtype: type[np.floating[Any]]
    kinds: list[str]  # of each step's gradient
    scale: float  # of the parameter
    seed: int


RECIPES = st.builds(
    Recipe,
    shape=WITHOUT_REDUCTION | WITH_ROWS,
    dtype=st.sampled_from(DTYPES),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    seed=st.integers(0, 2**32 - 1),
)
FRACTIONS = st.floats(0, 0.9999)
SGD_RULES = st.fixed_dictionaries(
    {"lr": st.floats(0, 10), "weight_decay": st.just(0.0) | st.floats(0, 1)},
    optional={"momentum": st.floats(0, 1.5), "dampening": st.floats(-1, 2)},
) | st.fixed_dictionaries({"lr": st.floats(0, 10), "momentum": st.floats(0.01, 1.5), "nesterov": st.just(True)})
ADAMP_RULES = st.fixed_dictionaries(
    {"lr": st.floats(0, 10), "weight_decay": st.just(0.0) | st.floats(0, 1), "nesterov": st.booleans()},
    optional={
        "betas": st.tuples(FRACTIONS, FRACTIONS),
        "eps": st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 1e300]),
        "delta": st.sampled_from([-1.0, 0.0, 1.0, 10.0, float("inf")]),
        "wd_ratio": st.floats(0, 2),
    },
)


def gradient(kind: str, p: Array, rng: np.random.Generator) -> Array:
    g = rng.standard_normal(p.shape)
    view = (1, -1) if kind == "tangent to the layer" else (len(p) if p.ndim else 1, -1)
    if kind.startswith("tangent") and p.size:
        w, g_ = p.astype(np.float64).reshape(view), g.reshape(view)
        g = (g_ - w * np.sum(w * g_, axis=1, keepdims=True) / np.sum(w * w, axis=1, keepdims=True)).reshape(p.shape)
    if kind == "not finite" and p.size:
        g.flat[rng.integers(p.size)] = rng.choice([np.nan, np.inf, -np.inf])
    factor = {"zero": 0.0, "negative zero": -0.0, "huge": 1e30, "tiny": 1e-30}.get(kind, 1.0)
    return read_only(np.asarray(factor * (np.abs(g) if kind.endswith("zero") else g), p.dtype))


def read_only(x: Array) -> Array:
    x.flags.writeable = False
    return x


def parameter(recipe: Recipe, rng: np.random.Generator) -> Array:
    return np.asarray(recipe.scale * rng.standard_normal(recipe.shape), recipe.dtype)


def bits(x: Any) -> Any:
    """What must be equal: dtype, shape and bits, with one NaN for all."""
    if not isinstance(x, np.ndarray | np.generic):  # in the reference, 0-d arithmetic makes scalars of the state
        return x
    return x.dtype, x.shape, np.where(np.isnan(x), np.nan, x).astype(x.dtype).tobytes()


def assert_same_steps(name: str, hyperparameters: dict[str, Any], recipe: Recipe) -> None:
    rng = np.random.default_rng(recipe.seed)
    theirs, ours = (rules.RULES[name](**hyperparameters) for rules in (reference, core))
    p = parameter(recipe, rng)
    expected, s_expected = [p], [theirs.init(p)]
    got, s_got = [p.copy()], [ours.init(p)]
    for t, kind in enumerate(recipe.kinds, 1):
        g = gradient(kind, expected[0], rng)
        expected, s_expected = reference.step([Group(theirs, [0])], expected, [g], s_expected)
        got, s_got = reference.step([Group(ours, [0])], got, [g], s_got)
        where = f"{ours} at step {t} of {recipe}"
        assert bits(got[0]) == bits(expected[0]), f"p of {where}"
        for field, a, b in zip(theirs.State._fields, s_got[0], s_expected[0], strict=True):
            assert bits(a) == bits(b), f"{field} of {where}"


@given(SGD_RULES, RECIPES)
@settings(derandomize=True, deadline=None, max_examples=1000)
def test_sgd_has_the_bits_of_the_reference(hyperparameters: dict[str, Any], recipe: Recipe) -> None:
    assert_same_steps("sgd", hyperparameters, recipe)


@given(ADAMP_RULES, RECIPES)
@settings(derandomize=True, deadline=None, max_examples=2000)
def test_adamp_has_the_bits_of_the_reference(hyperparameters: dict[str, Any], recipe: Recipe) -> None:
    assert_same_steps("adamp", hyperparameters, recipe)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_length_sum_to_the_bits_of_numpy(dtype: type[np.floating[Any]]) -> None:
    for cols in range(1, 600):
        recipe = Recipe((3, cols), dtype, ["random", "random"], 1.0, seed=cols)
        assert_same_steps("adamp", {"delta": float("inf"), "lr": 0.1, "weight_decay": 0.1}, recipe)


VIEWS = {
    "random": ((4, 3), (4, 3), False),
    "tangent to rows": ((4, 3, 5), (4, -1), True),
    "tangent to the layer": ((4, 3, 5), (1, -1), True),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", VIEWS)
def test_each_view_of_the_projection_has_the_bits_of_the_reference(kind: str, dtype: type[np.floating[Any]]) -> None:
    shape, view, projected = VIEWS[kind]
    rule = {"delta": 1e-3, "lr": 0.1, "weight_decay": 0.1, "wd_ratio": 0.3}
    recipe = Recipe(shape, dtype, [kind] * 3, 1.0, seed=1)
    rng = np.random.default_rng(recipe.seed)
    p = parameter(recipe, rng)
    g = gradient(kind, p, rng)
    by_rows = np.max(np.abs(cosine(g.reshape(4, -1), p.reshape(4, -1), 1e-8))) < 1e-3
    assert project(p, g, g, 1e-3, 1e-8)[1] == projected, "the recipe should decide as it is called"
    assert by_rows == (view == (4, -1)), "the recipe should lead to the view it is called after"
    assert_same_steps("adamp", rule, recipe)


@pytest.mark.parametrize("nudge", [-1e-9, 0.0, 1e-9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cosine_at_the_threshold_is_compared_in_the_parameters_dtype(
    dtype: type[np.floating[Any]], nudge: float
) -> None:
    rng = np.random.default_rng(0)
    p, g = rng.standard_normal((2, 1, 6)).astype(dtype)
    delta = float(np.abs(cosine(g, p, 1e-8))[0, 0]) * (1 + nudge) * 6**0.5
    invariant = project(p, g, g, delta, 1e-8)[1]
    rule = core.AdamP(delta=delta, lr=0.1, weight_decay=0.5, wd_ratio=0.0)
    expected, _ = reference_of(rule).step(p, g, rule.init(p))
    got, _ = rule.step(p.copy(), g, rule.init(p))
    assert bits(got) == bits(expected), f"delta {delta!r}, invariant {invariant}"


def reference_of(rule: Any) -> Any:
    """The reference with the hyperparameters of a core rule."""
    return getattr(reference, type(rule).__name__)(**rule.hyperparameters())


@pytest.mark.parametrize("t", [0, 1, 10**4, 2**24, 10**9])
def test_late_steps_have_the_bits_of_the_reference(t: int) -> None:
    rng = np.random.default_rng(t)
    p, g, m, v = rng.standard_normal((4, 3, 50))
    rule = core.AdamP(betas=(0.8, 0.99999))
    expected, s = reference_of(rule).step(p, g, rule.State(t, m, v * v))
    got, s_got = rule.step(p.copy(), g, rule.State(t, m.copy(), v * v))
    assert bits(got) == bits(expected)
    assert [bits(x) for x in s_got] == [bits(x) for x in s]


def test_a_sum_of_nothing_but_negative_zeros_is_positive_as_in_numpy() -> None:
    p, zero = np.zeros((1, 8)), np.full((1, 8), -0.0)
    rule = core.AdamP(lr=2.0, weight_decay=1.0, wd_ratio=1.0, delta=float("inf"))  # decays p to -p
    s = rule.State(0, zero, np.zeros((1, 8)))
    expected, _ = reference_of(rule).step(p, zero, s)
    got, _ = rule.step(p.copy(), zero, s._replace(exp_avg=zero.copy(), exp_avg_sq=np.zeros((1, 8))))
    assert bits(got) == bits(expected)


RULES = [core.SGD(lr=0.1), core.SGD(lr=0.1, momentum=0.9), core.AdamP(lr=0.1), core.AdamP(lr=0.1, delta=float("inf"))]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 1, 3)])
def test_a_step_writes_where_parameter_and_state_lie_and_nowhere_else(rule: Any, shape: tuple[int, ...]) -> None:
    p, g = (np.array(x) for x in np.random.default_rng(0).standard_normal((2, *shape)))
    g_before, p_before = g.copy(), p.copy()
    p1, s1 = rule.step(p, g, rule.init(p))
    assert p1 is p
    p2, s2 = rule.step(p1, g, s1)
    assert p2 is p
    assert all(a is b for a, b in zip(s1, s2, strict=True) if isinstance(a, np.ndarray)), "the state moved"
    assert not any(np.may_share_memory(x, y) for x in (p, *s2) for y in [g] if isinstance(x, np.ndarray))
    assert bits(g) == bits(g_before), "the gradient was written"
    assert not np.array_equal(p, p_before), "the parameter did not move"


def array(**changes: Any) -> Array:
    return np.ones(**{"shape": (3, 4), "dtype": np.float32, **changes})


TURNED = array(shape=(4, 3)).T
SHIFTED = np.frombuffer(bytearray(49), np.uint8)[1:].view(np.float32).reshape(3, 4)
REFUSED = {
    "p a list": ("p", [[1.0]], TypeError, "Invalid p: list .must be a NumPy array"),
    "p a scalar": ("p", np.float32(1), TypeError, "Invalid p: float32 .must be a NumPy array"),
    "p of integers": ("p", array(dtype=np.int64), TypeError, "Invalid p: dtype int64 .must be float32 or float64"),
    "p in float16": ("p", array(dtype=np.float16), TypeError, "Invalid p: dtype float16"),
    "p byte-swapped": ("p", array(dtype=">f4"), TypeError, "Invalid p: dtype >f4"),
    "p turned": ("p", TURNED, ValueError, r"Invalid p: strides \(4, 12\) .must be C-contiguous"),
    "p misaligned": ("p", SHIFTED, ValueError, "Invalid p: strides .* aligned"),
    "p read-only": ("p", read_only(array()), ValueError, "Invalid p: read-only"),
    "g in float64": ("g", array(dtype=np.float64), TypeError, r"Invalid g: dtype float64 .* g\.astype\(p\.dtype\)"),
    "g of another shape": ("g", array(shape=(4, 3)), ValueError, r"Invalid g: shape \(4, 3\) .must be \(3, 4\)"),
    "g turned": ("g", TURNED, ValueError, "Invalid g: strides"),
    "g absent": ("g", None, TypeError, "Invalid g: NoneType"),
    "m turned": ("exp_avg", TURNED, ValueError, "Invalid exp_avg: strides"),
    "v read-only": ("exp_avg_sq", read_only(array()), ValueError, "Invalid exp_avg_sq: read-only"),
    "v of another shape": ("exp_avg_sq", array(shape=(3, 1)), ValueError, "Invalid exp_avg_sq: shape"),
    "b in float64": ("momentum_buffer", array(dtype=np.float64), TypeError, "Invalid momentum_buffer: dtype float64"),
}


@pytest.mark.parametrize(("name", "value", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_kernels_cannot_update_is_refused_before_anything_is_written(
    name: str, value: Any, error: type[Exception], message: str
) -> None:
    rule: Any = core.SGD(momentum=0.9) if name == "momentum_buffer" else core.AdamP()
    arrays = {field: array() for field in ("p", "g", *rule.State._fields) if field != "step"}
    if name == "p" and isinstance(value, np.ndarray):  # so that nothing but p is wrong
        arrays = {field: x.astype(value.dtype) for field, x in arrays.items()}
    before = {field: bits(x) for field, x in arrays.items()}
    passed = {**arrays, name: value, "step": 7}
    with pytest.raises(error, match=message):
        rule.step(passed["p"], passed["g"], rule.State(*(passed[field] for field in rule.State._fields)))
    assert {field: bits(x) for field, x in arrays.items()} == before


def test_groups_and_absent_gradients_go_through_the_driver_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    params, grads = ([rng.standard_normal((3, 4)) for _ in range(3)] for _ in range(2))
    results = []
    for rules in (reference, core):
        groups = [Group(rules.SGD(lr=0.1, momentum=0.9), [0, 2]), Group(rules.AdamP(lr=0.1), [1])]
        states = reference.init(groups, params)
        p, s = reference.step(groups, [x.copy() for x in params], [grads[0], grads[1], None], states, maximize=True)
        p, s = reference.step(groups, p, grads, s, maximize=True)
        results.append(([bits(x) for x in p], [[bits(x) for x in state] for state in s]))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", core.RULES)
def test_a_core_rule_is_its_reference_but_for_the_step(name: str) -> None:
    ours: Any = core.RULES[name]
    theirs: Any = reference.RULES[name]
    assert issubclass(ours, theirs)
    assert ours.__name__ == theirs.__name__
    assert ours().hyperparameters() == theirs().hyperparameters()
    assert list(inspect.signature(ours.step).parameters) == list(inspect.signature(theirs.step).parameters)
    assert pickle.loads(pickle.dumps(ours(lr=0.5))) == replace(ours(), lr=0.5)
    with pytest.raises(ValueError, match=r"Invalid lr: -1"):
        ours(lr=-1)
