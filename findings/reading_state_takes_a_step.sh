#!/usr/bin/env bash
# Guess: asking a fresh optimizer for its state only reads. Training goes on as if nobody had asked.
# What happens: to have a state to return, get_optimizer_state_dict takes one step at lr 0 with zero gradients, and
#   leaves what that step left behind. Adam corrects its bias as if in its second step; ASGD, which uses the rate that
#   the step before computed, loses its first update; Rprop starts from step size 0 and all but stands still.
# Why it matters: a checkpoint saved before training starts, or a port compared through this function, shows another
#   trajectory of the same optimizer. A step at lr 0 is no neutral way to create state.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict


def first_weights(optimizer_class, state_is_read):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    optimizer = optimizer_class(model.parameters(), lr=0.1)
    if state_is_read:
        get_optimizer_state_dict(model, optimizer)
    weights = []
    for _ in range(3):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        weights.append(round(model.weight.item(), 3))
    return weights


seen = {}
for optimizer_class in (torch.optim.Adam, torch.optim.ASGD, torch.optim.Rprop):
    untouched, read = (first_weights(optimizer_class, state_is_read) for state_is_read in (False, True))
    print(f"{optimizer_class.__name__}: untouched {untouched}, after its state was read {read}")
    seen[optimizer_class.__name__] = untouched, read

assert seen["Adam"] == ([0.9, 0.8, 0.7], [0.926, 0.84, 0.749])
assert seen["ASGD"] == ([0.9, 0.8, 0.7], [1.0, 0.9, 0.8])
assert seen["Rprop"] == ([0.9, 0.78, 0.636], [1.0, 1.0, 1.0])
PYTHON
