#!/usr/bin/env bash
# Guess: a learning rate given as a tensor means the same as the float. LambdaLR with one function per group gives each
#   group its own rate.
# What happens: the groups that take the default hold the same tensor object, and a scheduler writes tensors in place.
#   The last group's rate wins everywhere; get_last_lr() repeats it, so that the log agrees with the mistake.
# Why it matters: tensors are what compiled and captured steps need as rates. A check that schedules one rate for all
#   groups, or floats alone, passes.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch


def rates(lr):
    backbone, head = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.Adam([{"params": [backbone]}, {"params": [head]}], lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda epoch: 0.01, lambda epoch: 1.0])
    used = [round(float(group["lr"]), 6) for group in optimizer.param_groups]
    reported = [round(float(rate), 6) for rate in scheduler.get_last_lr()]
    return used, reported


as_float, as_tensor = rates(0.1), rates(torch.tensor(0.1))
print(f"lr=0.1: used {as_float[0]}, reported {as_float[1]}")
print(f"lr=torch.tensor(0.1): used {as_tensor[0]}, reported {as_tensor[1]}")

assert as_float == ([0.001, 0.1], [0.001, 0.1])
assert as_tensor == ([0.1, 0.1], [0.1, 0.1])
PYTHON
