#!/usr/bin/env bash
# Guess: Adam with weight_decay adds the decay to the gradient, and AdamW is the one that decouples it, as in torch.
# What happens: in bitsandbytes and Keras weight_decay is decoupled in Adam, too: given the same decay, their Adam and
#   AdamW compute the same.
# Why it matters: moving a run to one of them changes the rule and keeps its name. A comparison at the default decay,
#   which is none in every Adam here, shows nothing.
source "$(dirname "$0")/_lib.sh"
install torch==2.13.0 keras==3.15.1 numpy==2.4.6
install --no-deps bitsandbytes==0.50.2
export KERAS_BACKEND=torch
observe <<'PYTHON'
import bitsandbytes
import keras
import torch


def torch_run(optimizer_class):
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizer_class([weight], lr=0.125, weight_decay=0.5)
    for _ in range(3):
        weight.grad = torch.full((1,), 100.0)
        optimizer.step()
    return round(weight.item(), 4)


def keras_run(optimizer_class):
    weight = keras.Variable([1.0])
    optimizer = optimizer_class(0.125, weight_decay=0.5)
    for _ in range(3):
        optimizer.apply([keras.ops.convert_to_tensor([100.0])], [weight])
    return round(float(weight.numpy()[0]), 4)


seen = {
    "torch": [torch_run(torch.optim.Adam), torch_run(torch.optim.AdamW)],
    "bitsandbytes": [torch_run(bitsandbytes.optim.Adam), torch_run(bitsandbytes.optim.AdamW)],
    "keras": [keras_run(keras.optimizers.Adam), keras_run(keras.optimizers.AdamW)],
}
for package, (adam, adamw) in seen.items():
    print(f"{package}: three steps of Adam from 1 end at {adam}, of AdamW at {adamw}")

# Adam's normalised update is 1 under a constant gradient, beside whose 100 a coupled decay of 0.5 vanishes.
coupled = decoupled = 1.0
for _ in range(3):
    coupled -= 0.125
    decoupled -= 0.125 * (0.5 * decoupled + 1)
assert seen["torch"] == [round(coupled, 4), round(decoupled, 4)]
assert seen["bitsandbytes"] == seen["keras"] == [round(decoupled, 4)] * 2
PYTHON
