#!/usr/bin/env bash
# Guess: with gradient_accumulation_steps, a Keras schedule goes by the updates, which `optimizer.iterations` counts.
# What happens: `iterations` counts updates, but the schedule is asked with the number of calls: accumulating k gradients
#   makes it run k times as fast. A rate that is to fall after two updates has fallen before the first of four gradients.
# Why it matters: who raises the accumulation to keep the batch size shortens warm-up and decay by the same factor, and
#   whoever logs `iterations` beside the loss sees nothing of it.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 keras==3.15.1 numpy==2.4.6
export KERAS_BACKEND=torch
observe <<'PYTHON'
import keras
import torch

UPDATES = 4


def trained(accumulated):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.125])  # two updates at 1
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulated)
    weight, seen = keras.Variable([0.0]), []
    for call in range(1, UPDATES * (accumulated or 1) + 1):
        optimizer.apply([torch.ones(1)], [weight])
        if call % (accumulated or 1) == 0:
            seen.append(float(keras.ops.convert_to_numpy(weight)[0]))
    assert int(optimizer.iterations) == UPDATES
    return seen


found = {k: trained(k) for k in (None, 2, 4)}
for accumulated, weights in found.items():
    print(f"accumulating {accumulated}: the weight after each update {weights}")
assert found[None] == [-1.0, -2.0, -2.125, -2.25]
assert found[2] == [-1.0, -1.125, -1.25, -1.375]
assert found[4] == [-0.125, -0.25, -0.375, -0.5]
PYTHON
