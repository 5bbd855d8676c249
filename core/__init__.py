"""The rules of `stepgauge.reference` in Cython: in place, in one fused pass, for float32 and float64 CPU arrays.

A class here has the name, the hyperparameters, the state and the methods of its reference, so that
`stepgauge.reference.step` drives either. It differs in that `step` overwrites the parameter and the arrays of the
state, and returns those same objects; the gradient is only read. The numbers are the reference's, bit for bit
(save which of its many forms a NaN takes), at the same dtype: the same operations in the same order, on every
instruction set.
"""

from stepgauge.core._fisher import solve_fisher
from stepgauge.core.adamp import AdamP
from stepgauge.core.frog import Frog
from stepgauge.core.kfrog import KFrog
from stepgauge.core.sgd import SGD
from stepgauge.reference import Rule

RULES: dict[str, type[Rule]] = {"sgd": SGD, "adamp": AdamP, "frog": Frog, "kfrog": KFrog}

__all__ = ["RULES", "SGD", "AdamP", "Frog", "KFrog", "solve_fisher"]
