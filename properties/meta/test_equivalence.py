"""What is proved to compute the same does, on problems that no level draws; and near misses are not proved."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, editable_source
from stepgauge.properties.gauge.edits.statement_edits import Change
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.foci import LAYERS
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, LayerRecipe, ParameterGroup, Recipe
from stepgauge.properties.gauge.strength.equivalence import Prover
from stepgauge.properties.gauge.strength.mutants import Trial
from stepgauge.reference import RULES

PROVED = [  # rule, dialect, before, after
    ("sgd", "torch", "self.lr * d", "d * self.lr"),
    ("sgd", "torch", "if self.momentum == 0:", "if not self.momentum:"),
    ("sgd", "torch", "if self.weight_decay else g", "if True else p"),
    (
        "sgd",
        "torch",
        "g + self.momentum * b if self.nesterov else b",
        "b if not self.nesterov else self.momentum * b + g",
    ),
    ("sgd", "torch", "g + self.momentum * b", "(1 - self.dampening) * (g + self.momentum * b)"),
    ("adam", "torch", "self.lr / (1 - beta1 ** t) * (m / denom)", "m * (self.lr / denom) / (1 - beta1 ** t)"),
    ("adam", "torch", "np.maximum(s.max_exp_avg_sq, v)", "np.maximum(v, s.max_exp_avg_sq)"),
    ("adam", "torch", "self.amsgrad else s.max_exp_avg_sq", "self.amsgrad else g - v"),
    ("adam", "torch", "beta2 ** t", "self.betas[-1] ** (1 + s.step)"),
    ("adam", "torch", "(1 - beta1) * g", "g - beta1 * g"),
    ("adamw", "torch", "(1 - self.lr * self.weight_decay) * p", "p - self.weight_decay * p * self.lr"),
    ("rmsprop", "torch", "v - a * a if self.centered else v", "v - a * a"),
    ("rmsprop", "torch", "s.step + 1", "np.mean(s.step) - 7"),
    ("adamp", "published", "cosine(g_, w_, eps)", "cosine(w_, -g_, np.max(eps))"),
    ("adamp", "published", "w_hat = w_ / (norm(w_) + eps)", "w_hat = -w_ / (eps + norm(-w_))"),
    ("adamp", "published", "np.max(cos) < delta", "np.mean(np.max(cos)) < delta"),
    ("sgdp", "published", "u if self.dialect == 'released' and (not self.nesterov) else b", "b"),
    ("sgdp", "published", "axis=1", "axis=-1"),
    ("fsgdm", "published", "k / (k + c * n)", "np.mean(k) / (n * c + k)"),
    ("fsgdm", "released", "start = t // length * length", "start = length * (t // length)"),
    ("adai", "published", "np.clip(1 - self.betas[0]", "np.clip(1 * 1 - self.betas[0]"),
    ("adai", "released", "v_bar == 0 and self.dialect == 'published'", "False"),
    ("adaiv2", "published", "self.lr * beta0 ** (1 - d)", "beta0 ** (1 - d) * self.lr"),
    ("sgd_c", "published", "self.statistic(p, g, s)", "self.statistic(s, -g, p)"),
    ("sgd_c", "released", "momentum = 0.0 if self.kappa == 0", "momentum = 0.0 if not self.kappa"),
    ("rmsprop_c", "published", "g = self.stored(p, g)", "pass"),
    ("adam_c", "released_eff", "kappa = self.kappa if", "kappa = 7 * self.kappa if"),
    ("frog", "published", "self.momentum * s.momentum_buffer + g", "g + s.momentum_buffer * self.momentum"),
    ("frog", "published", "np.sum(a * b, axis=1", "np.sum(b * a, axis=1"),
    ("kfrog", "published", "g.inputs.T @ g.inputs / B", "(-g.inputs).T @ -g.inputs / B"),
]

NOT_PROVED = [  # each differs for some hyperparameters, shapes, zeros or NaN, or may
    ("sgd", "torch", "if self.weight_decay else g", "if self.lr else g"),
    ("sgd", "torch", "if self.weight_decay else g", "if 1 - self.weight_decay else g"),
    ("sgd", "torch", "if s.momentum_buffer is None", "if False"),
    ("sgd", "torch", "(1 - self.dampening) * g", "(1 - self.dampening) * np.mean(g)"),
    ("sgd", "torch", "p - self.lr * d", "p - self.lr * d / (1 - self.dampening)"),
    ("adam", "torch", "m / denom", "m * denom / (denom * denom)"),
    ("adam", "torch", "np.sqrt(v_max if self.amsgrad else v)", "np.sqrt(v)"),
    ("adam", "torch", "v_max = np.maximum(s.max_exp_avg_sq, v) if self.amsgrad", "v_max = v if self.amsgrad"),
    ("adam", "torch", "np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)", "0, np.zeros_like(p), np.zeros_like(p)"),
    ("adam", "torch", "s.step + 1", "s.step"),
    ("rmsprop", "torch", "v - a * a if self.centered else v", "v"),
    ("rmsprop", "torch", "(np.sqrt(variance) + self.eps)", "np.sqrt(variance + self.eps)"),
    ("rmsprop", "torch", "s.step + 1", "s.step + 1 / self.momentum"),
    ("adamp", "published", "np.max(cos) < delta", "np.max(cos) <= delta"),
    (
        "adamp",
        "published",
        "if np.max(cos) < delta / w_.shape[1] ** 0.5",
        "if not np.max(cos) >= delta / w_.shape[1] ** 0.5",
    ),
    ("adamp", "published", "np.abs(cosine(g_, w_, eps))", "cosine(g_, w_, eps)"),
    ("adamp", "published", "np.sum(w_hat * u_, axis=1, keepdims=True)", "np.sum(w_hat * u_, axis=1)"),
    ("adamp", "published", "if w.ndim < 2 or w.size == 0:", "if w.ndim < 2:"),
    ("sgdp", "released", "u if self.dialect == 'released' and (not self.nesterov) else b", "b"),
    ("sgdp", "published", "if self.weight_decay:", "if True:"),
    ("fsgdm", "published", "t * n // sigma", "t // (sigma / n)"),
    ("fsgdm", "released", "t // length * length", "t"),
    ("adai", "released", "if 1 - p.dtype.type(self.eps) == 1:", "if self.eps == 0:"),
    ("adai", "released", "v_hat / v_bar", "np.zeros_like(v_hat) if v_bar == 0 else v_hat / v_bar"),
    ("adai", "published", "np.sum(v_hat)", "np.sum(v_hat * v_hat) / np.sum(v_hat)"),
    ("adaiv2", "published", "(1 - beta1) ** d", "(1 - beta1 ** d)"),
    ("sgd_c", "published", "self.key < other.key", "self.key <= other.key"),
    ("sgd_c", "published", "if not math.isfinite(key):", "if math.isnan(key):"),
    ("sgd_c", "published", "if self.kappa else g", "if self.topC else g"),
    ("sgd_c", "released", "heapq.heapify(heap)", "pass"),
    ("frog", "published", "b <= 0", "b < 0"),
    ("frog", "released", "divide = guarded if self.dialect == 'published' else plain", "divide = guarded"),
    ("frog", "published", "return (both, both)", "return (both, subsample(samples, self.sample_size, rng))"),
    ("frog", "published", "range(iterations)", "range(iterations + 1)"),
    ("kfrog", "published", "e / np.sqrt(Y", "e * np.sqrt(Y"),
]


def edits_of(source: EditableSource, before: str, after: str) -> tuple[Edit, ...]:
    """The text with one thing in place of another, wherever it stands."""
    found = []
    for piece in source.own:
        text = ast.unparse(piece.node)
        if isinstance(piece.node, ast.FunctionDef) and before in text:
            (function,) = ast.parse(text.replace(before, after)).body
            assert isinstance(function, ast.FunctionDef)
            found.append(Edit(piece, Change(piece.node, piece.node, "body", None, function.body)))
    assert found
    return tuple(found)


def fresh_problems(rule: str, count: int) -> Iterator[Problem]:
    """Problems whose hyperparameters, shapes and gradients are not those that levels draw from."""
    rng = np.random.default_rng(20)
    for seed in range(count):
        layers = [replace(layer, samples=9) for layer in LAYERS if RULES[rule].takes_groups or not layer.geometry]
        chosen: tuple[LayerRecipe, ...] = (layers[seed % len(layers)],) if RULES[rule].sees_layers else ()
        shapes = ((4, 5), (3,), (2, 3, 2))
        size = len(shapes) + sum(len(layer.shapes) for layer in chosen)
        group = ParameterGroup(_hyperparameters(rule, rng), tuple(range(size)))
        gradients = ("uneven", "random", "zero", "sparse", "random", "row-orthogonal")
        yield expand(Recipe(rule, (group,), shapes, gradients, steps=7, seed=1000 + seed, layers=chosen))


def _hyperparameters(rule: str, rng: np.random.Generator) -> Hyperparameters:
    """Any that the rule accepts."""
    while True:
        drawn: dict[str, Any] = {name: _value(rule, name, rng) for name in RULES[rule].hyperparameter_names()}
        try:
            RULES[rule](**drawn)
        except ValueError:
            continue
        return drawn


def _value(rule: str, name: str, rng: np.random.Generator) -> object:
    default = RULES[rule].defaults().get(name, 0.1)
    known = RULES[rule].hyperparameter(name)
    if RULES[rule].is_switch(name):
        return bool(rng.integers(2))
    if isinstance(default, tuple):
        return tuple(rng.uniform(0, 1, 2))
    if isinstance(default, float):
        return known.off if known.off is not None and rng.integers(3) == 0 else rng.uniform(0.01, 0.99)
    if isinstance(default, str):
        return str(rng.choice(known.drawn))
    return int(rng.integers(1, 5)) if name != "sample_size" else None


@pytest.mark.parametrize(("rule", "dialect", "before", "after"), PROVED)
def test_what_is_proved_computes_the_same(rule: str, dialect: str, before: str, after: str) -> None:
    source = editable_source(rule)
    edits = edits_of(source, before, after)
    assert Prover(source, dialect).proves(edits)
    with source.edited(edits), np.errstate(all="ignore"):
        assert all(Trial(problem, dialect).acquits(source) for problem in fresh_problems(rule, 3))


@pytest.mark.parametrize(("rule", "dialect", "before", "after"), NOT_PROVED)
def test_a_near_miss_is_not_proved(rule: str, dialect: str, before: str, after: str) -> None:
    source = editable_source(rule)
    assert not Prover(source, dialect).proves(edits_of(source, before, after))
