from stepgauge import reference
from stepgauge.reference import Array, Sum

class AdamP(reference.AdamP):
    def step(
        self, p: Array, g: Array, s: reference.AdamP.State, pooled: Sum | None = None
    ) -> tuple[Array, reference.AdamP.State]: ...
