"""Problems: what the recipes cover, and that they are what they say."""

import numpy as np
import pytest

from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.foci import foci_of
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.reference import RULES


def _drawn(rule: str, seed: int = 0) -> list[Problem]:
    return [expand(recipe) for recipe in problems_of(rule, 10, seed, fixed={}, maximize=True)]


@pytest.mark.parametrize("rule", RULES)
def test_every_hyperparameter_is_drawn_from_values_that_it_may_have(rule: str) -> None:
    """Of a tuple, each item is; what may be left out is drawn, too, as None."""
    record = RULES[rule]
    for name in record.hyperparameter_names():
        known = record.hyperparameter(name)
        assert bool(known.drawn) is not record.is_switch(name)
        for value in known.drawn:
            for item in value if isinstance(value, (tuple, range)) else [value]:
                assert item is None or known.allowed.holds(item), name


@pytest.mark.parametrize("rule", RULES)
def test_what_is_to_be_refused_is(rule: str) -> None:
    record = RULES[rule]
    for name in record.hyperparameter_names():
        if (refused := record.hyperparameter(name).refused) is not None and name != "betas":  # Adai's may be above 1
            with pytest.raises(ValueError, match=f"Invalid {name}"):
                record.checked(name, refused)


def test_every_regime_is_covered() -> None:
    regimes = frozenset().union(*(problem.regimes for problem in _drawn("sgdp")))
    wanted = {
        "late gradients", "absent gradients", "several groups", "maximize", "tiny gradients", "an lr schedule",
        "parameters that start at zero", "0-d parameters", "large eps", "nesterov", "momentum", "dampening",
        "weight_decay", *(f"{kind} gradients" for kind in KINDS),
    }  # fmt: skip
    assert wanted <= regimes


def test_shapes_from_0_to_5_dimensions() -> None:
    assert {p.ndim for problem in _drawn("adamp") for p in problem.initial} == {0, 1, 2, 3, 4, 5}


def test_equal_seeds_draw_equal_problems() -> None:
    first, again, other = (problems_of("adamp", 3, seed, fixed={}, maximize=True) for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize("rule", RULES)
def test_numbers_are_representable_in_float32(rule: str) -> None:
    for problem in _drawn(rule):
        for x in [*problem.initial, *(g for grads in problem.gradients for g in grads if g is not None)]:
            assert np.array_equal(x, x.astype(np.float32))


def test_threshold_kinds_straddle_the_threshold() -> None:
    """Just below projects, just above does not: by rows and by layer."""
    rng = np.random.default_rng(0)
    w, delta = rng.standard_normal((4, 9)), 0.11
    for kind, rows, below in (
        ("just below the threshold", 4, True),
        ("just above the threshold", 4, False),
        ("layer just below the threshold", 1, True),
        ("layer just above the threshold", 1, False),
    ):
        g, w_ = KINDS[kind](rng, w, delta).reshape(rows, -1), w.reshape(rows, -1)
        cosines = np.abs(np.sum(g * w_, axis=1)) / np.linalg.norm(g, axis=1) / np.linalg.norm(w_, axis=1)
        threshold = delta / w_.shape[1] ** 0.5
        assert (np.max(cosines) < threshold) is np.bool_(below)
        assert 0.5 < np.max(cosines) / threshold < 2


def test_foci_without_projection_are_left_out() -> None:
    assert "rows" in foci_of("adamp")
    assert "rows" not in foci_of("fsgdm")
