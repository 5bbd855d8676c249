"""The inertia of Adai: its mean, its monotony, and what becomes of it at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgauge.reference import Adai, AdaiV2, Array, Group, Sum, init, step

U = 2.0**-53


def _inertia(rule: Adai, p: Array, g: Array) -> Array:
    """beta1 of the first step."""
    s = rule.init(p)
    return rule.step(p, g, s, rule.statistic(p, g, s))[1].beta1_prod


VECTOR = st.lists(st.floats(0.01, 10), min_size=2, max_size=30).map(np.array)


@settings(derandomize=True, deadline=None)
@given(VECTOR, st.floats(0.01, 3), st.sampled_from([1e-3, 0.02]))
def test_a7_mean_inertia(g: Array, beta0: float, eps: float) -> None:
    """The mean of 1 - beta1 is at most beta0 + eps, and is beta0 where nothing is clipped."""
    inertia = _inertia(Adai(0.1, (beta0, 0.9), eps), np.zeros_like(g), g)
    assert np.all(eps * (1 - 4 * U / eps) <= 1 - inertia)
    assert np.all(1 - inertia <= 1)
    mean = float(np.mean(1 - inertia))
    assert mean <= beta0 + eps + 64 * U * (1 + beta0)
    if np.all((inertia > 0) & (inertia < 1 - eps)):
        assert mean == pytest.approx(beta0, rel=64 * U, abs=64 * U)


def test_a7_clipping_at_eps_raises_the_mean_and_clipping_at_0_lowers_it() -> None:
    """v_hat / v_bar is (0, 4/3, 4/3, 4/3), then (3/2, 1/2): eps stands for 0 in the one, 1 for 1.2 in the other."""
    raised = _inertia(Adai(0.1, (0.1, 0.9), 0.02), np.zeros(4), np.array([0.0, 1.0, 1.0, 1.0]))
    assert np.mean(1 - raised) == pytest.approx(0.1 + 0.02 / 4, rel=64 * U, abs=0)
    lowered = _inertia(Adai(0.1, (0.8, 0.9), 0.02), np.zeros(2), np.array([3.0**0.5, 1.0]))
    assert np.mean(1 - lowered) == pytest.approx((1 + 0.4) / 2, rel=64 * U, abs=0)


@pytest.mark.parametrize(("dampening", "multiple"), [(0.0, 10.0), (0.5, 10**0.5), (1.0, 1.0)])
def test_a11_dampening_scales_the_momentum_and_the_rate_inversely(dampening: float, multiple: float) -> None:
    """Under a constant |g|, m_hat is beta0^(d - 1) g while each step is lr g, here with beta0 = 0.1."""
    rule = AdaiV2(0.5, (0.1, 0.9), dampening=dampening)
    groups, params, g = [Group(rule, [0])], [np.zeros(3)], np.array([2.0, -2.0, 2.0])
    states = init(groups, params)
    for t in range(1, 6):
        params, states = step(groups, params, [g], states)
        # 1 - prod is at least 0.1, and its error u / 0.1 per step; a dozen roundings of the rest.
        near = 20 * t * U / 0.1
        assert states[0].exp_avg / (1 - states[0].beta1_prod) == pytest.approx(multiple * g, rel=near, abs=0)
        assert params[0] == pytest.approx(-0.5 * t * g, rel=near, abs=0)


@pytest.mark.parametrize(("dampening", "moves"), [(0.0, False), (0.5, False), (1.0, True)])
def test_without_inertia_range_only_the_undampened_adaiv2_moves(dampening: float, moves: bool) -> None:
    """beta0^(1 - d) is 0 for beta0 = 0, and 1 for d = 1."""
    rule = AdaiV2(0.5, (0.0, 0.9), dampening=dampening)
    moved, _ = step([Group(rule, [0])], [np.ones(2)], [np.ones(2)], init([Group(rule, [0])], [np.ones(2)]))
    # beta1 is 1 - eps, so m and its correction are both about eps: rounding is amplified by 1 / eps.
    assert moved[0] == pytest.approx(np.full(2, 0.5 if moves else 1.0), rel=0, abs=16 * U / rule.eps * moves)


@settings(derandomize=True, deadline=None)
@given(VECTOR, st.floats(0.01, 3), st.floats(1.01, 10))
def test_a10_a_larger_second_moment_has_no_more_inertia(g: Array, beta0: float, factor: float) -> None:
    """Raising one coordinate's second moment does not raise its beta1."""
    louder = g.copy()
    louder[0] *= factor
    rule = Adai(0.1, (beta0, 0.9))
    assert _inertia(rule, np.zeros_like(g), louder)[0] <= _inertia(rule, np.zeros_like(g), g)[0] + 8 * U


@pytest.mark.parametrize("rule", [Adai(0.1, weight_decay=0.2, decoupled=True), AdaiV2(0.1, weight_decay=0.2)])
def test_all_gradients_zero(rule: Adai) -> None:
    """Published: the parameter only decays, the step counts, and v, m and the product move by their recursions."""
    p = np.array([1.0, -2.0])
    params, states = step([Group(rule, [0])], [p], [np.zeros(2)], init([Group(rule, [0])], [p]))
    assert np.array_equal(params[0], (1 - 0.1 * 0.2) * p)
    assert states[0].step == 1
    assert np.array_equal(states[0].beta1_prod, np.full(2, 1 - rule.eps))
    released = rule.but(dialect="released")
    with np.errstate(invalid="ignore"):
        params, _ = step([Group(released, [0])], [p], [np.zeros(2)], init([Group(released, [0])], [p]))
    assert np.all(np.isnan(params[0]))


def test_one_nan_gradient_poisons_every_tensor() -> None:
    groups = [Group(Adai(0.1), [0, 1])]
    params = [np.ones(2), np.ones(3)]
    moved, _ = step(groups, params, [np.array([np.nan, 1.0]), np.ones(3)], init(groups, params))
    assert np.all(np.isnan(moved[1]))


def test_no_gradient_anywhere_is_a_no_op() -> None:
    groups = [Group(Adai(0.1, weight_decay=0.1, decoupled=True), [0])]
    params = [np.ones(2)]
    moved, states = step(groups, params, [None], init(groups, params))
    assert np.array_equal(moved[0], params[0])
    assert states[0].step == 0


def test_statistics_add_over_shards() -> None:
    """What a sharded run all-reduces: (total, count) pairs."""
    assert Sum(1.0, 2) + Sum(3.0, 4) == Sum(4.0, 6)
    assert Sum(4.0, 8).mean == 0.5
