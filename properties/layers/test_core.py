"""Law: the core computes the bits of the reference, wherever arrays lie and however many threads share a step."""

import ast
import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from stepgauge import core, reference
from stepgauge.properties.gauge.problems.foci import Focus
from stepgauge.properties.gauge.problems.sampling import hyperparameters
from stepgauge.reference import Array, Group
from stepgauge.reference.projection import cosine, project

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy reports overflow, C does not

DTYPES = (np.float32, np.float64)
CRITICAL = {name for name in core.OPTIMIZERS if name.endswith("_c")}
WITHOUT_REDUCTION = array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
# around the turns of NumPy's summation: 8 lanes, blocks of 128, halving, and its buffers of 8192 elements
WITH_ROWS = st.tuples(
    st.integers(1, 4), st.integers(1, 20) | st.integers(120, 140) | st.integers(250, 1200) | st.just(20_001)
)
LONG = st.tuples(st.integers(1020, 1100) | st.just(70_001))  # beyond the stretches that are copied, or shared
KINDS = (
    "random",
    "tangent to rows",
    "tangent to the layer",
    "zero",
    "negative zero",
    "not finite",
    "huge",
    "tiny",
    "denormal",
)


class Recipe(NamedTuple):
    """A parameter and its gradients, before NumPy expands them."""

    shape: tuple[int, ...]
    dtype: type[np.floating[Any]]
    kinds: list[str]  # of each step's gradient
    scale: float = 1.0  # of the parameter
    seed: int = 0
    offset: int = 0  # of every array from a cache line, in elements
    threads: int = 1
    maximize: bool = False


RECIPES = st.builds(
    Recipe,
    shape=WITHOUT_REDUCTION | WITH_ROWS | LONG,
    dtype=st.sampled_from(DTYPES),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    seed=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 15),
    threads=st.sampled_from([1, 1, 2, 3]),
    maximize=st.booleans(),
)
FRACTIONS = st.floats(0, 0.9999)
EXTREME: Mapping[str, st.SearchStrategy[Any]] = {
    "sgd": st.fixed_dictionaries(
        {"lr": st.floats(0, 10), "weight_decay": st.just(0.0) | st.floats(0, 1)},
        optional={"momentum": st.floats(0, 1.5), "dampening": st.floats(-1, 2)},
    )
    | st.fixed_dictionaries({"lr": st.floats(0, 10), "momentum": st.floats(0.01, 1.5), "nesterov": st.just(True)}),
    "adamp": st.fixed_dictionaries(
        {"lr": st.floats(0, 10), "weight_decay": st.just(0.0) | st.floats(0, 1), "nesterov": st.booleans()},
        optional={
            "betas": st.tuples(FRACTIONS, FRACTIONS),
            "eps": st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 1e300]),
            "delta": st.sampled_from([-1.0, 0.0, 1.0, 10.0, float("inf")]),
            "wd_ratio": st.floats(0, 2),
        },
    ),
}


def exact_rules(name: str) -> st.SearchStrategy[Any]:
    """Hyperparameters and dialects with which a rule consists of + - x / and square roots, in a fixed order."""
    fixed: dict[str, Any] = {"adaiv2": {"dampening": 1.0}}.get(name, {})  # with another, powers
    if name in CRITICAL:
        fixed = {"topC": 5, "kappa": 1.0}  # so that no gradient leaves; the sum of what stays is kept, not taken
    drawn = hyperparameters(name, fixed, Focus())
    # The released heap sums in the order of the heap, which a running sum does not follow.
    dialects = st.sampled_from(
        [d for d in reference.RULES[name].own_dialects() if name not in CRITICAL or d != "released"]
    )
    return st.builds(lambda h, dialect: {**h, "dialect": dialect}, drawn, dialects) | EXTREME.get(name, drawn)


def gradient(kind: str, p: Array, rng: np.random.Generator) -> Array:
    g = rng.standard_normal(p.shape)
    view = (1, -1) if kind == "tangent to the layer" else (len(p) if p.ndim else 1, -1)
    if kind.startswith("tangent") and p.size:
        w, g_ = p.astype(np.float64).reshape(view), g.reshape(view)
        g = (g_ - w * np.sum(w * g_, axis=1, keepdims=True) / np.sum(w * w, axis=1, keepdims=True)).reshape(p.shape)
    if kind == "not finite" and p.size:
        g.flat[rng.integers(p.size)] = rng.choice([np.nan, np.inf, -np.inf])
    factor = {"zero": 0.0, "negative zero": -0.0, "huge": 1e30, "tiny": 1e-30}.get(kind, 1.0)
    if kind == "denormal":
        factor = float(np.finfo(p.dtype).smallest_subnormal) * 100
    return np.asarray(factor * (np.abs(g) if kind.endswith("zero") else g), p.dtype)


def placed(x: Array, offset: int) -> Array:
    """A copy that begins `offset` elements after a cache line."""
    room = np.empty(x.nbytes + 128 + offset * x.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + offset * x.itemsize
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def read_only(x: Array) -> Array:
    x.flags.writeable = False
    return x


def bits(x: Any) -> Any:
    """What must be equal: dtype, shape and bits, with one NaN for all; of a record, that of each field."""
    if isinstance(x, tuple):
        return tuple(bits(part) for part in x)
    if type(x) is float:
        return repr(x)
    if not isinstance(x, np.ndarray | np.generic):
        return x
    return x.dtype, x.shape, np.where(np.isnan(x), np.nan, x).astype(x.dtype).tobytes()


def assert_same_steps(name: str, hyperparameters: dict[str, Any], recipe: Recipe) -> None:
    """Both step the recipe's parameter and two small ones, of which one has no gradient in every other step."""
    rng = np.random.default_rng(recipe.seed)
    groups = [Group(reference.RULES[name](**hyperparameters), [0, 1, 2])]
    expected = [
        np.asarray(recipe.scale * rng.standard_normal(shape), recipe.dtype) for shape in (recipe.shape, (3,), (2,))
    ]
    states = reference.init(groups, expected)
    got = [placed(p, recipe.offset) for p in expected]
    ours = core.OPTIMIZERS[name].from_groups(groups, got, maximize=recipe.maximize, threads=recipe.threads)
    for t, kind in enumerate(recipe.kinds):
        grads = [gradient(kind, p, rng) for p in expected]
        now = [grads[0], None if t % 2 else grads[1], grads[2]]
        expected, states = reference.step(groups, expected, now, states, maximize=recipe.maximize)
        ours.step([None if g is None else read_only(placed(g, recipe.offset)) for g in now])
        where = f"{groups[0].rule} at step {t} of {recipe}"
        for p, q in zip(got, expected, strict=True):
            assert bits(p) == bits(q), f"parameters of {where}"
        for mine, theirs in zip(ours.states, states, strict=True):
            for field, a, b in zip(theirs._fields, mine, theirs, strict=True):
                assert bits(a) == bits(b), f"{field} of {where}"


@pytest.mark.parametrize("name", core.OPTIMIZERS)
@settings(derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_the_core_has_the_bits_of_the_reference(name: str, data: st.DataObject) -> None:
    assert_same_steps(name, data.draw(exact_rules(name)), data.draw(RECIPES))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["adamp", "sgdp", "adai"])
def test_rows_of_every_length_sum_to_the_bits_of_numpy(name: str, dtype: type[np.floating[Any]]) -> None:
    projected = {} if name == "adai" else {"delta": float("inf")}
    for cols in range(1, 600):
        recipe = Recipe((3, cols), dtype, ["random", "random"], seed=cols)
        assert_same_steps(name, {"lr": 0.1, "weight_decay": 0.1, **projected}, recipe)


VIEWS = {
    "random": ((4, 3), (4, 3), False),
    "tangent to rows": ((4, 3, 5), (4, -1), True),
    "tangent to the layer": ((4, 3, 5), (1, -1), True),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_each_view_of_the_projection_has_the_bits_of_the_reference(
    name: str, kind: str, dtype: type[np.floating[Any]]
) -> None:
    shape, view, projected = VIEWS[kind]
    rule = {"delta": 1e-3, "lr": 0.1, "weight_decay": 0.1, "wd_ratio": 0.3}
    recipe = Recipe(shape, dtype, [kind] * 3, seed=1)
    rng = np.random.default_rng(recipe.seed)
    p = np.asarray(rng.standard_normal(shape), dtype)
    g = gradient(kind, p, rng)
    by_rows = np.max(np.abs(cosine(g.reshape(4, -1), p.reshape(4, -1), 1e-8))) < 1e-3
    assert project(p, g, g, 1e-3, 1e-8)[1] == projected, "the recipe should decide as it is called"
    assert by_rows == (view == (4, -1)), "the recipe should lead to the view it is called after"
    assert_same_steps(name, rule, recipe)


@pytest.mark.parametrize("nudge", [-1e-9, 0.0, 1e-9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cosine_at_the_threshold_is_compared_in_the_parameters_dtype(
    dtype: type[np.floating[Any]], nudge: float
) -> None:
    rng = np.random.default_rng(0)
    p, g = rng.standard_normal((2, 1, 6)).astype(dtype)
    delta = float(np.abs(cosine(g, p, 1e-8))[0, 0]) * (1 + nudge) * 6**0.5
    invariant = project(p, g, g, delta, 1e-8)[1]
    rule = reference.AdamP(delta=delta, lr=0.1, weight_decay=0.5, wd_ratio=0.0)
    expected, _ = rule.step(p, g, rule.init(p))
    core.AdamP.from_groups([Group(rule, [0])], [p]).step([g])
    assert bits(p) == bits(expected), f"delta {delta!r}, invariant {invariant}"


LATE: dict[str, reference.Rule] = {
    "adam": reference.Adam(betas=(0.8, 0.99999)),
    "adamp": reference.AdamP(betas=(0.8, 0.99999)),
    "fsgdm": reference.FSGDM(),
}


@pytest.mark.parametrize("t", [0, 1, 10**4, 2**24, 10**9])
@pytest.mark.parametrize("name", LATE)
def test_late_steps_have_the_bits_of_the_reference(name: str, t: int) -> None:
    rng = np.random.default_rng(t)
    p, g, *moments = rng.standard_normal((5, 3, 50))
    rule = LATE[name]
    arrays = iter(moments)
    s = rule.init(p)
    s = s._replace(step=t, **{n: np.abs(next(arrays)) for n in s._fields if n != "step"})
    expected, s_expected = rule.step(p, g, s)
    ours = core.OPTIMIZERS[name].from_groups([Group(rule, [0])], [p], [s])
    ours.step([g])
    assert bits(p) == bits(expected)
    assert bits(ours.states[0]) == bits(s_expected)


def test_a_sum_of_nothing_but_negative_zeros_is_positive_as_in_numpy() -> None:
    p, zero = np.zeros((1, 8)), np.full((1, 8), -0.0)
    rule = reference.AdamP(lr=2.0, weight_decay=1.0, wd_ratio=1.0, delta=float("inf"))  # decays p to -p
    s = rule.State(0, zero, np.zeros((1, 8)))
    expected, _ = rule.step(p, zero, s)
    core.AdamP.from_groups([Group(rule, [0])], [p], [s]).step([np.full((1, 8), -0.0)])
    assert bits(p) == bits(expected)


# --- the buffer's running sum


def drift_bound(entries: tuple[Any, ...], capacity: int, unit: float) -> float:
    """What the sum of a buffer may be off: 16 roundings of twice its norms, and those of a sum taken anew."""
    return (2 * 16 + capacity) * unit * sum(float(np.linalg.norm(entry.value)) for entry in entries)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dialect", ["published", "released"])
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    exponents=st.lists(st.integers(-12, 12), min_size=4, max_size=80),
    capacity=st.integers(1, 12),
    decay=st.sampled_from([0.3, 0.7, 0.99, 1.0]),
    weight_decay=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_the_running_sum_drifts_no_further_than_its_norms_allow(
    dtype: type[np.floating[Any]],
    dialect: str,
    exponents: list[int],
    capacity: int,
    decay: float,
    weight_decay: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    p = np.zeros(5, dtype)
    options: dict[str, Any] = {"topC": capacity, "decay": decay, "weight_decay": weight_decay, "dialect": dialect}
    ours = core.SGD_C([p], lr=1.0, **options)
    unit = float(np.finfo(dtype).eps) / 2
    for exponent in exponents:
        g = np.asarray(10.0**exponent * rng.standard_normal(5), dtype)
        p[...] = 0  # so that -p is what the step goes along
        entries = copy.deepcopy(ours.states[0].buffer.entries)  # the arrays are shared, and about to change
        ours.step([g])
        exact = g.astype(np.float64)
        if entries:
            exact = exact + sum(entry.value.astype(np.float64) for entry in entries) / len(entries)
        allowed = drift_bound(entries, capacity, unit) + 8 * unit * (np.abs(exact) + np.abs(g))
        assert np.all(np.abs(-p - exact) <= allowed), f"{np.abs(-p - exact)} > {allowed} after {exponent}"


@pytest.mark.parametrize("dialect", reference.SGD_C.dialects)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    norms=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 8.0, np.inf, np.nan]), min_size=4, max_size=40),
    capacity=st.integers(1, 6),
    decay=st.sampled_from([0.3, 0.7, 0.99, 1.0]),
)
def test_the_buffer_keeps_the_entries_that_the_reference_keeps(
    dialect: str, norms: list[float], capacity: int, decay: float
) -> None:
    rule = reference.SGD_C(topC=capacity, decay=decay, dialect=dialect)
    p: Array = np.zeros(2)
    ours, s = core.SGD_C.from_groups([Group(rule, [0])], [p.copy()]), rule.init(p)
    for t, x in enumerate(norms):
        g = np.array([x, 0.0]) if t % 2 else np.array([0.0, x])
        p, s = rule.step(p, g, s)
        ours.step([g])
        assert bits(ours.states[0].buffer.entries) == bits(s.buffer.entries), f"at step {t}"


# --- its face


@pytest.mark.parametrize("name", core.OPTIMIZERS)
def test_a_core_optimizer_takes_its_references_hyperparameters(name: str) -> None:
    ours, theirs = core.OPTIMIZERS[name], reference.RULES[name]
    assert ours.rule is theirs
    assert ours.__name__ == theirs.__name__
    parameters = inspect.signature(ours).parameters
    assert tuple(parameters) == ("params", *theirs.hyperparameter_names(), "dialect", "maximize", "threads")
    assert {n: p.default for n, p in parameters.items() if n in theirs.defaults()} == theirs.defaults()
    with pytest.raises(ValueError, match=r"Invalid lr: -1"):
        ours([np.ones(3)], lr=-1)


@pytest.mark.parametrize("name", core.OPTIMIZERS)
def test_the_stub_says_what_the_compiled_constructor_takes(name: str) -> None:
    ours = core.OPTIMIZERS[name]
    stub = Path(core.arrays.__file__).parent / f"{ours.__module__.rpartition('.')[2]}.pyi"
    (declared,) = [node for node in ast.parse(stub.read_text()).body if getattr(node, "name", "") == ours.__name__]
    (init,) = [node for node in ast.walk(declared) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    defaults = [None if value is None else ast.literal_eval(value) for value in init.args.kw_defaults]
    compiled = list(inspect.signature(ours).parameters.values())[1:]
    assert [arg.arg for arg in init.args.kwonlyargs] == [p.name for p in compiled]
    assert defaults == [None if p.default is p.empty else p.default for p in compiled]
