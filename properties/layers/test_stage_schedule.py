"""The poles of FSGDM, stage by stage, in both dialects; `test_frequency_response.py` says what they do."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgauge.reference import FSGDM, Array, Group, init, step

U = 2.0**-53
QUOTIENT = 4 * U  # c N, or c Sigma; the sum with it; the quotient; and the expected value: one rounding each

STAGES = st.integers(1, 40)
SPANS = st.integers(0, 400)
SCALINGS = st.floats(1e-3, 10)  # well above roundoff: below c N / k = u a pole rounds to 1, and neighbours meet


def _near(expected: Any) -> Any:
    return pytest.approx(expected, rel=QUOTIENT, abs=0)


def _rule(n: int, sigma: int, c: float, dialect: str) -> FSGDM:
    return FSGDM(n_stages=n, sigma=sigma, c_scaling=c, dialect=dialect)


def _poles(rule: FSGDM, last: int) -> list[float]:
    """u_1, ..., u_last."""
    return [rule.pole(t) for t in range(1, last + 1)]


@settings(derandomize=True, deadline=None)
@given(STAGES, SPANS, SCALINGS, st.sampled_from(FSGDM.dialects))
def test_f5_poles_climb_from_0_towards_1(n: int, span: int, c: float, dialect: str) -> None:
    """They never fall, stay in [0, 1), and go on growing past Sigma."""
    sigma = n + span
    rule = _rule(n, sigma, c, dialect)
    poles = _poles(rule, 2 * sigma)
    assert all(0 <= u < 1 for u in poles)
    assert all(before <= after for before, after in pairwise(poles))
    assert poles[sigma - 1] < poles[-1]


@settings(derandomize=True, deadline=None)
@given(STAGES, SPANS, SCALINGS)
def test_f5_published_stages_are_those_of_real_length(n: int, span: int, c: float) -> None:
    """u_t is that of stage floor(t / (Sigma / N)) in exact arithmetic, so that N + 1 values lead to 1 / (1 + c)."""
    sigma = n + span
    rule = _rule(n, sigma, c, "published")
    poles = _poles(rule, sigma)
    stages = [math.floor(t / Fraction(sigma, n)) for t in range(1, sigma + 1)]
    assert poles == _near([k / (k + c * n) for k in stages])
    assert len(set(poles)) == (n + 1 if span else n)  # stages of one step have no step in stage 0
    assert poles[-1] == _near(1 / (1 + c))


@settings(derandomize=True, deadline=None)
@given(STAGES, SPANS, SCALINGS)
def test_f5_released_stages_are_cut_to_whole_steps(n: int, span: int, c: float) -> None:
    """A stage has floor(Sigma / N) steps, the first one less; 1 / (1 + c) is met at Sigma iff that divides Sigma."""
    sigma = n + span
    length = sigma // n
    poles = _poles(_rule(n, sigma, c, "released"), sigma)
    starts = [t - t % length for t in range(1, sigma + 1)]
    assert poles == _near([s / (s + c * sigma) for s in starts])
    assert len(set(poles)) == sigma // length + (length > 1)
    assert poles[: length - 1] == [0.0] * (length - 1)
    assert poles[length - 1] > 0
    if sigma % length == 0:
        assert poles[-1] == _near(1 / (1 + c))
    else:  # at least one step short of Sigma: by a part c / (Sigma (1 + c)) of the pole, above 1e-6 here
        assert poles[-1] < 1 / (1 + c) * (1 - 1e-6)


@pytest.mark.parametrize(("dialect", "values"), [("published", 26), ("released", 28)])
def test_f5_uneven_stages_outnumber_n_in_the_release(dialect: str, values: int) -> None:
    """25 stages in 271 steps: released ones have 10 steps, and 28 poles fit."""
    assert len(set(_poles(_rule(25, 271, 0.1, dialect), 271))) == values


def test_f5_stage_is_not_the_floor_of_a_rounded_quotient() -> None:
    """192 / (192 / 59) is 59, but 58.99... in floats."""
    assert math.floor(192 / (192 / 59)) == 58
    assert _rule(59, 192, 1.0, "published").pole(192) == 0.5


@pytest.mark.parametrize("dialect", FSGDM.dialects)
def test_f5_default_pole_and_gain(dialect: str) -> None:
    """At Sigma the defaults have the pole 1 / 1.033 and pass a constant with gain 1 + 1 / 0.033."""
    rule = FSGDM(dialect=dialect)
    pole = rule.pole(rule.sigma)
    assert pole == _near(1 / 1.033)
    assert f"{pole:.5f}" == "0.96805"
    assert f"{rule.v_coefficient / (1 - pole):.2f}" == "31.30"


def test_released_sequence_of_an_uneven_schedule() -> None:
    """Sigma 10 in 3 stages of 3 steps, mu = 1: the first stage is one call short, and nothing stops at Sigma."""
    poles = _poles(_rule(3, 10, 0.1, "released"), 12)
    assert poles == [s / (s + 1) for s in (0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 12)]


def test_released_sequence_of_stages_of_one_step() -> None:
    """The first call already has a pole, of 1 / (1 + mu)."""
    assert _rule(8, 8, 0.25, "released").pole(1) == 1 / 3


def _driven(rule: FSGDM, gradients: list[list[Array | None]]) -> list[list[FSGDM.State]]:
    """The states after each step of two groups of one parameter each."""
    groups, params = [Group(rule, [0]), Group(rule, [1])], [np.zeros(1), np.zeros(1)]
    states, seen = init(groups, params), []
    for grads in gradients:
        params, states = step(groups, params, grads, states)
        seen.append(states)
    return seen


@pytest.mark.parametrize("dialect", FSGDM.dialects)
def test_a_group_without_gradients_counts_the_step(dialect: str) -> None:
    """Absent for two steps, a group meets the pole of the third, not of its own first; its buffer stood still."""
    one = np.ones(1)
    rule = FSGDM(weight_decay=0.0, c_scaling=0.5, n_stages=4, sigma=4, dialect=dialect)
    seen = _driven(rule, [[one, one], [one, None], [one, None], [one, one]])
    assert [state.step for states in seen for state in states] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [states[1].momentum_buffer for states in seen[:3]] == [1.0, 1.0, 1.0]
    assert seen[3][1].momentum_buffer == rule.pole(4) * 1.0 + 1.0
    assert rule.pole(4) == 2 / 3  # k / (k + c N) with k = N = 4; its own second would be 1 / 2


@pytest.mark.parametrize(("dialect", "first"), [("published", 0.25), ("released", 1.0)])
def test_a_late_first_gradient_is_scaled_by_v_only_as_published(dialect: str, first: float) -> None:
    """Released, the first buffer is a clone of the gradient, whenever it comes."""
    one = np.ones(1)
    rule = FSGDM(weight_decay=0.0, v_coefficient=0.25, n_stages=4, sigma=4, dialect=dialect)
    seen = _driven(rule, [[one, None], [one, None], [one, one]])
    assert seen[2][1].momentum_buffer == first
