#!/usr/bin/env bash
# Guess: which rule an optimizer computes is said by its class; a checkpoint brings moments and hyperparameters.
# What happens: torch keeps "decay is decoupled" as an entry of the groups, and load_state_dict replaces the groups.
#   Adam that loads AdamW's checkpoint computes AdamW from then on, and is still called Adam. The other way round the
#   class does decide: AdamW stays AdamW.
# Why it matters: to continue with another rule from given moments is how rules are compared late in training. One of
#   the two comparisons compares a rule with itself.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch


def start(optimizer_class):
    weight = torch.nn.Parameter(torch.ones(1))
    return optimizer_class([weight], lr=0.1, weight_decay=0.5)


def run(optimizer, steps):
    weight = optimizer.param_groups[0]["params"][0]
    for _ in range(steps):
        weight.grad = torch.ones(1)
        optimizer.step()
    return round(weight.item(), 4)


def continued(loading_class, saving_class):
    saved = start(saving_class)
    run(saved, 3)
    loading = start(loading_class)
    loading.load_state_dict(saved.state_dict())
    return run(loading, 5), loading.param_groups[0]["decoupled_weight_decay"]


adam, adamw = torch.optim.Adam, torch.optim.AdamW
ends = {}
for loading, saving in ((adam, adam), (adam, adamw), (adamw, adam), (adamw, adamw)):
    weight, decoupled = ends[loading, saving] = continued(loading, saving)
    print(f"{loading.__name__} that loads {saving.__name__}'s state ends at {weight}, decay decoupled: {decoupled}")

assert ends[adam, adamw] == ends[adamw, adamw]
assert ends[adam, adam] != ends[adamw, adam]
assert [decoupled for _, decoupled in ends.values()] == [False, True, True, True]
PYTHON
