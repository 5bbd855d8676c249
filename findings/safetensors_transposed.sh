#!/usr/bin/env bash
# Guess: safetensors.numpy.save stores what the array says, or refuses a transposed one as safetensors.torch does.
# What happens: it writes the memory as it lies, under the shape as it reads. A transposed or Fortran-ordered array
#   comes back with the right shape and dtype, and its values shuffled.
# Why it matters: a dense kernel is transposed on its way from JAX or Keras to torch, and so are its moments; and
#   torch.linalg.eigh hands out its eigenvectors in Fortran order. They come back wrong and look right.
source "$(dirname "$0")/_lib.sh"
install numpy==2.4.6 safetensors==0.8.0
observe <<'PYTHON'
import numpy as np
from safetensors.numpy import load, save

momentum = np.arange(6.0).reshape(2, 3)
saved = {"as it is": momentum, "transposed": momentum.T, "in Fortran order": np.asfortranarray(momentum)}
for name, array in saved.items():
    loaded = load(save({"momentum": array}))["momentum"]
    print(f"{name}: saved {array.tolist()}, loaded {loaded.tolist()}")
    assert (loaded.shape, loaded.dtype) == (array.shape, array.dtype)
    assert loaded.ravel().tolist() == array.ravel("K").tolist()
    assert np.array_equal(loaded, array) == array.flags.c_contiguous
PYTHON
