"""What the kernels accept, said in one place, and checked before anything is written."""

from typing import Any

import numpy as np

from stepgauge.reference import Array

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # in the machine's own byte order


def flattened(p: Array, g: Array, **state: Array) -> list[Array]:
    """One-dimensional views, without a copy, of a parameter, its gradient and the arrays of its state.

    Args:
        p: the parameter, float32 or float64, of any shape; to be overwritten, like the arrays of the state.
        g: the gradient, of p's shape and dtype; may be read-only.
        **state: the arrays of the state, of p's shape and dtype, under their names.

    Raises:
        TypeError: not a NumPy array, or of a wrong dtype.
        ValueError: of a wrong shape, or not laid out as the kernels need it.
    """
    _check_type("p", p)
    if p.dtype not in DTYPES:
        raise TypeError(f"Invalid p: dtype {p.dtype} (must be float32 or float64, in native byte order)")
    arrays = {"p": p, "g": g, **state}
    for name, x in arrays.items():
        _check_like(name, x, p)
        _check_layout(name, x, written=name != "g")
    return [x.reshape(-1) for x in arrays.values()]


def _check_type(name: str, x: Any) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"Invalid {name}: {type(x).__name__} (must be a NumPy array)")


def _check_like(name: str, x: Array, p: Array) -> None:
    _check_type(name, x)
    if x.dtype != p.dtype:
        raise TypeError(f"Invalid {name}: dtype {x.dtype} (must be {p.dtype} like p: pass {name}.astype(p.dtype))")
    if x.shape != p.shape:
        raise ValueError(f"Invalid {name}: shape {x.shape} (must be {p.shape} like p)")


def _check_layout(name: str, x: Array, written: bool) -> None:
    flags = x.flags
    if not (flags.c_contiguous and flags.aligned):
        fix = f"must be C-contiguous and aligned: pass np.require({name}, None, 'CA')"
        raise ValueError(f"Invalid {name}: strides {x.strides} ({fix})")
    if written and not flags.writeable:
        raise ValueError(f"Invalid {name}: read-only (is updated in place: pass {name}.copy())")
