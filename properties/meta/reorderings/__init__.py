"""Right ports of optimizers in other orders of floating-point operations.

Each computes the published rule and rounds differently from the plain port. A verifier must
accept all of them.
"""

from stepgauge.properties.meta.reorderings import baselines, critical, fisher, fsgdm, inertia, projected

REORDERINGS = (
    *projected.REORDERINGS,
    *fsgdm.REORDERINGS,
    *inertia.REORDERINGS,
    *baselines.REORDERINGS,
    *critical.REORDERINGS,
    *fisher.REORDERINGS,
)
