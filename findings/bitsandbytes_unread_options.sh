#!/usr/bin/env bash
# Guess: what bitsandbytes' SGD, RMSprop and Adam take in their constructors they step with, or refuse as they refuse
#   `centered` and SGD without momentum.
# What happens: `dampening` and `nesterov` of SGD, `momentum` of RMSprop and `amsgrad` of Adam are taken, stored in the
#   groups, and never read: every bit is the same with and without.
# Why it matters: the options are torch's, so a script goes on after its import is changed, with another rule.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 bitsandbytes==0.50.2 numpy==2.4.6
observe <<'PYTHON'
import bitsandbytes
import torch

CASES = [
    ("SGD", {"momentum": 0.9}, {"dampening": 0.5}),
    ("SGD", {"momentum": 0.9}, {"nesterov": True}),
    ("RMSprop", {}, {"momentum": 0.9}),
    ("Adam", {"betas": (0.9, 0.5)}, {"amsgrad": True}),
]


def trained(optimizer_class, **options):
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = optimizer_class([weight], lr=0.125, **options)
    for scale in (4.0, 2.0, 1.0):
        weight.grad = torch.full((4,), scale)
        optimizer.step()
    return weight.detach().clone()


for name, given, option in CASES:
    theirs, torchs = getattr(bitsandbytes.optim, name), getattr(torch.optim, name)
    changes = {
        of: not torch.equal(trained(optimizer, **given), trained(optimizer, **given, **option))
        for of, optimizer in (("bitsandbytes", theirs), ("torch", torchs))
    }
    print(f"{name} with {option}: changes {changes}")
    assert changes == {"bitsandbytes": False, "torch": True}
PYTHON
