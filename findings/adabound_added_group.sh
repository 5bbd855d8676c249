#!/usr/bin/env bash
# Guess: a parameter group added after construction is trained like the others, as torch promises of add_param_group.
# What happens: the authors' AdaBound and torch-optimizer's note each group's rate in the constructor, and step through
#   groups and notes side by side, to the end of the shorter list. The added group gets no update and raises nothing.
# Why it matters: unfreezing layers late is what add_param_group is for, and the layers that were there from the start
#   bring the loss down without them. What an optimizer keeps per group belongs in the group.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
install --no-deps adabound==0.0.5 torch-optimizer==0.3.0 pytorch-ranger==0.1.1
observe <<'PYTHON'
import adabound
import torch
import torch_optimizer


def trained(optimizer_class):
    first, added = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = optimizer_class([first], lr=0.1)
    optimizer.add_param_group({"params": [added]})
    for _ in range(5):
        first.grad, added.grad = torch.ones(2), torch.ones(2)
        optimizer.step()
    return [not torch.equal(weight, torch.ones(2)) for weight in (first, added)]


for optimizer_class in (adabound.AdaBound, torch_optimizer.AdaBound):
    first, added = trained(optimizer_class)
    print(f"{optimizer_class.__module__}: first group trained: {first}, added group trained: {added}")
    assert (first, added) == (True, False)

assert trained(torch.optim.Adam) == [True, True]
PYTHON
