#!/usr/bin/env bash
# Guess: on plain tensors, which have nothing Riemannian, geoopt's RiemannianSGD is SGD as torch has it.
# What happens: the momentum buffer begins as the first gradient, and the first gradient is then added to it: the first
#   step is 1 + momentum long instead of 1, and what is too much fades only with the momentum.
# Why it matters: a warm-up that was tuned with one is off by almost a factor of two with the other, at the moment when
#   gradients are largest.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 geoopt==0.5.1 numpy==2.4.6
observe <<'PYTHON'
import geoopt
import torch

MOMENTUM, STEPS = 0.5, 3


def walked(optimizer_class):
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = optimizer_class([weight], lr=1.0, momentum=MOMENTUM)
    seen = []
    for _ in range(STEPS):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        seen.append(weight.item())
    return seen


torch_sgd, riemannian = walked(torch.optim.SGD), walked(geoopt.optim.RiemannianSGD)
print(f"from 0 along a constant gradient: torch {torch_sgd}, geoopt {riemannian}")
assert torch_sgd == [-1.0, -2.5, -4.25]
assert riemannian == [-1.5, -3.25, -5.125]
PYTHON
