#!/usr/bin/env bash
# Guess: lion-pytorch's decoupled_weight_decay=True takes the rate out of the decay: each step shrinks the weights of every
#   group by weight_decay, whatever the group's own rate is.
# What happens: the decay of all groups is divided by the rate that the constructor got, and multiplied by the group's. A
#   group at ten times that rate decays ten times as fast: at weight_decay=0.1 its weights are 0 after one step.
# Why it matters: layer-wise rates are what groups are for. The same holds for a resumed run that is built with another
#   rate, because the constructor's is no part of the state.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 lion-pytorch==0.2.5 numpy==2.4.6
observe <<'PYTHON'
import torch
from lion_pytorch import Lion

RATE, DECAY = 2**-10, 0.125


def after_a_step(factor):
    weight = torch.nn.Parameter(torch.ones(1))
    other = torch.nn.Parameter(torch.ones(1))
    groups = [{"params": [weight], "lr": factor * RATE}, {"params": [other]}]
    optimizer = Lion(groups, lr=RATE, weight_decay=DECAY, decoupled_weight_decay=True)
    weight.grad, other.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    assert other.item() == 1 - DECAY
    return weight.item()


found = {factor: after_a_step(factor) for factor in (1, 2, 8)}
for factor, weight in found.items():
    print(f"a group at {factor} times the constructor's rate: 1 decays to {weight} in a step")
assert found == {factor: 1 - factor * DECAY for factor in found}
PYTHON
