"""The rules of `stepgauge.reference` as `torch.optim.Optimizer` classes, under torch's argument and state names.

Dense float32, float64 and bfloat16 parameters on the CPU are stepped by `stepgauge.core`, all of them together, in
place and, where they are contiguous, bit for bit like the reference. Everything else (GPUs, float16, slices, DTensor,
fake tensors) is stepped by one pure function of tensors per rule, which `torch.compile` takes whole.
"""

from stepgauge.torch_bind.adai import Adai
from stepgauge.torch_bind.adaiv2 import AdaiV2
from stepgauge.torch_bind.adam import Adam
from stepgauge.torch_bind.adam_c import Adam_C, Adam_C_eff
from stepgauge.torch_bind.adamp import AdamP
from stepgauge.torch_bind.adamw import AdamW
from stepgauge.torch_bind.adamw_c import AdamW_C, AdamW_C_eff
from stepgauge.torch_bind.bound import BoundOptimizer
from stepgauge.torch_bind.frog import Frog
from stepgauge.torch_bind.fsgdm import FSGDM
from stepgauge.torch_bind.kfrog import KFrog
from stepgauge.torch_bind.lion import Lion
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.rmsprop import RMSprop
from stepgauge.torch_bind.rmsprop_c import RMSprop_C, RMSprop_C_eff
from stepgauge.torch_bind.sgd import SGD
from stepgauge.torch_bind.sgd_c import SGD_C, SGD_C_eff
from stepgauge.torch_bind.sgdp import SGDP

RULES: dict[str, type[BoundOptimizer]] = {
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
    "AdamW_C_eff",
    "Adam_C",
    "Adam_C_eff",
    "BoundOptimizer",
    "Frog",
    "KFrog",
    "Lion",
    "RMSprop",
    "RMSprop_C",
    "RMSprop_C_eff",
    "RuleOptimizer",
    "SGD_C_eff",
]
