#!/usr/bin/env bash
# Guess: inject_hyperparams makes hyperparameters visible and settable, and leaves the update as it was.
# What happens: it turns all of them into arrays of the gradients' dtype. In bfloat16 0.999 is 1, the bias correction
#   1 - b2**t is 0, and the first update is NaN. The same adamw with plain numbers trains.
# Why it matters: the wrapper is how rates are logged and set by hand. A port compared in float32 passes, and the model
#   that is then trained in bfloat16 is lost in its first step. hyperparam_dtype cures it, for those who ask for it.
source "$(dirname "$0")/_lib.sh"
install jax==0.10.2 jaxlib==0.10.2 ml-dtypes==0.6.0 numpy==2.4.6 optax==0.2.8
observe <<'PYTHON'
import jax.numpy as jnp
import optax


def trained(optimizer, dtype):
    weights = jnp.ones(3, dtype)
    state = optimizer.init(weights)
    for _ in range(3):
        updates, state = optimizer.update(jnp.full(3, 0.5, dtype), state, weights)
        weights = optax.apply_updates(weights, updates)
    return round(float(weights[0]), 2)


plain = optax.adamw(0.1)
injected = optax.inject_hyperparams(optax.adamw)(0.1)
in_float32 = optax.inject_hyperparams(optax.adamw, hyperparam_dtype=jnp.float32)(0.1)

for dtype in (jnp.float32, jnp.bfloat16):
    print(f"{dtype.__name__}: plain {trained(plain, dtype)}, injected {trained(injected, dtype)}, "
          f"with hyperparam_dtype {trained(in_float32, dtype)}")

assert trained(plain, jnp.float32) == trained(injected, jnp.float32) == 0.7
assert trained(plain, jnp.bfloat16) == trained(in_float32, jnp.bfloat16) == 0.7
assert jnp.isnan(trained(injected, jnp.bfloat16))
PYTHON
