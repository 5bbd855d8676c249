#!/usr/bin/env bash
# Guess: an optimizer that takes betas=(b1, b2) takes them from a parameter group, too: that is what groups are for.
# What happens: optimi's Adam, AdamW and Lion split betas into beta1 and beta2 in the constructor. A group's own betas
#   are accepted, kept in param_groups, shown there, and never read; the constructor's are stepped with.
# Why it matters: per-layer settings that are ported from torch.optim, and schedulers that move momentum through
#   group["betas"], change nothing and say nothing. The keys that count are beta1 and beta2.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps torch-optimi==0.3.3 packaging==26.4
observe <<'PYTHON'
import optimi
import torch


def moved(make, **group):
    """Where a weight is after two unequal gradients, stepped with the settings of its group."""
    p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = make([{"params": [p], **group}], lr=0.5)
    for g in (1.0, -0.25):
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
    return p.item()


for make in (optimi.Adam, optimi.AdamW, optimi.Lion):
    plain, betas, split = moved(make), moved(make, betas=(0.9, 0.1)), moved(make, beta1=0.9, beta2=0.1)
    print(f"optimi's {make.__name__}: {plain}; with betas in its group {betas}; with beta1 and beta2 {split}")
    assert betas == plain != split
theirs = moved(torch.optim.Adam), moved(torch.optim.Adam, betas=(0.9, 0.1))
print(f"torch's Adam: {theirs[0]}; with betas in its group {theirs[1]}")

assert theirs[0] != theirs[1]
PYTHON
