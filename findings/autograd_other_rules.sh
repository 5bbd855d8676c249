#!/usr/bin/env bash
# Guess: autograd's `sgd` with a mass and its `rmsprop` are the rules of these names: momentum adds gradients up, and the
#   running mean of squares starts at zero.
# What happens: the velocity of `sgd` is an average, so that at mass 0.9 the first step is a tenth of the rate long, and
#   never more than the whole; the mean of squares of `rmsprop` starts at one, so that first steps along small gradients
#   are many times smaller than torch's.
# Why it matters: the functions are copied from tutorial to tutorial; a rate does not carry over to any framework's
#   optimizer of the same name.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 autograd==1.9.1 numpy==2.4.6
observe <<'PYTHON'
import numpy as np
import torch
from autograd.misc.optimizers import rmsprop, sgd


def in_torch(optimizer_class, gradient, steps, **options):
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = optimizer_class([weight], **options)
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return round(weight.item(), 4)


def in_autograd(optimize, gradient, steps, **options):
    return round(float(optimize(lambda x, i: np.full(1, gradient), np.zeros(1), num_iters=steps, **options)[0]), 4)


for steps in (1, 2, 100):
    theirs = in_autograd(sgd, 1.0, steps, step_size=1.0, mass=0.5)
    torchs = in_torch(torch.optim.SGD, 1.0, steps, lr=1.0, momentum=0.5)
    print(f"momentum 0.5, after {steps} steps along 1: torch {torchs}, autograd {theirs}")
    assert abs(theirs - torchs / 2) < 1e-3

theirs = in_autograd(rmsprop, 0.01, 1, step_size=1.0, gamma=0.75)
torchs = in_torch(torch.optim.RMSprop, 0.01, 1, lr=1.0, alpha=0.75)
print(f"RMSprop, after one step along 0.01: torch {torchs}, autograd {theirs}")
assert (torchs, theirs) == (-2.0, -0.0115)
PYTHON
