#!/usr/bin/env bash
# Guess: SGDW's weight decay is a share of the weight: w - lr * weight_decay * w. Without gradients weights shrink.
# What happens: torch-optimizer's SGDW subtracts lr * weight_decay itself. Every weight moves down by the same amount:
#   positive ones past zero, negative ones away from it.
# Why it matters: one test weight of 1 sees no difference. Weights of both signs, and of more than one size, do.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps torch-optimizer==0.3.0 pytorch-ranger==0.1.1
observe <<'PYTHON'
import torch
import torch_optimizer

before = torch.tensor([-1.0, 0.0, 0.125, 1.0, 4.0])
weights = torch.nn.Parameter(before.clone())
optimizer = torch_optimizer.SGDW([weights], lr=0.5, weight_decay=0.5)
weights.grad = torch.zeros_like(weights)
optimizer.step()
print(f"without gradients {before.tolist()} become {weights.tolist()}; a share would be {(0.75 * before).tolist()}")

assert weights.tolist() == (before - 0.5 * 0.5).tolist()
PYTHON
