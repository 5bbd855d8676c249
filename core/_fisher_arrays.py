"""What the Fisher solves and the rules on them accept, checked before anything is written."""

from typing import Any

import numpy as np

from stepgauge.reference import Array
from stepgauge.reference.layers import LayerGradient

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # in the machine's own byte order
BLAS_LIMIT = 2**31 - 1  # BLAS counts rows and columns in C ints


def matrices(*, strided: str = "", **arrays: Any) -> list[Array]:
    """Matrices to be read, by their names, of the first one's dtype.

    They are copied where they are not C-contiguous, save one that may be `strided`.

    Raises:
        TypeError: not a NumPy array, or of a wrong dtype.
        ValueError: not a matrix, or too large for BLAS.
    """
    like, first = next(iter(arrays.items()))
    _require_floats(like, first)
    for name, x in arrays.items():
        _require_dtype(name, x, like, first)
        if x.ndim != 2 or max(x.shape) > BLAS_LIMIT:
            raise ValueError(f"Invalid {name}: shape {x.shape} (must be a matrix, of sides below 2^31)")
    return [np.require(x, requirements="A" if name == strided else ("C", "A")) for name, x in arrays.items()]


def tensor(name: str, x: Any) -> Array:
    """Images to be read, shape (samples, channels, height, width); copied where they are not C-contiguous.

    Raises:
        TypeError: not a NumPy array, or of a wrong dtype.
        ValueError: not of four axes.
    """
    _require_floats(name, x)
    if x.ndim != 4:
        raise ValueError(f"Invalid {name}: shape {x.shape} (must be (samples, channels, height, width))")
    return np.require(x, requirements=("C", "A"))


def require_system(X: Array, e: Array, **of_samples: Array) -> None:
    """Refuse matrices that are not (N, D), (C, D) and (N, C).

    Raises:
        ValueError: see there.
    """
    if e.shape[1] != X.shape[1]:
        raise ValueError(f"Invalid e: shape {e.shape} (must have {X.shape[1]} columns like X)")
    for name, S in of_samples.items():
        _require_shape(name, S, (len(X), len(e)))


def flattened(p: Any, grad: Any, **state: Any) -> list[Array]:
    """One-dimensional views of a parameter, its gradient and the arrays of its state; the gradient may be a copy.

    Raises:
        TypeError: not a NumPy array, or of a wrong dtype.
        ValueError: of a wrong shape, or not to be overwritten in place.
    """
    _require_floats("p", p)
    require_state("p", p, p, p.shape)
    for name, x in state.items():
        require_state(name, x, p, p.shape)
    _require_dtype("grad", grad, "p", p)
    _require_shape("grad", grad, p.shape)
    return [
        p.reshape(-1),
        np.require(grad, requirements=("C", "A")).reshape(-1),
        *(x.reshape(-1) for x in state.values()),
    ]


def require_layer(p: Array, g: LayerGradient, *, together: bool) -> list[Array]:
    """What a layer with the weights p saw: its inputs and its signals, in the same samples if `together`.

    Raises:
        TypeError: not a NumPy array, or of another dtype than p.
        ValueError: there are no samples; p, inputs and signals are no matrices that fit each other.
    """
    if g.samples < 1:
        raise ValueError(f"Invalid samples: {g.samples} (must be at least 1)")
    _, X, Y = matrices(p=p, inputs=g.inputs, signals=g.signals)
    _require_shape("inputs", X, (len(X), p.shape[1]))
    _require_shape("signals", Y, (len(X) if together else len(Y), len(p)))
    return [X, Y]


def require_state(name: str, x: Any, p: Array, shape: tuple[int, ...]) -> None:
    """Refuse what cannot be overwritten: an array of another dtype than p or another shape, or laid out otherwise.

    Raises:
        TypeError, ValueError: see there.
    """
    _require_dtype(name, x, "p", p)
    _require_shape(name, x, shape)
    if not (x.flags.c_contiguous and x.flags.aligned):
        fix = f"must be C-contiguous and aligned: pass np.require({name}, None, 'CA')"
        raise ValueError(f"Invalid {name}: strides {x.strides} ({fix})")
    if not x.flags.writeable:
        raise ValueError(f"Invalid {name}: read-only (is updated in place: pass {name}.copy())")


def _require_floats(name: str, x: Any) -> None:
    _require_array(name, x)
    if x.dtype not in DTYPES:
        raise TypeError(f"Invalid {name}: dtype {x.dtype} (must be float32 or float64, in native byte order)")


def _require_dtype(name: str, x: Any, like: str, first: Array) -> None:
    _require_array(name, x)
    if x.dtype != first.dtype:
        fix = f"must be {first.dtype} like {like}: pass {name}.astype({like}.dtype)"
        raise TypeError(f"Invalid {name}: dtype {x.dtype} ({fix})")


def _require_shape(name: str, x: Array, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(f"Invalid {name}: shape {x.shape} (must be {shape})")


def _require_array(name: str, x: Any) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"Invalid {name}: {type(x).__name__} (must be a NumPy array)")
