"""The shapes of what is stepped: one large tensor, a network's, and many small ones."""

from collections.abc import Iterator

import numpy as np

from stepgauge.reference import Array

Shape = tuple[int, ...]
WIDTHS = (64, 128, 256, 512)


def resnet18() -> Iterator[Shape]:
    """The shapes of its 62 tensors."""
    yield from [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width in WIDTHS:
        for block in range(2):
            yield from [(width, inputs, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and inputs != width:
                yield from [(width, inputs, 1, 1), (width,), (width,)]
            inputs = width
    yield from [(1000, 512), (1000,)]


MODELS: dict[str, list[Shape]] = {"10M": [(2500, 4000)], "ResNet-18": list(resnet18()), "1000 x 1k": [(25, 40)] * 1000}


def arrays(shapes: list[Shape], scale: float, seed: int) -> list[Array]:
    """Random ones in float32."""
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.standard_normal(shape), np.float32) for shape in shapes]
