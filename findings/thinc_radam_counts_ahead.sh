#!/usr/bin/env bash
# Guess: thinc's RAdam, ported from the authors' code, corrects the bias of its averages, so that a first step along any
#   gradient is lr times the gradient, as in torch's RAdam.
# What happens: it counts a step before it corrects, having counted it already. The corrections are those of the next
#   step: the first step is 1 / (1 + beta1) of that, about half, and all the early ones are short.
# Why it matters: "step 1" of a correction is where ports go wrong unseen: the factor is 1 a few dozen steps later, and
#   the loss goes down all the same.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 thinc==9.1.1 numpy==2.4.6
observe <<'PYTHON'
import numpy as np
import torch
from thinc.optimizers import RAdam

RATE, BETA, GRADIENT, STEPS = 0.125, 0.875, 0.5, 3

optimizer = RAdam(RATE, beta1=BETA, grad_clip=0.0)
weight = np.zeros((1,), dtype="f")
thinc = []
for _ in range(STEPS):
    weight, _ = optimizer((0, "weight"), weight, np.full((1,), GRADIENT, dtype="f"))
    thinc.append(round(float(weight[0]), 4))

parameter = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.RAdam([parameter], lr=RATE, betas=(BETA, 0.999))
ours = []
for _ in range(STEPS):
    parameter.grad = torch.full((1,), GRADIENT)
    optimizer.step()
    ours.append(round(parameter.item(), 4))

print(f"from 0 along a constant gradient: torch {ours}, thinc {thinc}")

# Before the variance can be trusted, RAdam steps along the corrected average, which is the gradient here.
assert ours == [round(-RATE * GRADIENT * t, 4) for t in (1, 2, 3)]
ahead = np.cumsum([(1 - BETA**t) / (1 - BETA ** (t + 1)) for t in (1, 2, 3)])
assert thinc == [round(-RATE * GRADIENT * float(share), 4) for share in ahead]
PYTHON
