from stepgauge import reference
from stepgauge.reference import Array, Sum
from stepgauge.reference.layers import LayerGradient

class KFrog(reference.KFrog):
    def step(
        self, p: Array, g: Array | LayerGradient, s: reference.KFrog.State, pooled: Sum | None = None
    ) -> tuple[Array, reference.KFrog.State]: ...
