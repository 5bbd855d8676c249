"""The ground truth: every rule as a pure NumPy function that reads like its paper, in float64 or float32.

A rule is added as one file here and one row in `RULES`.
"""

from stepgauge.reference.adam import Adam
from stepgauge.reference.adamp import AdamP
from stepgauge.reference.adamw import AdamW
from stepgauge.reference.driver import Group, init, step
from stepgauge.reference.fsgdm import FSGDM
from stepgauge.reference.rmsprop import RMSprop
from stepgauge.reference.rule import Array, Rule, Sum
from stepgauge.reference.sgd import SGD
from stepgauge.reference.sgdp import SGDP

RULES: dict[str, type[Rule]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adamp": AdamP,
    "sgdp": SGDP,
    "fsgdm": FSGDM,
}

__all__ = [
    "FSGDM",
    "RULES",
    "SGD",
    "SGDP",
    "Adam",
    "AdamP",
    "AdamW",
    "Array",
    "Group",
    "RMSprop",
    "Rule",
    "Sum",
    "init",
    "step",
]
