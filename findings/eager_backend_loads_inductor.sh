#!/usr/bin/env bash
# Guess: torch.compile(backend="eager") traces and generates nothing, so that Inductor's code generation is never imported:
#   neither for a function, nor for the step of an optimizer.
# What happens: for a function it is not. The step of an optimizer of torch's brings more than a hundred of Inductor's
#   modules along, its lowerings and its manager of CUDA graphs among them, on a machine without a GPU, too: the tracer's
#   model of optimizers asks that manager for what has no part here. (torch._dynamo itself is there before anything is
#   compiled: the first optimizer that is built imports it.)
# Why it matters: that is most of the time that the first such step takes, over a second, in every process that does so:
#   the tests of an optimizer's traceability, for which this backend is chosen because it is cheap.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 numpy==2.4.6
observe <<'PYTHON'
import sys

import torch


def inductor():
    return {name for name in sys.modules if name.startswith("torch._inductor.")}


def compiled(function, *arguments):
    """What of Inductor a first call imports."""
    before = inductor()
    torch.compile(function, backend="eager")(*arguments)
    return inductor() - before


weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.Adam([weight])
weight.grad = torch.ones(3)
print(f"built, nothing compiled: torch._dynamo imported: {'torch._dynamo' in sys.modules}")
assert "torch._dynamo" in sys.modules

for_function = compiled(lambda x: 2 * x + 1, torch.ones(3))
for_step = compiled(optimizer.step)
heavy = {"torch._inductor.lowering", "torch._inductor.cudagraph_trees", "torch._inductor.compile_fx"}
print(f"modules of Inductor: {len(for_function)} for a function, {len(for_step)} more for a step")
assert not heavy & for_function
assert heavy <= for_step and len(for_step) > 100
PYTHON
