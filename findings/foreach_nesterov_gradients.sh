#!/usr/bin/env bash
# Guess: foreach=True of torch.optim.SGD is a choice of speed. Like the plain loop, it reads a gradient and leaves it.
# What happens: with nesterov, it adds momentum times the buffer to p.grad itself, step after step: after steps along a
#   gradient of 1 at momentum 0.9, p.grad is 1.9. With weight decay, or with maximize, it works on a copy and does not.
# Why it matters: on a GPU foreach is the default. A gradient norm logged after the step is wrong, and so is whatever
#   else reads the gradient then: a second optimizer, an accumulation that is not zeroed. The parameters themselves
#   are right, so that no comparison of losses or weights shows it.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import torch


def gradient_after_a_step(**options):
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, **options).step()
    return round(p.grad[0].item(), 6), round(p.detach()[0].item(), 6)


plain = gradient_after_a_step(foreach=False)
foreach = gradient_after_a_step(foreach=True)
decayed = gradient_after_a_step(foreach=True, weight_decay=0.1)[0]
maximized = gradient_after_a_step(foreach=True, maximize=True)[0]
print(f"foreach=False: gradient {plain[0]}, parameter {plain[1]}")
print(f"foreach=True: gradient {foreach[0]}, parameter {foreach[1]}")
print(f"foreach=True, with weight decay: gradient {decayed}; with maximize: gradient {maximized}")

assert plain == (1.0, 0.81)
assert foreach == (1.9, 0.81)
assert decayed == maximized == 1.0
PYTHON
