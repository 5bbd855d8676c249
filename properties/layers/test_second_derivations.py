"""Ground truth is not one text agreeing with itself: every rule stated a second time, in another way.

Moments are explicit weighted sums over all past gradients instead of recursions, numbers are decimals with fifty
digits instead of floats, and the critical buffer is a sort over all past keys. The reference agrees to within what
rounding may do to it.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.tolerance.envelope import allowance
from stepgauge.reference import RULES

DIGITS = 50
Numbers = Any  # an object array of decimals
History = list[Numbers]
Statement = Callable[[dict[str, Any], Numbers, History], Numbers]  # (hyperparameters, p, gradients so far) -> p


def _decimal(x: Any) -> Any:
    return np.vectorize(lambda value: Decimal(float(value)), otypes=[object])(np.asarray(x, dtype=np.float64))


def _sqrt(x: Numbers) -> Numbers:
    return np.vectorize(lambda value: value.sqrt(), otypes=[object])(x)


def _at_least(x: Numbers, bound: Decimal) -> Numbers:
    return np.vectorize(lambda value: max(value, bound), otypes=[object])(x)


def _power(base: Decimal, exponent: int | Decimal) -> Decimal:
    return base**exponent if exponent else Decimal(1)  # 0^0 is 1 here, as in Python's floats


def _weighted(beta: Decimal, history: History, power: int = 1) -> Numbers:
    """(1 - beta) sum_s beta^(t - s) g_s^power."""
    t = len(history)
    return sum((1 - beta) * _power(beta, t - 1 - s) * g**power for s, g in enumerate(history))


def _momentum(mu: Decimal, dampening: Decimal, history: History) -> Numbers:
    """The buffer of torch's SGD: the first gradient is undampened."""
    t = len(history)
    return sum(_power(mu, t - 1 - s) * g * (1 if s == 0 else 1 - dampening) for s, g in enumerate(history))


def sgd(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    history[-1] = history[-1] + h["weight_decay"] * p
    if h["momentum"] == 0:
        return p - h["lr"] * history[-1]
    b = _momentum(h["momentum"], h["dampening"], history)
    return p - h["lr"] * (history[-1] + h["momentum"] * b if h["nesterov"] else b)


def _adam_step(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    (beta1, beta2), t = h["betas"], len(history)
    m_hat = _weighted(beta1, history) / (1 - beta1**t)
    if h["amsgrad"]:
        v = np.max([_weighted(beta2, history[: s + 1], 2) for s in range(t)], axis=0)
    else:
        v = _weighted(beta2, history, 2)
    return p - h["lr"] * m_hat / (_sqrt(v / (1 - beta2**t)) + h["eps"])


def adam(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    history[-1] = history[-1] + h["weight_decay"] * p
    return _adam_step(h, p, history)


def adamw(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    return _adam_step(h, p - h["lr"] * h["weight_decay"] * p, history)


def rmsprop(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    history[-1] = history[-1] + h["weight_decay"] * p
    total = 0
    for t in range(1, len(history) + 1):
        v = _weighted(h["alpha"], history[:t], 2)
        if h["centered"]:
            v = v - _weighted(h["alpha"], history[:t]) ** 2
        total = total + _power(h["momentum"], len(history) - t) * history[t - 1] / (_sqrt(v) + h["eps"])
    return p - h["lr"] * total


def _cosines(a: Numbers, b: Numbers, eps: Decimal) -> Numbers:
    sizes = [_at_least(_sqrt(np.sum(x * x, axis=1)), eps) for x in (a, b)]
    return abs(np.sum(a * b, axis=1)) / (sizes[0] * sizes[1])


def _projected(h: dict[str, Any], p: Numbers, g: Numbers, u: Numbers) -> tuple[Numbers, Any]:
    """The update in the tangent space of each row, or of the layer; and the factor of the decay."""
    for rows in (len(p), 1) if p.ndim > 1 else ():
        w, g_, u_ = (x.reshape(rows, -1) for x in (p, g, u))
        bound = h["delta"] / Decimal(w.shape[1]).sqrt()
        if all(c < bound for c in _cosines(g_, w, h["eps"])):
            size = (_sqrt(np.sum(w * w, axis=1)) + h["eps"])[:, None]
            along = np.sum(w * u_, axis=1)[:, None] / size**2
            return (u_ - along * w).reshape(p.shape), h["wd_ratio"]
    return u, 1


def adamp(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    (beta1, beta2), t, g = h["betas"], len(history), history[-1]
    m = _weighted(beta1, history)
    m = beta1 * m + (1 - beta1) * g if h["nesterov"] else m
    u = m / (1 - beta1**t) / (_sqrt(_weighted(beta2, history, 2) / (1 - beta2**t)) + h["eps"])
    u, factor = _projected(h, p, g, u)
    return p - h["lr"] * h["weight_decay"] * factor * p - h["lr"] * u


def sgdp(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    t, mu, g = len(history), h["momentum"], history[-1]
    b = sum((1 - h["dampening"]) * _power(mu, t - 1 - s) * x for s, x in enumerate(history))
    u, factor = _projected(h, p, g, g + mu * b if h["nesterov"] else b)
    return p - h["lr"] * h["weight_decay"] * factor / (1 - mu) * p - h["lr"] * u


def fsgdm(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    """The impulse responses summed: m_t = v sum_s (prod_{s<r<=t} u_r) d_s."""
    history[-1] = history[-1] + h["weight_decay"] * p
    t, n, sigma = len(history), int(h["n_stages"]), int(h["sigma"])
    poles = [Decimal(k) / (k + h["c_scaling"] * n) for k in ((r * n) // sigma for r in range(1, t + 1))]
    m = sum(h["v_coefficient"] * math.prod(poles[s + 1 :], start=Decimal(1)) * d for s, d in enumerate(history))
    return p - h["lr"] * m


def adai(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    """For one parameter, which is the whole model: m_hat as a weighted sum with weights (1 - beta1_s) prod beta1_r."""
    return adaiv2({**h, "dampening": Decimal(1)}, p, history)


def adaiv2(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
    """As adai, with weights (1 - beta1_s)^d prod beta1_r, and beta0^(1 - d) in all."""
    if not h["decoupled"]:
        history[-1] = history[-1] + h["weight_decay"] * p
    d = h["dampening"]
    inertias = [_inertia(h, history[:t], 1 / (3 - 2 * d)) for t in range(1, len(history) + 1)]
    m = sum(
        (1 - b) ** d * _product(inertias[s + 1 :], p) * g
        for s, (b, g) in enumerate(zip(inertias, history, strict=True))
    )
    p = (1 - h["lr"] * h["weight_decay"]) * p if h["decoupled"] else p
    return p - h["lr"] * _power(h["betas"][0], 1 - d) * m / (1 - _product(inertias, p))


def _inertia(h: dict[str, Any], history: History, exponent: Decimal) -> Numbers:
    """beta1 of the latest step."""
    beta0, beta2 = h["betas"]
    v = _weighted(beta2, history, 2)
    mean = np.sum(v) / v.size
    spread = v / mean if mean else v * 0
    return -_at_least(-_at_least(1 - beta0 * spread**exponent, Decimal(0)), h["eps"] - 1)


def _product(factors: Sequence[Numbers], like: Numbers) -> Numbers:
    product = like * 0 + 1
    for factor in factors:
        product = product * factor
    return product


def _aggregated(h: dict[str, Any], history: History, keys: list[Decimal]) -> Numbers:
    """Top-C as a sort over all past keys: norm times decay to the age."""
    past = len(history) - 1
    ranked = sorted(range(past), key=lambda s: (keys[s] * h["decay"] ** (past - s), -s), reverse=True)
    held = [history[s] for s in ranked[: int(h["topC"])]]
    if not held or h["kappa"] == 0:
        return history[-1]
    mean = sum(held) / len(held)
    if h["aggr"] == "mean":
        return (history[-1] + h["kappa"] * mean * len(held)) / (len(held) + 1)
    return (history[-1] + h["kappa"] * mean) / (2 if h["aggr"] == "mid" else 1)


def critical(base: Statement, *, decay_before: bool) -> Statement:
    """The critical form of a statement, for one parameter."""

    def statement(h: dict[str, Any], p: Numbers, history: History) -> Numbers:
        seen, keys, fed = h["memory"]
        keys.append(_sqrt(np.sum(history[-1] ** 2)).item())
        seen.append(history[-1] + h["weight_decay"] * p if decay_before else history[-1])
        fed.append(_aggregated(h, seen, keys))
        return base({**h, "weight_decay": 0} if decay_before else h, p, fed)

    return statement


STATEMENTS: dict[str, Statement] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adamp": adamp,
    "sgdp": sgdp,
    "fsgdm": fsgdm,
    "adai": adai,
    "adaiv2": adaiv2,
    "sgd_c": critical(sgd, decay_before=True),
    "rmsprop_c": critical(rmsprop, decay_before=False),
    "adam_c": critical(adam, decay_before=False),
    "adamw_c": critical(adamw, decay_before=False),
}


def _exact(value: Any) -> Any:
    """A hyperparameter with its numbers as decimals."""
    if isinstance(value, tuple):
        return tuple(Decimal(part) for part in value)
    return value if isinstance(value, (bool, str)) else Decimal(value)


def _exact_trajectory(problem: Problem, statement: Statement) -> Numbers:
    """The trajectory of the problem's first parameter, alone."""
    h = {name: _exact(value) for name, value in problem.groups[0].hyperparameters.items()}
    h["memory"] = ([], [], [])
    p, history, rows = _decimal(problem.initial[0]), [], []
    for grads in problem.gradients:
        if grads[0] is not None:
            history.append(_decimal(grads[0]) * (-1 if problem.maximize else 1))
            p = statement(h, p, history)
        rows.append(p.ravel())
    return np.array(rows)


def _alone(problem: Problem) -> Problem:
    """The problem's first parameter as a model of its own."""
    settings = problem.groups[0]._replace(members=(0,))
    return Problem(problem.rule, (settings,), problem.initial[:1], [g[:1] for g in problem.gradients], problem.maximize)


@pytest.mark.parametrize("rule", STATEMENTS)
def test_second_statement_agrees(rule: str) -> None:
    only = {"random", "mixed", "rows", "layer", "tiny", "zero", "uneven"}
    with localcontext() as context:
        context.prec = DIGITS
        for recipe in problems_of(rule, 2, 11, fixed={}, maximize=True, only=only):
            problem = _alone(expand(recipe))
            exact = _exact_trajectory(problem, STATEMENTS[rule])
            got = reference_trajectory(problem, problem.rule_groups(RULES[rule]))
            error = np.abs(_decimal(got) - exact).astype(float)
            assert np.all(error <= allowance(problem)), f"{recipe}: {np.max(error)}"
