from typing import ClassVar, Literal

from stepgauge import reference
from stepgauge.reference import Array, Sum
from stepgauge.reference.layers import LayerGradient

class KFrog(reference.KFrog):
    form: ClassVar[Literal["matrix", "sample"] | None]

    def step(
        self, p: Array, g: Array | LayerGradient, s: reference.KFrog.State, pooled: Sum | None = None
    ) -> tuple[Array, reference.KFrog.State]: ...
