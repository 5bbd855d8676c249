"""The ground truth: every rule as a pure NumPy function that reads like its paper, in float64 or float32.

A rule is added as one file here and one line below: the rules, in this order, are what is imported.
"""
# ruff: noqa: I001  # sorted, the baselines would no longer come before what is built on them

from stepgauge.reference.driver import Group as Group, init as init, step as step
from stepgauge.reference.layers import Convolution as Convolution, Layer as Layer, Seen as Seen
from stepgauge.reference.rule import Array as Array, Rule as Rule, Sum as Sum, by_name

from stepgauge.reference.sgd import SGD as SGD
from stepgauge.reference.adam import Adam as Adam
from stepgauge.reference.adamw import AdamW as AdamW
from stepgauge.reference.rmsprop import RMSprop as RMSprop
from stepgauge.reference.adamp import AdamP as AdamP
from stepgauge.reference.sgdp import SGDP as SGDP
from stepgauge.reference.fsgdm import FSGDM as FSGDM
from stepgauge.reference.adai import Adai as Adai
from stepgauge.reference.adaiv2 import AdaiV2 as AdaiV2
from stepgauge.reference.sgd_c import SGD_C as SGD_C
from stepgauge.reference.rmsprop_c import RMSprop_C as RMSprop_C
from stepgauge.reference.adam_c import Adam_C as Adam_C
from stepgauge.reference.adamw_c import AdamW_C as AdamW_C
from stepgauge.reference.frog import Frog as Frog
from stepgauge.reference.kfrog import KFrog as KFrog
from stepgauge.reference.lion import Lion as Lion

RULES: dict[str, type[Rule]] = by_name(
    rule for rule in tuple(vars().values()) if isinstance(rule, type) and issubclass(rule, Rule) and rule is not Rule
)
