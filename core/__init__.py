"""The rules of `stepgauge.reference` in Cython: CPU arrays, stepped in place in as few passes as the rule allows.

A class here is an optimizer over a list of arrays. It has the name, the hyperparameters and the state of its reference,
and the numbers, bit for bit (save which of its many forms a NaN takes), at the same dtype: the same operations in the
same order, on every instruction set and with any number of threads.

Frog and KFrog step one layer at a time, as their references do, and agree with them within rounding; so do the buffers
of critical gradients where a running sum stands for one that the reference takes anew.

>>> import numpy as np
>>> from stepgauge.core import SGD
>>> weights = np.array([1.0, 2.0])
>>> optimizer = SGD([weights], lr=0.5)
>>> optimizer.step([np.array([1.0, 1.0])])
>>> weights
array([0.5, 1.5])
"""

from stepgauge.core import arrays
from stepgauge.core._fisher import solve_fisher
from stepgauge.core.adai import Adai
from stepgauge.core.adaiv2 import AdaiV2
from stepgauge.core.adam import Adam
from stepgauge.core.adamp import AdamP
from stepgauge.core.adamw import AdamW
from stepgauge.core.critical import SGD_C, Adam_C, AdamW_C, RMSprop_C
from stepgauge.core.frog import Frog
from stepgauge.core.fsgdm import FSGDM
from stepgauge.core.kfrog import KFrog
from stepgauge.core.lion import Lion
from stepgauge.core.optimizer import Optimizer
from stepgauge.core.rmsprop import RMSprop
from stepgauge.core.sgd import SGD
from stepgauge.core.sgdp import SGDP
from stepgauge.reference import Rule

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adamp": AdamP,
    "sgdp": SGDP,
    "fsgdm": FSGDM,
    "lion": Lion,
    "adai": Adai,
    "adaiv2": AdaiV2,
    "sgd_c": SGD_C,
    "rmsprop_c": RMSprop_C,
    "adam_c": Adam_C,
    "adamw_c": AdamW_C,
}

# Those that step along what layers saw have their reference's methods, and `stepgauge.reference.step` drives them.
RULES: dict[str, type[Optimizer] | type[Rule]] = {**OPTIMIZERS, "frog": Frog, "kfrog": KFrog}

for _optimizer in OPTIMIZERS.values():
    _optimizer.__signature__ = arrays.signature(_optimizer.rule)  # what `help` shows

__all__ = [
    "FSGDM",
    "OPTIMIZERS",
    "RULES",
    "SGD",
    "SGDP",
    "SGD_C",
    "Adai",
    "AdaiV2",
    "Adam",
    "AdamP",
    "AdamW",
    "AdamW_C",
    "Adam_C",
    "Frog",
    "KFrog",
    "Lion",
    "Optimizer",
    "RMSprop",
    "RMSprop_C",
    "solve_fisher",
]
