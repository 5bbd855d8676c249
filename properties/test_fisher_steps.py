"""FROG and K-FROG from outside; `test_fisher_preconditioning.py` looks inside.

Each law is asked of a convolution without bias, which is preconditioned in every dialect.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import LayerRecipe, ParameterGroup, Recipe
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import RULES, Array, Convolution, Seen
from stepgauge.reference.layers import Chosen, layers_of

LAYER = LayerRecipe(2, 3, (5, 4), Convolution((2, 2)), bias=False)
PLAIN = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "denom_eps": 0.0}
ROWS, COLUMNS = 3, 8


def _problem(rule: str, *, steps: int = 1, samples: int = 6, kind: str = "random", **changes: Any) -> Problem:
    hyperparameters = {"lr": 0.05, "sample_size": None, "tau": 0.2, **PLAIN, **changes}
    own = {n: v for n, v in {**RULES[rule].defaults(), **hyperparameters}.items() if n in RULES[rule].defaults()}
    layers = (replace(LAYER, samples=samples),)
    return expand(Recipe(rule, (ParameterGroup(own, (0,)),), (), gradients=(kind,), steps=steps, layers=layers))


def _changed(problem: Problem, inputs: float = 1.0, signals: float = 1.0) -> Problem:
    """The problem with what the layer saw multiplied, and the gradient with it."""
    scaled = problem.scaled(gradients=inputs * signals)
    seen = [{i: Seen(inputs * s.inputs, signals * s.signals) for i, s in now.items()} for now in problem.seen]
    return replace(scaled, seen=seen)


def _displacements(target: Target, problem: Problem) -> Array:
    """Of every row in every step, shape (steps, rows, columns)."""
    return np.diff(with_start(problem, target.run(problem)), axis=0).reshape(-1, ROWS, COLUMNS)


def _fishers(problem: Problem, tau: float) -> Array:
    """Each row's Fisher matrix in the first step, normalised by its mean diagonal and damped."""
    (g,) = layers_of(problem.gradients[0][0], None, problem.seen[0][0], LAYER.geometry)  # type: ignore[arg-type]  # it is not absent
    F = np.einsum("pc,pr,pd->rcd", g.inputs, g.signals**2, g.inputs)
    return F / (np.trace(F, axis1=1, axis2=2) / COLUMNS)[:, None, None] + tau * np.eye(COLUMNS)


@law(
    "fisher/step-has-unit-length",
    formerly="G2",
    rules=["frog"],
    where=PLAIN,
    varies=("lr", "num_iters", "tau"),
    gradients=None,
)
def test_every_step_has_unit_fisher_norm(target: Target) -> None:
    """<F h, h> = 1 for every row after any number of iterations, not at convergence alone."""
    for iterations in (1, 2, 3, 5):
        problem = _problem("frog", num_iters=iterations)
        h = _displacements(target, problem)[0] / 0.05
        Fh = np.einsum("rcd,rd->rc", _fishers(problem, 0.2), h)
        allowed = 4 * np.sum(np.abs(Fh) * allowance(problem)[0].reshape(ROWS, COLUMNS) / 0.05, axis=1)
        within(
            np.sum(Fh * h, axis=1), np.ones(ROWS), allowed, f"the Fisher norm after {iterations} iterations is not 1"
        )


@law("fisher/loss-scale-does-not-matter", formerly="G5", rules=["frog"], where={"denom_eps": 0.0}, gradients=None)
def test_scale_of_the_loss_does_not_matter(target: Target) -> None:
    """A loss times c, and with it gradients and signals, gives the same steps."""
    problem = _problem("frog", steps=3, momentum=0.82)
    small = _changed(problem, signals=2.0**-10)
    allowed = allowance(problem) + allowance(small)
    within(target.run(small), target.run(problem), allowed, "the steps depend on the scale of the loss")


@law("fisher/input-scale-does-not-matter", formerly="G6", rules=["frog"], where={"denom_eps": 0.0}, gradients=None)
def test_scale_of_the_inputs_does_not_matter(target: Target) -> None:
    """Inputs times c multiply the gradient and leave F / tr F alone: the same steps."""
    problem = _problem("frog", steps=3)
    larger = _changed(problem, inputs=8.0)
    allowed = allowance(problem) + allowance(larger)
    within(target.run(larger), target.run(problem), allowed, "the steps depend on the scale of the inputs")


@law("fisher/outputs-in-any-order", formerly="G7", rules=["frog", "kfrog"], gradients=None)
def test_rows_are_independent(target: Target) -> None:
    """Permuting the outputs of a layer permutes its rows, and does nothing else."""
    problem = _problem(target.rule, steps=3, kind="uneven")
    order = [2, 0, 1]
    permuted = replace(
        problem,
        initial=[problem.initial[0][order]],
        gradients=[[g[order] for g in grads if g is not None] for grads in problem.gradients],
        seen=[{0: now[0]._replace(signals=now[0].signals[:, order])} for now in problem.seen],
        recipe=None,
    )
    expected, allowed = (
        x.reshape(-1, ROWS, COLUMNS)[:, order].reshape(len(x), -1) for x in (target.run(problem), allowance(problem))
    )
    within(target.run(permuted), expected, 2 * allowed, "a row depends on where it stands")


@law("fisher/dead-rows-stay", formerly="G9", rules=["frog", "kfrog"], where=PLAIN, gradients=None)
def test_silent_row_stays(target: Target) -> None:
    """A row without gradient and momentum is not moved, nor made NaN."""
    problem = _problem(target.rule, steps=2, denom_eps=1e-10)
    heard = np.array([1.0, 0.0, 1.0])[:, None, None]
    quiet = replace(
        problem,
        gradients=[[g * heard[..., None] for g in grads if g is not None] for grads in problem.gradients],
        seen=[{0: now[0]._replace(signals=now[0].signals * heard)} for now in problem.seen],
        recipe=None,
    )
    if not np.array_equal(_displacements(target, quiet)[:, 1], np.zeros((2, COLUMNS))):
        raise Failed("a row without gradient is moved")


@law(
    "fisher/strong-damping-is-normalised-descent",
    formerly="G10",
    rules=["frog"],
    where=PLAIN,
    varies=("lr", "tau"),
    gradients=None,
)
def test_much_damping_is_a_normalised_gradient(target: Target) -> None:
    """For tau -> inf the step of a row is -lr g / (sqrt(tau) |g|)."""
    tau = 1e10
    problem = _problem("frog", tau=tau)
    g = np.reshape(problem.gradients[0][0], (ROWS, COLUMNS))  # type: ignore[arg-type]  # it is not absent
    expected = -0.05 * g / np.linalg.norm(g, axis=1, keepdims=True) / tau**0.5
    # The eigenvalues of F are at most COLUMNS, beside tau.
    allowed = 2 * allowance(problem)[0].reshape(ROWS, COLUMNS) + COLUMNS / tau * np.max(np.abs(expected))
    within(_displacements(target, problem)[0], expected, allowed, "damped steps do not follow the gradient")


@law("fisher/input-and-signal-scale-do-not-matter", formerly="KF1", rules=["kfrog"], varies=("eps",), gradients=None)
def test_kfrog_is_free_of_scale(target: Target) -> None:
    """Inputs or signals times c, and with them the gradient: the same steps, up to eps and the solver's 1e-10."""
    problem = _problem("kfrog", eps=1e-9, num_iters=3)
    plain = target.run(problem)
    negligible = 1e-6 * np.max(np.abs(_displacements(target, problem)))
    for scaled in (_changed(problem, inputs=4.0), _changed(problem, signals=8.0)):
        allowed = allowance(problem) + allowance(scaled) + negligible
        within(target.run(scaled), plain, allowed, "the steps depend on the scale of inputs or signals")


@law(
    "fisher/samples-are-drawn",
    formerly="samples",
    rules=["frog", "kfrog"],
    where=PLAIN,
    varies=("sample_size", "y_sample_size"),
    gradients=None,
)
def test_steps_are_of_some_samples(target: Target) -> None:
    """With sample_size below the batch, each step is the rule's on some of the samples, and not always on the same."""
    problem = _problem(target.rule, samples=4)
    sizes = {n: v for n, v in {"sample_size": 2, "y_sample_size": 3}.items() if n in problem.groups[0].hyperparameters}
    repeated = replace(problem, gradients=[*problem.gradients] * 8, seen=[*problem.seen] * 8)
    again = repeated.with_hyperparameters(**sizes)
    candidates = list(_candidates(problem))
    found = set()
    for t, step in enumerate(_displacements(target, again)):
        # Other samples give another step altogether; rounding is amplified by far less than 10^6.
        near = [k for k, c in enumerate(candidates) if np.max(np.abs(step - c)) <= 1e-9 * np.max(np.abs(c))]
        if not near:
            raise Failed(f"step {t + 1} is that of no choice of samples")
        found.add(near[0])
    if len(found) == 1:
        raise Failed("draws the same samples in every step")


def _candidates(problem: Problem) -> Iterator[Array]:
    """The displacement for every choice of samples that the rule could make."""
    record, together = RULES[problem.rule], problem.rule == "frog"
    pairs = [(list(k), list(k)) for k in combinations(range(4), 2)]
    apart = [(list(k), list(m)) for k, m in product(combinations(range(4), 2), combinations(range(4), 3))]
    for chosen in pairs if together else apart:
        fixed = type(record.__name__, (record,), {"chosen": _always(chosen)})
        for dialect in record.dialects:
            trajectory = reference_trajectory(problem, problem.rule_groups(fixed, dialect))
            yield np.diff(with_start(problem, trajectory), axis=0).reshape(ROWS, COLUMNS)


def _always(chosen: Chosen) -> Any:
    return lambda *_: chosen
