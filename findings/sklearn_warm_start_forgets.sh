#!/usr/bin/env bash
# Guess: a network of scikit-learn with warm_start=True goes on where the last `fit` ended, so that two fits of two epochs
#   are one of four.
# What happens: the weights go on, Adam does not: `fit` builds a new optimizer, with empty moments and its count of steps
#   at 0. Only `partial_fit` keeps it. The network's own count of samples seen does not show it.
# Why it matters: training in portions (to checkpoint, to log, within a time limit) takes the full first step of a fresh
#   Adam at the start of each, which is the largest that it ever takes.
source "$(dirname "$0")/_lib.sh"
install scikit-learn==1.9.1 numpy==2.4.6
observe <<'PYTHON'
import warnings

import numpy as np
from sklearn.neural_network import MLPRegressor

warnings.simplefilter("ignore")  # that so few epochs do not converge
INPUTS, OUTPUTS = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 5.0])


def network(**options):
    return MLPRegressor(
        hidden_layer_sizes=(2,),
        solver="adam",
        shuffle=False,
        batch_size=3,
        learning_rate_init=0.125,
        random_state=0,
        **options,
    )


whole = network(max_iter=4).fit(INPUTS, OUTPUTS)
twice = network(max_iter=2, warm_start=True).fit(INPUTS, OUTPUTS).fit(INPUTS, OUTPUTS)
partial = network()
for _ in range(4):
    partial.partial_fit(INPUTS, OUTPUTS)

for name, one in (("one fit", whole), ("two warm fits", twice), ("partial_fit", partial)):
    print(f"{name}: samples seen {one.t_}, weights {one.coefs_[0].ravel()}")
assert whole.t_ == twice.t_ == partial.t_ == 12
assert np.array_equal(whole.coefs_[0], partial.coefs_[0])
assert np.max(np.abs(whole.coefs_[0] - twice.coefs_[0])) > 0.01
PYTHON
