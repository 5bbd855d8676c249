#!/usr/bin/env bash
# Guess: copy.deepcopy(optimizer) is the same optimizer over copied parameters, and a pickled one comes back whole.
# What happens: torch.optim.Optimizer copies and pickles defaults, state and param_groups, and nothing else. What a
#   subclass keeps on itself is gone: Lion of lion-pytorch and AdamP of pytorch-optimizer raise AttributeError in the
#   first step of the copy, and a class that has a default for it on the class goes on silently with that.
# Why it matters: copies are made by trainers (best weights, population-based training) and checkpoints of whole
#   optimizers; every setting of an optimizer belongs into its groups, or its class needs __getstate__.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps lion-pytorch==0.2.5 pytorch-optimizer==4.1.0
observe <<'PYTHON'
import copy
import pickle

import lion_pytorch
import pytorch_optimizer
import torch


class Scaled(torch.optim.SGD):
    """Keeps a setting on itself, with a default on the class."""

    scale = 1.0

    def __init__(self, params, lr, scale):
        super().__init__(params, lr)
        self.scale = scale

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad.mul_(self.scale)
        return super().step(closure)


def stepped(optimizer):
    """Where its parameter is after a step along 1."""
    (p,) = optimizer.param_groups[0]["params"]
    p.grad = torch.ones_like(p)
    optimizer.step()
    return p.item()


def fresh():
    return [torch.nn.Parameter(torch.zeros(()))]


for make in (lion_pytorch.Lion, pytorch_optimizer.AdamP):
    optimizer = make(fresh(), lr=0.5)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        try:
            raise SystemExit(f"the copy of {make.__name__} steps to {stepped(copied)}")
        except AttributeError as error:
            print(f"a copy of {make.__name__} raises {error}")

optimizer = Scaled(fresh(), 0.5, scale=4.0)
copied = stepped(copy.deepcopy(optimizer)), stepped(pickle.loads(pickle.dumps(optimizer)))
print(f"the original steps to {(original := stepped(optimizer))}, its copies to {copied}")

assert original == -2.0
assert copied == (-0.5, -0.5)
PYTHON
