"""The ground truth: every rule as a pure NumPy function that reads like its paper, in float64 or float32.

A rule is added as one file here and one row in `RULES`.
"""

from stepgauge.reference.adai import Adai
from stepgauge.reference.adaiv2 import AdaiV2
from stepgauge.reference.adam import Adam
from stepgauge.reference.adam_c import Adam_C
from stepgauge.reference.adamp import AdamP
from stepgauge.reference.adamw import AdamW
from stepgauge.reference.adamw_c import AdamW_C
from stepgauge.reference.driver import Group, init, step
from stepgauge.reference.frog import Frog
from stepgauge.reference.fsgdm import FSGDM
from stepgauge.reference.kfrog import KFrog
from stepgauge.reference.layers import Convolution, Layer, Seen
from stepgauge.reference.rmsprop import RMSprop
from stepgauge.reference.rmsprop_c import RMSprop_C
from stepgauge.reference.rule import Array, Rule, Sum
from stepgauge.reference.sgd import SGD
from stepgauge.reference.sgd_c import SGD_C
from stepgauge.reference.sgdp import SGDP

RULES: dict[str, type[Rule]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adamp": AdamP,
    "sgdp": SGDP,
    "fsgdm": FSGDM,
    "adai": Adai,
    "adaiv2": AdaiV2,
    "sgd_c": SGD_C,
    "rmsprop_c": RMSprop_C,
    "adam_c": Adam_C,
    "adamw_c": AdamW_C,
    "frog": Frog,
    "kfrog": KFrog,
}

__all__ = [
    "FSGDM",
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
    "Array",
    "Convolution",
    "Frog",
    "Group",
    "KFrog",
    "Layer",
    "RMSprop",
    "RMSprop_C",
    "Rule",
    "Seen",
    "Sum",
    "init",
    "step",
]
