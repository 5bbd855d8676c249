"""Wrong ports of optimizers, which a verifier of their rules has to tell apart.

Each is what a careful but fallible reader of the paper or of the authors' code might write. None
of them computes the published rule for all legal inputs and hyperparameters, nor what the
released code computes.
"""

from stepgauge.properties.meta.misreadings import adai, adamp, baselines, critical, frog, fsgdm, sgdp

MISREADINGS = (
    *adamp.MISREADINGS,
    *sgdp.MISREADINGS,
    *fsgdm.MISREADINGS,
    *adai.MISREADINGS,
    *baselines.MISREADINGS,
    *critical.MISREADINGS,
    *frog.MISREADINGS,
)
