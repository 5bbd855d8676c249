"""What the optimizers accept, and in which words they refuse the rest, before anything is written."""

from collections.abc import Sequence
from inspect import Parameter, Signature
from itertools import pairwise
from numbers import Integral
from typing import Any, NoReturn

import numpy as np

from stepgauge.reference import Array, Group, Rule

BFLOAT16 = np.dtype(np.uint16)  # NumPy has no bfloat16: its bits, as torch's view(torch.uint16) gives them
DTYPES = (np.dtype(np.float32), np.dtype(np.float64), BFLOAT16)  # in the machine's own byte order


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
    _require_array("p", p)
    if p.dtype not in (np.float32, np.float64):
        raise TypeError(f"Invalid p: dtype {p.dtype} (must be float32 or float64, in native byte order)")
    arrays = {"p": p, "g": g, **state}
    for name, x in arrays.items():
        _require_like(name, x, p, "p")
        _require_layout(name, x, written=name != "g")
    return [x.reshape(-1) for x in arrays.values()]


def listed(params: Any) -> list[Array]:
    """The parameters as a list."""
    if isinstance(params, np.ndarray):
        raise TypeError("Invalid params: an array (must be a list of arrays: pass [params])")
    listed = list(params)
    if not listed:
        raise ValueError("no parameters: give at least one")
    return listed


def signature(rule: type[Rule]) -> Signature:
    """How an optimizer of the rule is constructed."""
    defaults = rule.defaults()
    hyperparameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=defaults.get(name, Parameter.empty))
        for name in rule.hyperparameter_names()
    ]
    options = {"dialect": "", "maximize": False, "threads": 1}
    return Signature(
        [
            Parameter("params", Parameter.POSITIONAL_OR_KEYWORD),
            *hyperparameters,
            *(Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in options.items()),
        ]
    )


def checked_threads(threads: Any) -> int:
    """The number of threads."""
    if isinstance(threads, bool) or not isinstance(threads, Integral) or int(threads) < 1:
        raise ValueError(f"Invalid threads: {threads!r} (must be an integer of at least 1)")
    return int(threads)


def checked_groups(rule: type[Rule], groups: Sequence[Group], count: int) -> list[Group]:
    """The groups of a model with so many parameters."""
    named: set[int] = set()
    for group in groups:
        if type(group.rule) is not rule:
            raise TypeError(f"Invalid group: has a {type(group.rule).__name__} (must be a {rule.__name__})")
        group.rule.require_own_dialect()
        for i in group.members:
            if not 0 <= i < count:
                raise ValueError(f"Invalid group: has parameter {i} (there are {count}, counted from 0)")
            if i in named:
                raise ValueError(f"Invalid groups: parameter {i} is in them twice (must be in one, once)")
            named.add(i)
    return [Group(rule, list(members)) for rule, members in groups]


def like(p: Array) -> Array:
    """An array of p's shape in the dtype of its state: float32 for bfloat16."""
    return np.empty(p.shape, np.float32) if p.dtype == BFLOAT16 else p


def require_parameter(i: int, p: Any) -> None:
    name = f"parameter {i}"
    _require_array(name, p)
    if p.dtype not in DTYPES:
        raise TypeError(
            f"Invalid {name}: dtype {p.dtype} (must be float32, float64, or uint16 for the bits of bfloat16, "
            "in native byte order)"
        )
    _require_layout(name, p, written=True)


def require_gradient(i: int, g: Any, p: Array) -> None:
    name = f"gradient {i}"
    _require_like(name, g, p, "its parameter")
    _require_layout(name, g, written=False)


def require_state(i: int, state: Any, rule: Rule) -> None:
    if not isinstance(state, rule.State):
        raise TypeError(f"Invalid state {i}: {type(state).__name__} (must be a {rule.State.__qualname__})")


def require_arrays(i: int, names: Sequence[str], arrays: Sequence[Any], like: Array) -> None:
    for name, x in zip(names, arrays, strict=False):  # what follows, a kernel made itself
        _require_like(f"{name} of parameter {i}", x, like, "the parameter")
        _require_layout(f"{name} of parameter {i}", x, written=True)


def require_apart(params: Sequence[Array], states: Sequence[Sequence[Array]]) -> None:
    """Refuse arrays that share memory, of which one would be written through the other."""
    named = [(memory(p), f"parameter {i}") for i, p in enumerate(params) if p.size]
    named += [(memory(x), f"the state of parameter {i}") for i, own in enumerate(states) for x in own if x.size]
    named.sort()
    for (before, one), (after, other) in pairwise(named):
        if after[0] < before[1]:
            raise ValueError(f"Invalid {other}: overlaps {one} (each is updated in place: pass a copy of one)")


def memory(x: Array) -> tuple[int, int]:
    """Where a contiguous array begins and ends."""
    start = x.ctypes.data
    return start, start + x.nbytes


def refuse_overlap(i: int, g: Array, params: Sequence[Array], states: Sequence[Sequence[Array]]) -> NoReturn:
    for j, (p, own) in enumerate(zip(params, states, strict=True)):
        for name, x in [(f"parameter {j}", p), *((f"the state of parameter {j}", x) for x in own)]:
            if np.shares_memory(g, x):
                raise ValueError(f"Invalid gradient {i}: overlaps {name}, which is updated in place: pass a copy of it")
    raise AssertionError(f"gradient {i} overlaps nothing")


def refuse_moved(name: str, x: Array, size: int) -> NoReturn:
    if x.size != size or x.flags.writeable:
        raise ValueError(f"Invalid {name}: resized or moved since the optimizer was built (build another one)")
    raise ValueError(f"Invalid {name}: read-only since the optimizer was built (is updated in place)")


def _require_array(name: str, x: Any) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"Invalid {name}: {type(x).__name__} (must be a NumPy array)")


def _require_like(name: str, x: Any, p: Array, of: str) -> None:
    _require_array(name, x)
    if x.dtype != p.dtype:
        raise TypeError(
            f"Invalid {name}: dtype {x.dtype} (must be {p.dtype} like {of}: pass x.astype({str(p.dtype)!r}))"
        )
    if x.shape != p.shape:
        raise ValueError(f"Invalid {name}: shape {x.shape} (must be {p.shape} like {of})")


def _require_layout(name: str, x: Array, written: bool) -> None:
    flags = x.flags
    if not (flags.c_contiguous and flags.aligned):
        fix = "must be C-contiguous and aligned: pass np.require(x, None, 'CA')"
        raise ValueError(f"Invalid {name}: strides {x.strides} ({fix})")
    if written and not flags.writeable:
        raise ValueError(f"Invalid {name}: read-only (is updated in place: pass x.copy())")
