from collections.abc import Callable
from typing import Literal

from stepgauge.reference import Array

Form = Literal["parameter", "sample"]

def solve_fisher(
    X: Array,
    S: Array,
    e: Array,
    tau: float,
    num_iters: int,
    denom_eps: float = 0.0,
    *,
    guarded: bool = True,
    form: Form | None = None,
) -> Array: ...
def natural_direction(
    e: Array,
    X: Array,
    Y: Array,
    scale: float,
    tau: float,
    num_iters: int,
    denom_eps: float = 0.0,
    *,
    guarded: bool = True,
    form: Form | None = None,
) -> Array: ...
def solve_shared(
    X: Array,
    scale: float,
    e: Array,
    tau: float,
    num_iters: int,
    denom_eps: float,
    *,
    form: Literal["matrix", "sample"] | None = None,
) -> tuple[Array, Array]: ...
def conjugate_gradients(
    product: Callable[[Array, Array | None], Array],
    e: Array,
    tau: float,
    num_iters: int,
    denom_eps: float = 0.0,
    *,
    guarded: bool = True,
    normalised: bool = False,
) -> Array: ...
def weigh_outputs(Z: Array, S: Array) -> Array: ...
def cheaper_form(samples: int, cols: int, rows: int, iterations: int) -> Form: ...
def operations_in_samples(N: int, D: int, C: int, k: int) -> int: ...

class FisherProduct:
    def __init__(self, X: Array, S: Array) -> None: ...
    def __call__(self, P: Array, AP: Array | None) -> Array: ...

class MatrixProduct:
    def __init__(self, A: Array) -> None: ...
    def __call__(self, P: Array, AP: Array | None) -> Array: ...
