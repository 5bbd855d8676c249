"""What a buffer of critical gradients gains, a larger lr gains as well (SGD_C, RMSprop_C, Adam_C, AdamW_C)."""

from functools import partial

import numpy as np

from stepgauge.core import OPTIMIZERS, SGD
from stepgauge.properties.gauge.demos.demo import Demo, Make, curves, significant
from stepgauge.reference import Array

RULES = ("sgd_c", "rmsprop_c", "adam_c", "adamw_c")
RATES = {"sgd": 0.1, "rmsprop": 0.002, "adam": 0.005, "adamw": 0.005}
SEEDS, STEPS, BATCH = 4, 300, 20
POINTS, NOISE, HIDDEN = 200, 0.1, 16
NORMALISED = ("rmsprop_c", "adam_c", "adamw_c")
SHOWS = {
    "sgd_c": "the sum trains as its base does at twice the lr, the mean and mid as it does at the same: the sum adds "
    "to each gradient another about as long.",
    **dict.fromkeys(
        NORMALISED,
        "the buffer gains a little over the base at the same lr, however it is aggregated, and doubling the lr gains "
        "more: a normalised step is about as long with the added gradients as without.",
    ),
}
LEAVES_OPEN = {
    "sgd_c": "plain momentum 0.9 at the same lr beats them all.",
    **dict.fromkeys(NORMALISED, "the lr of none of them was tuned."),
}


def measured(rule: str) -> dict[str, Array]:
    """The loss on all points after every step, as means over seeds."""
    base = rule.removesuffix("_c")
    lr = RATES[base]
    plain, critical = OPTIMIZERS[base], OPTIMIZERS[rule]
    makes: dict[str, Make] = {f"{plain.__name__}, lr {r:g}": partial(plain, lr=r) for r in (lr, 2 * lr)}
    for aggr in ("sum", "mid", "mean"):
        makes[f"{critical.__name__}, lr {lr:g}, {aggr}"] = partial(critical, lr=lr, aggr=aggr)
    if plain is SGD:
        makes[f"SGD, lr {lr:g}, momentum 0.9"] = partial(SGD, lr=lr, momentum=0.9)
    return {name: np.mean([trained(make, seed) for seed in range(SEEDS)], axis=0) for name, make in makes.items()}


def trained(make: Make, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    X, y = two_moons(rng)
    params = network(rng)
    optimizer = make(params)
    losses = []
    for _ in range(STEPS):
        batch = rng.integers(0, POINTS, BATCH)
        optimizer.step(loss_and_gradients(params, X[batch], y[batch])[1])
        losses.append(loss_and_gradients(params, X, y)[0])
    return losses


def two_moons(rng: np.random.Generator) -> tuple[Array, Array]:
    """Points on two half circles that reach into each other, and which they are on."""
    angle = np.pi * rng.random(POINTS)
    upper = np.arange(POINTS) % 2 == 0
    X = np.column_stack([np.cos(angle), np.sin(angle)])
    X[~upper] = [1.0, 0.5] - X[~upper]
    return X + NOISE * rng.standard_normal(X.shape), upper.astype(float)


def network(rng: np.random.Generator) -> list[Array]:
    hidden, out = rng.standard_normal((2, HIDDEN)), rng.standard_normal((HIDDEN, 1)) / HIDDEN**0.5
    return [hidden, np.zeros(HIDDEN), out, np.zeros(1)]


def loss_and_gradients(params: list[Array], X: Array, y: Array) -> tuple[float, list[Array]]:
    """Of logistic regression behind one layer of tanh."""
    W, b, V, c = params
    A = np.tanh(X @ W + b)
    z = (A @ V + c)[:, 0]
    dz = ((1 / (1 + np.exp(-z)) - y) / len(y))[:, None]
    dA = dz @ V.T * (1 - A * A)
    loss = np.mean(np.logaddexp(0, z) - y * z)
    return float(loss), [X.T @ dA, dA.sum(axis=0), A.T @ dz, dz.sum(axis=0)]


def demo(rule: str) -> Demo:
    found = measured(rule)
    return Demo(
        "A buffer beside a larger learning rate",
        f"{POINTS} points on two moons (noise {NOISE}), {HIDDEN} hidden units of tanh, {STEPS} steps on batches of "
        f"{BATCH}, means of {SEEDS} seeds from 0; topC and decay by default; float64.",
        ("loss", "after 50 steps", "after 100", f"after {STEPS}"),
        [(name, *(significant(loss[t]) for t in (49, 99, STEPS - 1))) for name, loss in found.items()],
        SHOWS[rule],
        LEAVES_OPEN[rule],
        lambda axes: curves(axes, found, "loss"),
    )
