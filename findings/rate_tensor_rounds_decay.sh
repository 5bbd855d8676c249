#!/usr/bin/env bash
# Guess: a learning rate in a float32 tensor costs nothing where float32 has the rate exactly, such as 2**-10: parameters
#   in float64 decay and step as with the Python float.
# What happens: AdamW computes 1 - lr * weight_decay from the tensor, in float32, and multiplies the float64 parameters by
#   that: a decay of 1e-4 is off by 2e-8 in every step, to the same side. A step's size is rounded likewise.
# Why it matters: a tensor is how the rate is given to captured graphs, torch.tensor(1e-3) makes a float32 one, and float64
#   is chosen where such errors matter. A float64 tensor is exact.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch

RATE, DECAY, STEPS = 2**-10, 0.1, 100


def decayed(rate):
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=DECAY, foreach=False)
    weight.grad = torch.zeros_like(weight)
    for _ in range(STEPS):
        optimizer.step()
    return weight.item()


exact = decayed(RATE)
assert exact == decayed(torch.tensor(RATE, dtype=torch.float64))
rounded = decayed(torch.tensor(RATE, dtype=torch.float32))
print(f"after {STEPS} steps: {exact!r} with the float, {rounded!r} with a float32 tensor that equals it")
assert torch.tensor(RATE, dtype=torch.float32).item() == RATE
assert 1e-6 < rounded - exact < 1e-5
PYTHON
