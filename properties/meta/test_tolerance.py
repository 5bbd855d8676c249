"""Stochastic arithmetic and the envelopes made of it."""

import numpy as np
import pytest

from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.tolerance.envelope import AMPLITUDE, ROUNDOFF, Reference, envelopes
from stepgauge.properties.gauge.tolerance.runs import Apart, Runs
from stepgauge.properties.gauge.tolerance.side_by_side import rule_side_by_side
from stepgauge.properties.gauge.tolerance.stochastic import POOL, Run, instrument_rule
from stepgauge.reference import RULES, SGD, SGDP, Lion


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


@pytest.mark.parametrize("rule", RULES)
def test_runs_side_by_side_are_the_runs_alone(rule: str) -> None:
    """But for the order in which a row of another array is summed; and none of them has to go alone."""
    runs = [Run(1, arrays=AMPLITUDE), Run(2, arrays=AMPLITUDE), Run(1, scalars=AMPLITUDE), Run(3, AMPLITUDE, AMPLITUDE)]
    text, arithmetic = instrument_rule(RULES[rule])
    for problem in _problems(rule):
        for dialect in RULES[rule].dialects:
            alone = Reference(problem, problem.rule_groups(text, dialect), arithmetic, AMPLITUDE)
            alone.run()
            decisions = alone.decisions
            together = rule_side_by_side(RULES[rule], dialect).trajectories(problem, runs, decisions)
            assert together is not None
            expected, swayed = alone.runs(runs, decisions)
            size = np.max(np.abs(expected), where=np.isfinite(expected), initial=0.0)
            assert np.allclose(together[0], expected, rtol=1e-13, atol=1e-13 * size, equal_nan=True)
            assert together[1] == swayed


def test_runs_that_use_up_their_noise_side_by_side_are_the_runs_alone() -> None:
    group = ParameterGroup({**SGD.defaults(), "momentum": 0.9, "lr": 0.1}, (0,))
    problem = Problem("sgd", (group,), [np.ones(POOL // 3)], [[np.ones(POOL // 3)]] * 3)
    text, arithmetic = instrument_rule(SGD)
    runs = [Run(1, arrays=AMPLITUDE), Run(2, AMPLITUDE, AMPLITUDE)]
    alone = Reference(problem, problem.rule_groups(text, "torch"), arithmetic, AMPLITUDE).runs(runs, ())
    together = rule_side_by_side(SGD, "torch").trajectories(problem, runs, ())
    assert together is not None
    assert np.array_equal(together[0], alone[0])


def test_runs_that_part_where_nothing_is_recorded_go_alone() -> None:
    values = Runs(np.array([[1.0], [-1.0]]))
    with pytest.raises(Apart, match="runs part"):
        bool(values > 0)
    with pytest.raises(Apart, match="a number of its own"):
        float(values)
    with pytest.raises(Apart, match="an array of its own"):
        np.asarray(values)
    with pytest.raises(Apart, match=r"np\.cumsum"):
        np.cumsum(values)


def test_spread_of_one_product_is_its_roundoff() -> None:
    """From p = 0, p - lr g has two roundings and one of lr, each of relative size u."""
    problem = Problem(
        "sgd", (ParameterGroup({**SGD.defaults(), "lr": 0.1}, (0,)),), [np.zeros(4000)], [[np.ones(4000)]]
    )
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
    problem = Problem("sgdp", (ParameterGroup(hyperparameters, (0,)),), [w], [[g]])
    assert len(envelopes(problem, "published", "float64")) == 2
    assert len(envelopes(problem, "published", "float32")) == 2


def test_clear_decision_has_one_continuation() -> None:
    w, g = np.array([[3.0, 4.0]]), np.array([[4.0, -3.0]])
    problem = Problem("sgdp", (ParameterGroup({**SGDP.defaults(), "lr": 0.1}, (0,)),), [w], [[g]])
    assert len(envelopes(problem, "published", "float32")) == 1


def _lion(gradients: list[float]) -> Problem:
    """One coordinate that starts at 1 and is given these gradients; betas of which no sum rounds."""
    group = ParameterGroup({"lr": 0.5, "betas": (0.5, 0.75), "weight_decay": 0.0}, (0,))
    return Problem("lion", (group,), [np.ones(1)], [[np.array([g])] for g in gradients])


def test_a_sign_that_rounding_sways_has_a_continuation_each_way() -> None:
    """After a gradient of 4 the momentum is 1; one of -1 cancels it exactly, so that any rounding decides."""
    for dtype in ("float64", "float32"):
        nominal, *others = envelopes(_lion([4.0, -1.0]), "published", dtype)
        assert nominal.centre[:, 0].tolist() == [0.5, 0.5]
        assert sorted(other.centre[-1, 0] for other in others) == [0.0, 1.0]


def test_a_sign_beyond_rounding_has_one_continuation() -> None:
    (envelope,) = envelopes(_lion([4.0, -0.9]), "published", "float32")
    assert envelope.centre[:, 0].tolist() == [0.5, 0.0]


def test_the_sign_of_an_exact_zero_is_zero_under_any_noise() -> None:
    """Without gradients but zeros there is nothing to step along: noise multiplies, and moves no zero."""
    (envelope,) = envelopes(_lion([0.0, 0.0, 0.0]), "published", "float32")
    assert np.all(envelope.centre == 1)
    # 16 times what the parameter's own rounding does: of three steps, each within four standard deviations.
    assert np.all(envelope.allowed("float32") < 16 * 3 * 4 * ROUNDOFF["float32"])


def test_a_sign_is_no_regime() -> None:
    """It is followed as a decision is, but a verdict that said "only with np.sign" would say nothing."""
    (envelope,) = envelopes(_lion([4.0, -0.9]), "published", "float32")
    assert [decision.outcome for decision in envelope.decisions] == [(1,), (1,)]
    assert not any(decision.holds for decision in envelope.decisions)


def test_the_sign_of_nan_is_nan_whatever_is_followed() -> None:
    _, arithmetic = instrument_rule(Lion)
    x = np.array([np.nan, 2.0, -0.0])
    arithmetic.begin(Run())
    assert np.array_equal(arithmetic.sign(x), [np.nan, 1.0, 0.0], equal_nan=True)
    arithmetic.begin(Run(), follow=arithmetic.decisions)
    assert np.array_equal(arithmetic.sign(-x), [np.nan, 1.0, 0.0], equal_nan=True)
    assert arithmetic.swayed


def test_unknown_numpy_function_is_refused() -> None:
    """A new rule whose functions have no stated rounding must not get a tolerance by accident."""
    _, arithmetic = instrument_rule(SGD)
    with pytest.raises(AttributeError, match=r"how np\.exp rounds is not stated"):
        arithmetic.exp  # noqa: B018  # the access is the test


def _steps_of_sgd(steps: int) -> Problem:
    """A thousand coordinates that start at zero and descend along gradients of one."""
    group = ParameterGroup({**SGD.defaults(), "lr": 0.1}, (0,))
    return Problem("sgd", (group,), [np.zeros(1000)], [[np.ones(1000)]] * steps)


def test_what_is_allowed_covers_the_worst_that_rounding_can_do() -> None:
    """In p - lr g the product, the difference and lr are rounded, each by at most u: no coordinate allows less."""
    envelope = envelopes(_steps_of_sgd(1), "torch", "float32")[0]
    worst = 3 * ROUNDOFF["float32"] * 0.1
    assert envelope.allowed("float32").min() > worst


def test_what_is_allowed_shows_an_error_of_64_roundoffs_on_most_coordinates() -> None:
    """Of six draws of width sqrt(3) the largest is mostly 1.6 widths off: 16 spreads are then 44 roundoffs."""
    envelope = envelopes(_steps_of_sgd(1), "torch", "float64")[0]
    assert np.median(envelope.allowed("float64")) < 64 * ROUNDOFF["float64"] * 0.1


def test_noise_is_small_enough_to_act_linearly() -> None:
    """Half the noise, half the spread: so one set of runs speaks for every precision."""
    problem = _steps_of_sgd(20)
    rule, arithmetic = instrument_rule(SGD)
    spreads = []
    for amplitude in (AMPLITUDE, AMPLITUDE / 2):
        reference = Reference(problem, problem.rule_groups(rule, "torch"), arithmetic, amplitude)
        spreads.append(reference.envelope()[0].arrays)
    assert np.allclose(spreads[0], spreads[1], rtol=1e-4)
