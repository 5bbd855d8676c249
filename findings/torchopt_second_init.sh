#!/usr/bin/env bash
# Guess: a torchopt optimizer is a pair of pure functions, as its documentation says: two runs that begin with init of
#   the same pair are the same.
# What happens: the momentum of torchopt.sgd keeps outside of its state whether it has ever been called. The first
#   buffer, which is the whole gradient, is dampened in every run but the first.
# Why it matters: one optimizer for several models, seeds or inner loops of meta-learning treats the first of them
#   otherwise than the rest. A comparison that makes an optimizer for each run shows nothing.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 torchopt==0.7.3 numpy==2.4.6
observe <<'PYTHON'
import torch
import torchopt

optimizer = torchopt.sgd(0.125, momentum=0.5, dampening=0.5)


def run():
    weight = torch.zeros(1)
    state = optimizer.init([weight])
    path = []
    for _ in range(3):
        (update,), state = optimizer.update([torch.ones(1)], state, params=[weight])
        weight = weight + update
        path.append(weight.item())
    return path


first, second, third = run(), run(), run()
print(f"three runs from 0 under the same gradients: {first}, {second}, {third}")

assert first == [-0.125, -0.25, -0.375]
assert second == third == [-0.0625, -0.15625, -0.265625]
PYTHON
