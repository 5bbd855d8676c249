#!/usr/bin/env bash
# Guess: Hypothesis governs what its strategies draw; np.random in the test's body is fresh in every example.
# What happens: both global generators, random and np.random, are set to the same seed before each example. Whatever
#   Hypothesis draws, the body gets the same "random" numbers every time. A generator of one's own is left alone.
# Why it matters: an optimizer's test that draws shapes and hyperparameters, and fills the gradients by np.random, tries
#   100 hyperparameters on the beginning of one stream of numbers, and says "100 passing examples".
source "$(dirname "$0")/_lib.sh"
install numpy==2.4.6
install --no-deps hypothesis==6.170.15 sortedcontainers==2.4.0
observe <<'PYTHON'
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

own_generator = np.random.default_rng(0)
drawn, global_numpy, global_random, own = [], [], [], []


@settings(max_examples=100, database=None)
@given(st.floats(1e-4, 1.0))
def examples(lr):
    drawn.append(lr)
    global_numpy.append(np.random.standard_normal())
    global_random.append(random.random())
    own.append(own_generator.standard_normal())


examples()
distinct = {name: len(set(values)) for name, values in
            {"lr": drawn, "np.random": global_numpy, "random": global_random, "default_rng": own}.items()}
print(f"distinct values in {len(drawn)} examples: {distinct}")

assert len(drawn) == distinct["default_rng"] == 100
assert distinct["lr"] > 50
assert distinct["np.random"] == distinct["random"] == 1
PYTHON
