#!/usr/bin/env bash
# Guess: a torch optimizer that is resumed from its own state_dict goes on bit for bit, in bfloat16 as in float32.
# What happens: NAdam keeps the product of its momenta in float32 beside bfloat16 parameters, and load_state_dict casts
#   every floating-point entry of the state but `step` to the parameter's dtype. The resumed run leaves the other one;
#   Adam, whose whole state is in the parameter's dtype, goes on bit for bit.
# Why it matters: whatever a rule keeps in a wider precision than its parameters does not survive a checkpoint, unless
#   it keeps it from torch's loader.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import copy

import torch


def train(optimizer, weight, steps):
    for t in steps:
        weight.grad = torch.sin(torch.arange(512.0) + t).to(weight.dtype)
        optimizer.step()


def resumed_equals_uninterrupted(rule, dtype):
    whole = torch.nn.Parameter(torch.zeros(512, dtype=dtype))
    optimizer = rule([whole], lr=0.01)
    train(optimizer, whole, range(1))
    half, state = torch.nn.Parameter(whole.detach().clone()), copy.deepcopy(optimizer.state_dict())
    train(optimizer, whole, range(1, 10))
    fresh = rule([half], lr=0.01)
    fresh.load_state_dict(state)
    product = state["state"][0].get("mu_product")
    if product is not None:
        loaded = fresh.state[half]["mu_product"]
        print(f"{rule.__name__}, {dtype}: mu_product is {product.dtype} when saved, {loaded.dtype} when loaded")
    train(fresh, half, range(1, 10))
    return torch.equal(whole, half)


found = {}
for rule in (torch.optim.Adam, torch.optim.NAdam):
    for dtype in (torch.float32, torch.bfloat16):
        found[rule, dtype] = resumed_equals_uninterrupted(rule, dtype)
        print(f"{rule.__name__}, {dtype}: resumed equals uninterrupted: {found[rule, dtype]}")

assert [found[rule, torch.float32] for rule in (torch.optim.Adam, torch.optim.NAdam)] == [True, True]
assert found[torch.optim.Adam, torch.bfloat16]
assert not found[torch.optim.NAdam, torch.bfloat16]
PYTHON
