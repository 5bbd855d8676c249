from stepgauge import reference
from stepgauge.reference import Array, Sum

class SGD(reference.SGD):
    def step(
        self, p: Array, g: Array, s: reference.SGD.State, pooled: Sum | None = None
    ) -> tuple[Array, reference.SGD.State]: ...
