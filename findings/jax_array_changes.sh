#!/usr/bin/env bash
# Guess: a JAX array cannot change. torch.from_dlpack copies it, or refuses to write to it, as np.asarray's view does.
# What happens: the tensor is the array's own memory, writable. A step of a torch optimizer on it changes the array, and
#   every other name of it, with no word from either side.
# Why it matters: this is how one hands the same start to an optax rule and its torch port. The second one then starts
#   where the first one ended, and recorded gradients are rewritten by an optimizer that works on its gradient in place.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 jax==0.10.2 jaxlib==0.10.2 ml-dtypes==0.6.0 numpy==2.4.6
observe <<'PYTHON'
import jax.numpy as jnp
import numpy as np
import torch

start = jnp.ones(3)
kept = {"weights": start}
assert not np.asarray(start).flags.writeable

weights = torch.nn.Parameter(torch.from_dlpack(start))
optimizer = torch.optim.SGD([weights], lr=0.25)
weights.grad = torch.ones(3)
optimizer.step()
print(f"after a step of torch's the JAX array of ones is {start}, and {kept['weights']} in the dictionary that kept it")

assert start.tolist() == kept["weights"].tolist() == [0.75] * 3
PYTHON
