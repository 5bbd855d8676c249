#!/usr/bin/env bash
# Guess: a group whose lr is 0 stands still: the usual way to freeze it, and where warm-ups and schedules end.
# What happens: it holds where the update is multiplied by the lr of the step. MADGRAD goes on towards the point that
#   its sums of past gradients define, the schedule-free average towards its leading sequence, ASGD uses the rate that
#   it computed a step before, and Rprop reads lr in its first step alone.
# Why it matters: "lr = 0 changes nothing" looks like a law to test any optimizer by. SGD and Adam obey it; these four
#   do not.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps madgrad==1.3 schedulefree==1.4.1
observe <<'PYTHON'
import madgrad
import schedulefree
import torch


def weights_at_zero(optimizer_class, **hyperparameters):
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizer_class([weight], lr=0.1, **hyperparameters)
    if hasattr(optimizer, "train"):
        optimizer.train()
    weights = []
    for step in range(8):
        if step == 5:
            optimizer.param_groups[0]["lr"] = 0.0
        weight.grad = torch.ones(1)
        optimizer.step()
        weights.append(round(weight.item(), 3))
    return weights[4:]


seen = {
    "SGD": weights_at_zero(torch.optim.SGD, momentum=0.9),
    "Adam": weights_at_zero(torch.optim.Adam),
    "MADGRAD": weights_at_zero(madgrad.MADGRAD),
    "SGDScheduleFree": weights_at_zero(schedulefree.SGDScheduleFree),
    "ASGD": weights_at_zero(torch.optim.ASGD),
    "Rprop": weights_at_zero(torch.optim.Rprop),
}
for name, weights in seen.items():
    print(f"{name}: {weights[0]}, then at lr 0: {weights[1:]}")

for name, weights in seen.items():
    moves = [before != after for before, after in zip(weights, weights[1:])]
    if name in ("SGD", "Adam"):
        assert moves == [False, False, False]
    elif name == "ASGD":
        assert moves == [True, False, False]
    else:
        assert moves == [True, True, True]
PYTHON
