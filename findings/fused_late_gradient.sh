#!/usr/bin/env bash
# Guess: SGD(fused=True) steps a parameter whose first gradient comes later than another's, as SGD does without it: a
#   layer that is frozen at first is unfrozen, and has a momentum from then on.
# What happens: every step from then on raises TypeError. The list of momentum buffers has a None beside a tensor, which
#   the fused kernel takes for neither a first step nor a later one; it does not recover, and nothing is stepped.
# Why it matters: gradual unfreezing trains well with foreach=True, which is the default on a GPU, and stops in the middle
#   with fused=True. Adam(fused=True) begins each parameter by itself, and is not concerned.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch


def unfrozen_after_a_step(kind, **form):
    early, late = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = kind([early, late], lr=0.125, **form)
    early.grad = torch.ones(2)
    optimizer.step()
    late.grad = torch.ones(2)
    told = []
    for _ in range(2):
        try:
            optimizer.step()
            told.append("steps")
        except TypeError:
            told.append("TypeError")
    return told, late.tolist() != [1, 1]


def sgd(params, **form):
    return torch.optim.SGD(params, momentum=0.5, **form)


for form in ({"foreach": False}, {"foreach": True}, {"fused": True}):
    told, moved = unfrozen_after_a_step(sgd, **form)
    print(f"SGD with {form}: {', '.join(told)}; the late parameter has {'moved' if moved else 'not moved'}")
    assert (told, moved) == ((["TypeError"] * 2, False) if form.get("fused") else (["steps"] * 2, True))
assert unfrozen_after_a_step(torch.optim.Adam, fused=True) == (["steps"] * 2, True)
PYTHON
