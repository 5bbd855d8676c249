"""The rules of `stepgauge.reference` as `torch.optim.Optimizer` classes, under torch's argument and state names.

A contiguous float32 or float64 parameter on the CPU is stepped by `stepgauge.core`, in place and bit for bit like the
reference. Everything else (GPUs, bfloat16 and float16, other memory formats, DTensor, fake tensors) is stepped by one
pure function of tensors per rule, which `torch.compile` takes whole.
"""

from typing import Any

from stepgauge.torch_bind.adamp import AdamP
from stepgauge.torch_bind.frog import Frog
from stepgauge.torch_bind.kfrog import KFrog
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.sgd import SGD

RULES: dict[str, Any] = {"sgd": SGD, "adamp": AdamP, "frog": Frog, "kfrog": KFrog}  # classes, of two bases

__all__ = ["RULES", "SGD", "AdamP", "Frog", "KFrog", "RuleOptimizer"]
