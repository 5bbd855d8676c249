"""Stochastic arithmetic and the envelopes made of it."""

import numpy as np
import pytest

from stepgauge.properties.gauge.drawing import problems_of
from stepgauge.properties.gauge.problem import Problem, Settings, reference_trajectory
from stepgauge.properties.gauge.recipe import expand
from stepgauge.properties.gauge.stochastic import AMPLITUDE, instrumented
from stepgauge.properties.gauge.target import make_target
from stepgauge.properties.gauge.tolerance import FACTOR, ROUNDOFF, envelopes
from stepgauge.reference import RULES, SGD, SGDP


def _problems(rule: str) -> list[Problem]:
    return [expand(recipe) for recipe in problems_of(rule, 1, 7, fixed={}, maximize=True)]


@pytest.mark.parametrize("rule", RULES)
def test_without_noise_the_instrumented_text_is_the_reference(rule: str) -> None:
    for problem in _problems(rule):
        for dialect in RULES[rule].dialects:
            plain = reference_trajectory(problem, problem.rule_groups(RULES[rule], dialect))
            assert np.array_equal(envelopes(problem, dialect, "float64")[0].centre, plain, equal_nan=True)


@pytest.mark.parametrize("rule", RULES)
def test_float32_reference_lies_within_its_envelope(rule: str) -> None:
    for problem in _problems(rule):
        dialect = RULES[rule].dialects[0]
        got = make_target("the reference", RULES[rule], rule).run(problem, "float32")
        found = envelopes(problem, dialect, "float32")
        assert any(np.all(np.abs(got - e.centre) <= e.allowed("float32")) for e in found)


def test_spread_of_one_product_is_its_roundoff() -> None:
    """From p = 0, p - lr g has two roundings and one of lr, each of relative size u."""
    problem = Problem("sgd", (Settings({**SGD.defaults(), "lr": 0.1}, (0,)),), [np.zeros(4000)], [[np.ones(4000)]])
    envelope = envelopes(problem, "torch", "float64")[0]
    typical = np.sqrt(np.mean(envelope.arrays**2)) / 0.1
    assert 1.0 < typical < 6.0  # the largest of 6 draws from a normal distribution of width about sqrt(3)


def test_near_threshold_both_continuations_are_accepted() -> None:
    """A row's cosine that equals the threshold to within rounding is no ground for a verdict: rows, or the layer?"""
    w, delta = np.array([[3.0, 4.0], [3.0, 4.0]]), 0.1
    threshold = delta / 2**0.5
    along, across = w[0] / 5, np.array([4.0, -3.0]) / 5
    g = np.array([threshold * along + (1 - threshold**2) ** 0.5 * across, across])
    hyperparameters = {**SGDP.defaults(), "lr": 0.1, "delta": delta}
    problem = Problem("sgdp", (Settings(hyperparameters, (0,)),), [w], [[g]])
    assert len(envelopes(problem, "published", "float64")) == 2
    assert len(envelopes(problem, "published", "float32")) == 2


def test_clear_decision_has_one_continuation() -> None:
    w, g = np.array([[3.0, 4.0]]), np.array([[4.0, -3.0]])
    problem = Problem("sgdp", (Settings({**SGDP.defaults(), "lr": 0.1}, (0,)),), [w], [[g]])
    assert len(envelopes(problem, "published", "float32")) == 1


def test_unknown_numpy_function_is_refused() -> None:
    """A new rule whose functions have no stated rounding must not get a tolerance by accident."""
    _, arithmetic = instrumented(SGD)
    with pytest.raises(AttributeError, match=r"how np\.exp rounds is not stated"):
        arithmetic.exp  # noqa: B018  # the access is the test


def test_amplitude_is_what_the_tolerance_allows_in_float32() -> None:
    assert FACTOR * ROUNDOFF["float32"] == AMPLITUDE
