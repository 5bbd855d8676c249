"""What becomes of NaN and infinite gradients: of the parameter, its state, the buffers and the other parameters."""

from typing import Any

import numpy as np
import pytest

from stepgauge.reference import RULES, Array, Convolution, Group, Layer, Rule, Seen, init, step
from stepgauge.reference.layers import gradient_of
from stepgauge.reference.projection import project

BAD = [np.nan, np.inf, -np.inf]
CRITICAL = [name for name in RULES if name.endswith("_c")]
SHAPES = ((3, 4), (5,))
STEPS = 4
PLAIN = [name for name, rule in RULES.items() if not rule.sees_layers and rule.pools_over != "all"]


def _rule(name: str, dialect: str = "", **chosen: Any) -> Rule:
    """The rule with its parts switched on where it has them."""
    lively = {"lr": 0.1, "momentum": 0.8, "topC": 2, "n_stages": 2, "sigma": 8, "delta": 40.0, **chosen}
    return RULES[name](**{n: v for n, v in lively.items() if n in RULES[name].hyperparameter_names()}, dialect=dialect)


def _run(rule: Rule, bad: float, steps: int = 2) -> tuple[list[Any], list[Any]]:
    """Two parameters, of which the first has `bad` as gradient of coordinate (1, 2) in the second step."""
    rng = np.random.default_rng(0)
    params: list[Any] = [rng.standard_normal(shape) for shape in SHAPES]
    groups = [Group(rule, [0, 1])]
    states = init(groups, params)
    with np.errstate(all="ignore"):
        for t in range(steps):
            grads = [rng.standard_normal(shape) for shape in SHAPES]
            if t == 1:
                grads[0][1, 2] = bad
            params, states = step(groups, params, grads, states)
    return params, states


def _fields(state: Any) -> list[Array]:
    """The arrays of a state that have the first parameter's shape."""
    base = state.base if hasattr(state, "base") else state
    return [x for x in base if np.shape(x) == SHAPES[0]]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("name", "dialect"), [(n, d) for n in PLAIN for d in RULES[n].dialects])
def test_it_stays_in_its_coordinate(name: str, dialect: str, bad: float) -> None:
    """In its step it spoils the coordinate, and that of the state; all others step as if it were finite.

    Of a rule whose step is bounded, an infinite gradient spoils the state alone.
    """
    rule = _rule(name, dialect, delta=0.0)
    (spoilt, other), (state, _) = _run(rule, bad)
    (plain, expected), (clean, _) = _run(rule, 0.5)
    elsewhere = np.ones(SHAPES[0], dtype=bool)
    elsewhere[1, 2] = False
    assert np.isfinite(spoilt[1, 2]) == (rule.bounded_step and np.isinf(bad))
    assert not all(np.isfinite(x[1, 2]) for x in (spoilt, *_fields(state)))
    assert np.array_equal(spoilt[elsewhere], plain[elsewhere])
    assert np.array_equal(other, expected)
    for got, want in zip(_fields(state), _fields(clean), strict=True):
        assert np.array_equal(got[elsewhere], want[elsewhere])


@pytest.mark.parametrize("name", PLAIN)
def test_nan_is_never_forgotten(name: str) -> None:
    (spoilt, _), _ = _run(_rule(name, delta=0.0), np.nan, STEPS)
    assert np.isnan(spoilt[1, 2])
    assert np.isfinite(np.delete(spoilt.ravel(), 1 * 4 + 2)).all()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_a_weight_that_is_not_finite_is_projected_no_more(name: str, bad: float) -> None:
    """Even where a huge threshold projects every finite weight; the other parameters are."""
    (spoilt, other), _ = _run(_rule(name), bad, STEPS)
    assert np.argwhere(~np.isfinite(spoilt)).tolist() == [[1, 2]]
    g = np.random.default_rng(1).standard_normal(SHAPES[0])
    with np.errstate(all="ignore"):
        assert project(np.where(np.isfinite(spoilt), spoilt, 1.0), g, g, 40.0, 1e-8)[1]
        assert not project(spoilt, g, g, 40.0, 1e-8)[1]
    assert np.array_equal(other, _run(_rule(name), 0.5, STEPS)[0][1])


@pytest.mark.parametrize("name", ["adai", "adaiv2"])
def test_nan_makes_the_whole_model_nan_and_infinity_takes_its_inertia(name: str) -> None:
    """Both through the mean of the second moments; of an infinite mean every finite moment is the part 0."""
    rule = _rule(name)
    (spoilt, other), _ = _run(rule, np.nan)
    assert np.isnan(spoilt).all()
    assert np.isnan(other).all()
    (spoilt, other), states = _run(rule, np.inf)
    assert np.array_equal(np.argwhere(~np.isfinite(spoilt)), [[1, 2]])
    (_, _), before = _run(rule, 0.5, 1)
    assert np.isfinite(other).all()
    assert np.array_equal(states[1].beta1_prod, before[1].beta1_prod * (1 - 1e-3))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("name", CRITICAL)
def test_it_never_enters_a_buffer(name: str, synced: bool, bad: float) -> None:
    """Synced, the key is the group's, so no gradient of that step is stored; by itself, the other one is."""
    (_, _), (spoilt, other) = _run(_rule(name, synced=synced), bad)
    assert len(spoilt.buffer.entries) == 1
    assert len(other.buffer.entries) == (1 if synced else 2)
    assert all(np.isfinite(entry.value).all() for entry in spoilt.buffer.entries)


@pytest.mark.parametrize("name", CRITICAL)
def test_released_buffers_store_what_they_should_not(name: str) -> None:
    """The heap drops a NaN and stores an infinity; the running sum stores both, and after a NaN nothing more."""
    for dialect, bad, stored in (("released", np.nan, 1), ("released", np.inf, 2), ("released_eff", np.nan, 2)):
        _, (spoilt, _) = _run(_rule(name, dialect), bad)
        assert len(spoilt.buffer.entries) == stored
    _, (spoilt, _) = _run(_rule(name, "released_eff"), np.nan, STEPS)
    assert np.isnan(spoilt.buffer.keys[1])
    assert np.isnan(spoilt.buffer.sum).any()


def _layers(rule: Rule, where: str, bad: float) -> tuple[list[Any], list[Any]]:
    """A convolution of three outputs beside a vector, after a step with `bad` in its gradient, signals or inputs."""
    rng = np.random.default_rng(0)
    geometry = Convolution((2, 2))
    params: list[Any] = [rng.standard_normal((3, 2, 2, 2)), rng.standard_normal(4)]
    seen = Seen(rng.standard_normal((4, 2, 4, 4)), rng.standard_normal((4, 3, 3, 3)))
    (grad,) = gradient_of(seen, (3, 2, 2, 2), geometry, bias=False)
    {"gradient": grad, "signals": seen.signals, "inputs": seen.inputs}[where][1, 1, 1, 1] = bad
    groups, layers = [Group(rule, [0, 1])], [Layer(0, None, geometry)]
    with np.errstate(all="ignore"):
        return step(groups, params, [grad, np.ones(4)], init(groups, params, layers), layers, {0: seen})


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["frog", "kfrog"])
@pytest.mark.parametrize(("where", "rows"), [("gradient", [1]), ("signals", [1]), ("inputs", [0, 1, 2])])
def test_a_row_is_spoilt_by_its_own_and_a_layer_by_its_inputs(
    name: str, where: str, rows: list[int], bad: float
) -> None:
    """But an infinite signal is what K-FROG divides its row by: that row stays."""
    rows = [] if (name, where) == ("kfrog", "signals") and np.isinf(bad) else rows
    for dialect in RULES[name].dialects:
        moved, _ = _layers(_rule(name, dialect, momentum=0.0, tau=0.1, sample_size=None), where, bad)
        finite = [bool(np.isfinite(row).all()) for row in moved[0]]
        assert finite == [j not in rows for j in range(3)], (dialect, finite)
        assert np.isfinite(moved[1]).all()
