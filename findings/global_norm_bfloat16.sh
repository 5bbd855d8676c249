#!/usr/bin/env bash
# Guess: the global norm of n bfloat16 leaves, each of norm 1, is sqrt(n) to the three digits that bfloat16 has.
# What happens: the squares of the leaves are added one leaf after the other in bfloat16, where 256 + 1 is 256. Beyond
#   256 such leaves the norm stays 16, and clip_by_global_norm lets pass gradients of many times the norm it was given.
# Why it matters: clipping comes before the optimizer, so both sides of a comparison are fed the same wrong gradients;
#   and the error grows with the number of leaves, of which a test model has few.
source "$(dirname "$0")/_lib.sh"
install jax==0.10.2 jaxlib==0.10.2 ml-dtypes==0.6.0 numpy==2.4.6 optax==0.2.8
observe <<'PYTHON'
import jax
import jax.numpy as jnp
import optax

clip = optax.clip_by_global_norm(1.0)
for leaves, norm_seen, norm_after_clipping in ((256, 16, 1), (1024, 16, 2), (4096, 16, 4)):
    gradients = [jnp.ones(1, jnp.bfloat16)] * leaves
    norm = float(optax.global_norm(gradients))
    clipped, _ = clip.update(gradients, clip.init(gradients))
    true_norm_after = float(optax.global_norm(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), clipped)))
    print(f"{leaves} leaves of 1: norm {norm}, should be {leaves**0.5}; after clipping to 1 it is {true_norm_after}")
    assert (norm, true_norm_after) == (norm_seen, norm_after_clipping)
PYTHON
