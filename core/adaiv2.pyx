"""AdaiV2 in place: see `stepgauge.reference.adaiv2` for the mathematics and its source."""

from stepgauge.core.adai cimport AdaiKernel

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer


cdef class AdaiV2Kernel(AdaiKernel):
    def __init__(self, rule):
        super().__init__(rule)
        d = rule.dampening
        self.c.lr = rule.lr * rule.betas[0] ** (1 - d)
        self.c.inertia = 1 / (3 - 2 * d)
        self.c.momentum = d
        self.c.tempered = d != 1


class AdaiV2(Optimizer):
    """AdaiV2 in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.AdaiV2
    kernel = AdaiV2Kernel
