"""The laws of Adai and AdaiV2; `test_inertia.py` looks at beta1 itself."""

from dataclasses import replace

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import SGD, Adai, Array, Group

PLAIN = {"weight_decay": 0.0}
COORDINATES = ((4, 3), (5,), (2, 2, 2))


def _sgd(problem: Problem) -> Array:
    """Gradient descent without momentum, at each group's lr."""
    groups = [Group(SGD(h["lr"]), members) for h, members in problem.groups]
    return reference_trajectory(problem, groups)


def _repeated(problem: Problem, *, uniform: bool = False) -> Problem:
    """Every step has the first gradient; with all |g| equal if `uniform`."""
    first = [None if g is None else np.sign(g) + (g == 0) if uniform else g for g in problem.gradients[0]]
    return replace(problem, gradients=[first] * len(problem.gradients), recipe=None)


@law("inertia/dampening-1-is-adai", formerly="A1", rules=["adaiv2"], where={"dampening": 1.0})
def test_adaiv2_with_dampening_1_is_adai(target: Target, problem: Problem) -> None:
    """AdaiV2 with dampening 1 is Adai with the same decoupling."""
    shared = Adai.hyperparameter_names()
    groups = [Group(Adai(**{n: h[n] for n in shared}), members) for h, members in problem.groups]
    expected = reference_trajectory(problem, groups)
    within(target.run(problem), expected, 2 * allowance(problem), "AdaiV2 with dampening 1 leaves Adai")


@law("inertia/first-step-is-the-gradient", formerly="A2", rules=["adai"], where=PLAIN, gradients=("random", "uneven"))
def test_first_step_is_gradient_descent(target: Target, problem: Problem) -> None:
    """In the first step m_hat is the gradient."""
    first = replace(problem, gradients=problem.gradients[:1], recipe=None)
    within(target.run(first), _sgd(first), 2 * allowance(first), "the first step leaves gradient descent")


@law(
    "inertia/constant-gradient-is-its-own-momentum",
    formerly="A3",
    rules=["adai"],
    where=PLAIN,
    gradients=("random", "uneven"),
)
def test_constant_gradient_is_gradient_descent(target: Target, problem: Problem) -> None:
    """Under a constant gradient m_hat is that gradient in every step."""
    constant = _repeated(problem)
    within(target.run(constant), _sgd(constant), 2 * allowance(constant), "a constant gradient leaves gradient descent")


@law(
    "inertia/momentum-lies-between-past-gradients",
    formerly="A4",
    rules=["adai"],
    where=PLAIN,
    gradients=("random", "uneven", "sparse"),
)
def test_momentum_is_an_average_of_past_gradients(target: Target, problem: Problem) -> None:
    """m_hat lies, coordinate by coordinate, between the least and the largest gradient so far."""
    lr = problem.groups[0].hyperparameters["lr"] * (1 if problem.maximize else -1)
    m_hat = np.diff(with_start(problem, target.run(problem)), axis=0) / lr
    past = np.array([np.concatenate([np.ravel(g) for g in grads]) for grads in problem.gradients])  # type: ignore[arg-type]  # none is absent
    low, high = np.minimum.accumulate(past, axis=0), np.maximum.accumulate(past, axis=0)
    within(
        m_hat, np.clip(m_hat, low, high), 2 * allowance(problem) / abs(lr), "momentum leaves the past gradients' range"
    )


@law(
    "inertia/beta0-of-0-is-a-moving-average",
    formerly="A5/zero",
    rules=["adai"],
    where={**PLAIN, "betas": (0.0, 0.9)},
    gradients=("random", "uneven"),
)
def test_without_inertia_range_it_is_a_corrected_average(target: Target, problem: Problem) -> None:
    """With beta0 = 0, beta1 is 1 - eps everywhere: a bias-corrected moving average with that constant."""
    expected = _moving_average(problem, 1 - problem.groups[0].hyperparameters["eps"])
    within(target.run(problem), expected, 2 * allowance(problem), "beta0 = 0 leaves the moving average")


@law(
    "inertia/huge-beta0-is-no-inertia",
    formerly="A5/large",
    rules=["adai"],
    where={**PLAIN, "betas": (1e9, 0.9)},
    gradients=("random",),
)
def test_with_huge_inertia_range_it_is_gradient_descent(target: Target, problem: Problem) -> None:
    """With a huge beta0, beta1 is 0 wherever v_hat is not."""
    within(target.run(problem), _sgd(problem), 2 * allowance(problem), "a huge beta0 leaves gradient descent")


@law(
    "inertia/equal-gradients-have-equal-inertia",
    formerly="A6",
    rules=["adai"],
    where={**PLAIN, "betas": (0.13, 0.9)},
    gradients=("random",),
)
def test_uniform_gradients_have_uniform_inertia(target: Target, problem: Problem) -> None:
    """Where all |g| are equal, beta1 is 1 - beta0 everywhere."""
    signs = [[np.sign(g) for g in grads if g is not None] for grads in problem.gradients]
    uniform = replace(problem, gradients=signs, recipe=None)
    within(target.run(uniform), _moving_average(uniform, 1 - 0.13), 2 * allowance(uniform), "inertia is not uniform")


def _moving_average(problem: Problem, beta: float) -> Array:
    """Steps along the bias-corrected average with one constant, summed from its weights."""
    lr = problem.groups[0].hyperparameters["lr"] * (-1 if problem.maximize else 1)
    past = np.array([np.concatenate([np.ravel(g) for g in grads]) for grads in problem.gradients])  # type: ignore[arg-type]  # none is absent
    rows = []
    p = with_start(problem, past)[0]
    for t in range(1, len(past) + 1):
        weights = beta ** np.arange(t - 1, -1, -1) * (1 - beta) / (1 - beta**t)
        p = p - lr * (weights @ past[:t])
        rows.append(p)
    return np.array(rows)


@law(
    "inertia/common-scale-is-rate",
    formerly="A8/global",
    varies=("lr",),
    rules=["adai", "adaiv2"],
    where=PLAIN,
    gradients=("random", "uneven", "sparse"),
)
def test_scaling_all_gradients_is_scaling_the_rate(target: Target, problem: Problem) -> None:
    """Gradients times c is lr times c: the inertia does not see a common scale."""
    scaled = problem.scaled(gradients=64.0)
    faster = problem.with_hyperparameters(lr=64.0 * problem.groups[0].hyperparameters["lr"])
    allowed = allowance(scaled) + allowance(faster)
    within(target.run(scaled), target.run(faster), allowed, "a common scale of the gradients changes the inertia")


@law(
    "inertia/scale-of-one-tensor-moves-the-others",
    formerly="A8/not per tensor",
    rules=["adai"],
    where={**PLAIN, "betas": (0.4, 0.71)},
    gradients=("random",),
)
def test_scaling_one_tensor_moves_the_others(target: Target, problem: Problem) -> None:
    """Adai is not equivariant tensor by tensor: the inertia of all depends on the scale of each."""
    louder = [[100 * g if i == 0 and g is not None else g for i, g in enumerate(grads)] for grads in problem.gradients]
    other = slice(problem.initial[0].size, None)
    moved = target.run(replace(problem, gradients=louder, recipe=None))[:, other]
    if not np.any(np.abs(moved - target.run(problem)[:, other]) > allowance(problem)[:, other]):
        raise Failed("scaling one tensor leaves the others alone: the mean is not pooled over the model")


@law(
    "inertia/pool-ignores-tensors-and-groups",
    formerly="A9",
    rules=["adai", "adaiv2"],
    gradients=("random", "uneven"),
    shapes=COORDINATES,
)
def test_tensors_and_groups_are_only_a_partition(target: Target, problem: Problem) -> None:
    """All coordinates in one vector, in another order, in groups alike: the same trajectory."""
    order = np.random.default_rng(0).permutation(problem.size)

    def merged(arrays: list[Array]) -> Array:
        return np.concatenate([np.ravel(x) for x in arrays])[order]

    cut = problem.size // 2
    gradients = [np.split(merged([g for g in grads if g is not None]), [cut]) for grads in problem.gradients]
    h = problem.groups[0].hyperparameters
    whole = replace(
        problem,
        groups=(ParameterGroup(h, (0,)), ParameterGroup(h, (1,))),
        initial=np.split(merged(list(problem.initial)), [cut]),
        gradients=gradients,
        recipe=None,
    )
    within(target.run(whole), target.run(problem)[:, order], 2 * allowance(problem)[:, order], "regrouping matters")


@law(
    "inertia/dampening-cancels-under-constant-gradients",
    formerly="A11",
    rules=["adaiv2"],
    where={**PLAIN, "betas": (0.4, 0.71)},
    gradients=("random",),
)
def test_constant_uniform_gradient_is_gradient_descent(target: Target, problem: Problem) -> None:
    """Under a constant gradient with equal |g|, the dampening of the momentum and of the rate cancel."""
    constant = _repeated(problem, uniform=True)
    within(target.run(constant), _sgd(constant), 2 * allowance(constant), "dampening does not cancel")


@law(
    "inertia/decay-acts-at-zero-gradients",
    formerly="A12",
    rules=["adai", "adaiv2"],
    where={"decoupled": True, "weight_decay": 0.35},
    gradients=("random",),
)
def test_decoupled_decay_ignores_inertia(target: Target, problem: Problem) -> None:
    """A parameter whose gradients are zero shrinks by 1 - lr * weight_decay in each step."""
    still = [
        [np.zeros_like(g) if i == 0 and g is not None else g for i, g in enumerate(grads)]
        for grads in problem.gradients
    ]
    quiet = replace(problem, gradients=still, recipe=None)
    n = problem.initial[0].size
    h = problem.groups[0].hyperparameters
    powers = (1 - h["lr"] * h["weight_decay"]) ** np.arange(1, len(still) + 1)
    expected = powers[:, None] * problem.initial[0].ravel()
    within(target.run(quiet)[:, :n], expected, 2 * allowance(quiet)[:, :n], "decay depends on the inertia")
