"""The test of scale invariance at its edges, how often it is fooled, and where a projected step leads.

Numbers are chosen such that cosines and thresholds are exact in binary.
"""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgauge.reference import SGDP, AdamP, Array, Rule
from stepgauge.reference.projection import cosine, norm, project

U = 2.0**-53
BELOW_ONE, ABOVE_ONE = math.nextafter(1, 0), math.nextafter(1, 2)

E1 = np.array([[1.0, 0.0, 0.0, 0.0]])
ONES = np.ones((1, 4))  # its cosine with E1 is 1/2
LAYER_OF_HALF = np.array([[1.0] + 7 * [0.0], [1.0, 1.0, 1.0] + 5 * [0.0]])  # of norm 2
FIRST_ENTRY = np.array([[1.0] + 7 * [0.0], 8 * [0.0]])  # the first row is parallel, so the row view never passes


@pytest.mark.parametrize(("scale", "projects"), [(1.0, False), (ABOVE_ONE, True), (BELOW_ONE, False)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_pass_strictly_below_the_threshold(scale: float, projects: bool, sign: float) -> None:
    """A cosine of exactly delta / sqrt(columns), here 1/2, does not pass; nor does -1/2."""
    assert project(E1, sign * ONES, ONES, scale * 1.0, 1e-8)[1] is projects


@pytest.mark.parametrize(("scale", "projects"), [(1.0, False), (ABOVE_ONE, True), (BELOW_ONE, False)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_layer_passes_strictly_below_its_threshold(scale: float, projects: bool, sign: float) -> None:
    """The layer of 16 has the cosine 1/2 and the threshold delta / 4."""
    g = sign * LAYER_OF_HALF
    assert project(FIRST_ENTRY, g, g, scale * 2.0, 1e-8)[1] is projects


@pytest.mark.parametrize("eps", [2.0**-27, 2.0**-3])
def test_eps_clamps_the_norms_of_the_cosine(eps: float) -> None:
    """A norm from eps on counts as it is, a smaller one as eps; added to the norms, eps would show in all of these."""
    assert cosine(eps * E1, E1, eps) == 1
    assert cosine(E1, -2 * eps * E1, eps) == -1
    assert cosine(eps / 8 * E1, E1, eps) == 1 / 8
    assert cosine(eps / 8 * E1, eps / 4 * E1, eps) == 1 / 32


def test_clamp_decides() -> None:
    """Parallel to w, but smaller than eps: a gradient passes by its size, which no one else's norm lends it."""
    eps, delta = 2.0**-10, 1.0  # the threshold is 1/2
    assert project(E1, eps * E1, E1, delta, eps)[1] is False  # 1; with eps added: below 1/2
    assert project(E1, eps / 2 * E1, E1, delta, eps)[1] is False  # 1/2, which is not below
    assert project(E1, eps / 4 * E1, E1, delta, eps)[1] is True


def test_eps_is_added_to_the_norm_of_the_weights() -> None:
    """With |w| = eps half of the weight's direction is left, and three quarters of an update along it."""
    w = np.array([[3.0, 4.0]])
    u, invariant = project(w, np.array([[4.0, -3.0]]), w, 0.5, 5.0)
    assert invariant
    assert np.array_equal(u, 0.75 * w)


@pytest.mark.parametrize("delta", [0.0, -0.0, -0.1, -math.inf])
@pytest.mark.parametrize("g", [np.array([[0.0, 1.0, 2.0, 3.0]]), np.zeros((1, 4))])
def test_without_a_positive_threshold_nothing_is_projected(delta: float, g: Array) -> None:
    """Not even where the cosine is exactly 0, with a zero gradient or weight too."""
    for w in (E1, np.zeros((1, 4))):
        u, invariant = project(w, g, ONES, delta, 1e-8)
        assert not invariant
        assert np.array_equal(u, ONES)


def test_zero_weights_count_as_scale_invariant_and_keep_the_update() -> None:
    """Their cosine is 0, and their direction 0 / eps."""
    u, invariant = project(np.zeros((2, 4)), np.ones((2, 4)), np.ones((2, 4)), 0.1, 1e-8)
    assert invariant
    assert np.array_equal(u, np.ones((2, 4)))


def test_one_zero_row_does_not_spoil_the_others() -> None:
    w = np.vstack([E1, np.zeros((1, 4))])
    u, invariant = project(w, np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), np.ones((2, 4)), 0.1, 0.0625)
    assert invariant
    assert np.array_equal(u[1], np.ones(4))
    assert u[0] == pytest.approx(
        [1 - (1 / 1.0625) ** 2, 1, 1, 1], rel=8 * U, abs=0
    )  # 4 roundings, the first then 1 - x


def test_a_cosine_that_is_no_number_does_not_pass() -> None:
    """Without eps, the cosine with zero weights is 0/0."""
    with np.errstate(invalid="ignore"):
        u, invariant = project(np.zeros((2, 4)), np.ones((2, 4)), np.ones((2, 4)), 0.1, 0.0)
    assert not invariant
    assert np.array_equal(u, np.ones((2, 4)))


def test_rows_of_one_entry_leave_it_to_the_layer() -> None:
    """A row of shape (n, 1) is parallel to anything, so that only the layer can pass, up to delta = 1."""
    w, g = np.ones((4, 1)), np.array([[1.0], [-1.0], [1.0], [-1.0]])
    update = np.array([[4.0], [0.0], [0.0], [0.0]])
    u, invariant = project(w, g, update, 1.0, 0.0)
    assert invariant
    assert np.array_equal(u, np.array([[3.0], [-1.0], [-1.0], [-1.0]]))  # by rows, nothing would be left
    assert project(w, g + 2 * w, update, 1.0, 0.0)[1] is False  # cosine 2 / sqrt(5), threshold 1/2


def test_rows_are_preferred_and_all_must_pass() -> None:
    """One row beyond the threshold leaves it to the layer; where both views pass, rows are taken."""
    w = np.array([[1.0, 0.0], [0.0, 1.0]])
    across, along = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, -1.0]])
    update = np.array([[2.0, 3.0], [5.0, 4.0]])
    by_rows, by_layer = np.array([[0.0, 3.0], [5.0, 0.0]]), np.array([[-1.0, 3.0], [5.0, 1.0]])
    # |w| is sqrt(2) for the layer, whose unit vector squares to 1/2 within 2 u; numbers up to 6 enter the difference.
    near_layer = pytest.approx(by_layer, rel=0, abs=6 * 8 * U)
    assert np.array_equal(project(w, across, update, 0.1, 0.0)[0], by_rows)
    assert project(w, along, update, 0.1, 0.0)[0] == near_layer
    mixed = np.array([[0.0, 1.0], [10.0, 1.0]])  # cosines 0 and 0.0995; 0.07 for the layer
    assert np.array_equal(project(w, mixed, update, 0.11 * 2**0.5, 0.0)[0], by_rows)
    assert project(w, mixed, update, 0.09 * 2**0.5, 0.0)[1] is False  # 0.09 for rows, 0.0636 for the layer


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (4, 0)])
def test_vectors_and_empty_parameters_are_left_alone(shape: tuple[int, ...]) -> None:
    u, invariant = project(np.zeros(shape), np.zeros(shape), np.ones(shape), 40.0, 1e-8)
    assert not invariant
    assert np.array_equal(u, np.ones(shape))


DECAYING: dict[str, Any] = {"lr": 0.5, "weight_decay": 0.5, "wd_ratio": 0.25}


@pytest.mark.parametrize("rule", [AdamP(**DECAYING), SGDP(**DECAYING)], ids=["adamp", "sgdp"])
@pytest.mark.parametrize(("delta", "factor"), [(0.1, 0.25), (0.0, 1.0)])
def test_a_zero_gradient_counts_as_scale_invariant(rule: Rule, delta: float, factor: float) -> None:
    """The weights only decay, by wd_ratio of the decay; delta = 0 switches that off."""
    rule = rule.but(delta=delta)
    p = np.array([[1.0, -2.0], [4.0, 8.0]])
    got, _ = rule.step(p, np.zeros_like(p), rule.init(p))
    assert np.array_equal(got, (1 - 0.5 * 0.5 * factor) * p)


def _third_singular_value(w: Array, u: Array, projected: Array) -> float:
    """Of w, w - u and w - Pi u, each of length 1: 0 iff they lie in one plane."""
    ends = [w, w - u, w - projected]
    return float(np.linalg.svd(np.array([x / np.linalg.norm(x) for x in ends]), compute_uv=False)[2])


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 40), st.floats(-3, 3), st.booleans())
def test_p7_projecting_keeps_to_the_geodesic(seed: int, columns: int, decades: float, by_layer: bool) -> None:
    """On the sphere w - Pi u lies where w - u is headed: the three are coplanar, row by row or as a layer."""
    rng = np.random.default_rng(seed)
    w, u = rng.standard_normal((2, columns)), 10**decades * rng.standard_normal((2, columns))
    squares = norm(w) ** 2
    g = w * squares[::-1] * [[1.0], [-1.0]] if by_layer else np.zeros_like(w)  # parallel by rows, orthogonal as a whole
    projected, invariant = project(w, g, u, 0.1, 1e-8)
    assert invariant
    rows = (1, -1) if by_layer else (2, -1)
    for x, y, z in zip(*(a.reshape(rows) for a in (w, u, projected)), strict=True):
        # A wrong multiple of w stays in the plane; entrywise roundings leave it: 4 of |u| in Pi u, 1 in each difference
        # and 1 in each normalisation, and the decomposition's own, of about 16 u.
        allowed = U * (4 * np.linalg.norm(y) / np.linalg.norm(x) + 24)
        assert _third_singular_value(x, y, z) <= allowed


DRAWS, DELTA = 40_000, 0.1
BY_CHANCE = math.erf(DELTA / 2**0.5)  # 7.97 %: a random cosine times sqrt(d) is normal for large d


def _views_by_chance(shape: tuple[int, int]) -> tuple[float, float]:
    """How often Gaussian gradients pass at all, and how often by rows."""
    rng = np.random.default_rng(0)
    w, passed, by_rows = rng.standard_normal(shape), 0, 0
    for _ in range(DRAWS):
        g = rng.standard_normal(shape)
        u, invariant = project(w, g, g, DELTA, 0.0)
        passed += invariant
        by_rows += invariant and bool(np.all(np.abs(np.sum(w * u, axis=1)) < 1e-9))  # of numbers of size 1
    return passed / DRAWS, by_rows / DRAWS


def _by_luck(p: float, columns: int) -> float:
    """Five standard deviations of a frequency, and what d columns are short of infinitely many: 3 / (4 d) of p."""
    return 5 * (p * (1 - p) / DRAWS) ** 0.5 + p / columns


def test_p13_a_row_that_is_not_scale_invariant_passes_in_8_percent() -> None:
    """A threshold of delta / sqrt(d) lets a random gradient pass with probability erf(delta / sqrt(2))."""
    passed, _ = _views_by_chance((1, 256))
    assert abs(passed - BY_CHANCE) <= _by_luck(BY_CHANCE, 256)


def test_p13_rows_pass_together_but_the_layer_alone() -> None:
    """Two rows pass by chance with that probability squared; but then the layer passes with the probability itself."""
    passed, by_rows = _views_by_chance((2, 64))
    assert abs(by_rows - BY_CHANCE**2) <= _by_luck(BY_CHANCE**2, 32)  # two rows fall short by 3 / (4 d) each
    assert BY_CHANCE - _by_luck(BY_CHANCE, 128) <= passed
    assert passed <= BY_CHANCE + BY_CHANCE**2 + _by_luck(BY_CHANCE, 128)
