from typing import ClassVar, Literal

from stepgauge import reference
from stepgauge.reference import Array, Sum
from stepgauge.reference.layers import LayerGradient

class Frog(reference.Frog):
    form: ClassVar[Literal["parameter", "sample"] | None]

    def step(
        self, p: Array, g: Array | LayerGradient, s: reference.Frog.State, pooled: Sum | None = None
    ) -> tuple[Array, reference.Frog.State]: ...
