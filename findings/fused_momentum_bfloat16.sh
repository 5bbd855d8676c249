#!/usr/bin/env bash
# Guess: `fused=True` computes what the loop computes, but for the rounding of the last place, in every precision.
# What happens: torch's fused SGD on the CPU, with momentum, on bfloat16 or float16 parameters, leaves the loop by whole
#   units as soon as a tensor is long enough for the vectorised part of the kernel; a shorter one agrees, and so do all
#   lengths in float32. No error, no warning.
# Why it matters: `fused=True` is taken for a faster form of the same rule, and small tests of it pass.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch


def apart(length, dtype):
    torch.manual_seed(0)
    start = torch.randn(length).to(dtype)
    gradients = [torch.randn(length).to(dtype) for _ in range(4)]
    ends = []
    for form in ({"fused": True}, {"foreach": False}):
        weight = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, **form)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        ends.append(weight.detach().float())
    return (ends[0] - ends[1]).abs().max().item()


found = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for length in (5, 64):
        found[dtype, length] = apart(length, dtype)
        print(f"{dtype}, {length} elements: fused and loop are {found[dtype, length]:.3g} apart")

for dtype in (torch.bfloat16, torch.float16):
    assert found[dtype, 5] < 0.05 < 0.5 < found[dtype, 64]
assert max(found[torch.float32, length] for length in (5, 64)) < 1e-5
PYTHON
