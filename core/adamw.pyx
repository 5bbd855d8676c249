"""AdamW in place: see `stepgauge.reference.adamw` for the mathematics and its source."""

from stepgauge.core.adam cimport AdamKernel

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class AdamWKernel(AdamKernel):
    def __init__(self, rule):
        super().__init__(rule)
        self.c.keep = 1 - rule.lr * rule.weight_decay
        self.c.decays = False


class AdamW(Optimizer):
    """AdamW, as torch.optim computes it, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.AdamW
    kernel = AdamWKernel
