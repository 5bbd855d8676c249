#!/usr/bin/env bash
# Guess: with maximize=True a second step along a gradient that has not changed climbs on.
# What happens: pytorch-optimizer's classes negate the caller's p.grad in place. The second step along it descends: Lion
#   and SGDP are back where they began. torch's own climbs twice.
# Why it matters: gradients are stepped along twice wherever they are kept (two optimizers over shared weights, a retried
#   step, accumulation without zero_grad), and a norm or a hook that reads p.grad after the step sees the other sign.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps pytorch-optimizer==4.1.0
observe <<'PYTHON'
import pytorch_optimizer
import torch


def climbed(make, **keywords):
    """Where a weight is after one step and after two along the same gradient of 1, and what that gradient is then."""
    p = torch.nn.Parameter(torch.zeros(()))
    p.grad = torch.ones(())
    optimizer = make([p], lr=0.5, maximize=True, **keywords)
    optimizer.step()
    once = p.item()
    optimizer.step()
    return once, p.item(), p.grad.item()


torchs = climbed(torch.optim.SGD)
print(f"torch's SGD: {torchs}")
assert torchs == (0.5, 1.0, 1.0)
for make in (pytorch_optimizer.SGDP, pytorch_optimizer.Lion):
    theirs = climbed(make)
    print(f"pytorch-optimizer's {make.__name__}: {theirs}")
    assert theirs == (0.5, 0.0, 1.0)
PYTHON
