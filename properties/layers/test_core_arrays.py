"""Law: the core steps arrays where they lie, takes bfloat16, and refuses in a sentence what it cannot step."""

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepgauge import core, reference
from stepgauge.properties.layers.test_core import bits, read_only
from stepgauge.reference import Array, Group

LR: dict[str, Any] = {"lr": 0.1}
every_rule = pytest.mark.parametrize("name", core.OPTIMIZERS)


def array(**changes: Any) -> Array:
    return np.ones(**{"shape": (3, 4), "dtype": np.float32, **changes})


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


# --- where it writes


@every_rule
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 1, 3)])
def test_a_step_writes_where_parameter_and_state_lie_and_nowhere_else(name: str, shape: tuple[int, ...]) -> None:
    p, g = normal(*shape), normal(*shape, seed=1)
    g_before, p_before = g.copy(), p.copy()
    optimizer = core.OPTIMIZERS[name]([p], **LR)
    optimizer.step([g])
    arrays = [x for x in optimizer.states[0] if isinstance(x, np.ndarray)]
    optimizer.step([g])
    assert optimizer.params[0] is p
    again = [x for x in optimizer.states[0] if isinstance(x, np.ndarray)]
    assert all(a is b for a, b in zip(arrays, again, strict=True)), "the state moved"
    assert not any(np.may_share_memory(x, g) for x in (p, *arrays))
    assert bits(g) == bits(g_before), "the gradient was written"
    assert not np.array_equal(p, p_before), "the parameter did not move"


def test_a_memory_mapped_parameter_is_stepped_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    normal(6).tofile(file)
    p = np.memmap(file, np.float64, "r+")
    core.SGD([p], lr=1.0).step([np.memmap(file, np.float64, "c") * 0 + 1])
    p.flush()
    assert np.array_equal(np.fromfile(file), normal(6) - 1)


# --- what it refuses

TURNED = array(shape=(4, 3)).T
BACKWARD = array()[::-1, ::-1]
SHIFTED = np.frombuffer(bytearray(49), np.uint8)[1:].view(np.float32).reshape(3, 4)
PARAMETERS: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": ([[1.0]], TypeError, "Invalid parameter 0: list .must be a NumPy array"),
    "a scalar": (np.float32(1), TypeError, "Invalid parameter 0: float32 .must be a NumPy array"),
    "of integers": (array(dtype=np.int64), TypeError, "Invalid parameter 0: dtype int64 .must be float32, float64"),
    "in float16": (array(dtype=np.float16), TypeError, "Invalid parameter 0: dtype float16"),
    "byte-swapped": (array(dtype=">f4"), TypeError, "Invalid parameter 0: dtype >f4"),
    "turned": (TURNED, ValueError, r"Invalid parameter 0: strides \(4, 12\) .must be C-contiguous"),
    "backward": (BACKWARD, ValueError, "Invalid parameter 0: strides .*must be C-contiguous"),
    "misaligned": (SHIFTED, ValueError, "Invalid parameter 0: strides .* aligned"),
    "read-only": (read_only(array()), ValueError, "Invalid parameter 0: read-only"),
}
GRADIENTS: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": ([[1.0]], TypeError, "Invalid gradient 0: list"),
    "in float64": (array(dtype=np.float64), TypeError, "Invalid gradient 0: dtype float64 .must be float32 like its p"),
    "byte-swapped": (array(dtype=">f4"), TypeError, "Invalid gradient 0: dtype >f4"),
    "of another shape": (array(shape=(4, 3)), ValueError, r"Invalid gradient 0: shape \(4, 3\) .must be \(3, 4\)"),
    "too short": (array(shape=(3, 1)), ValueError, "Invalid gradient 0: shape"),
    "stretched": (np.broadcast_to(np.float32(1), (3, 4)), ValueError, "Invalid gradient 0: strides"),
    "turned": (TURNED, ValueError, "Invalid gradient 0: strides"),
    "misaligned": (SHIFTED, ValueError, "Invalid gradient 0: strides"),
}


@pytest.mark.parametrize(("value", "error", "message"), PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_that_cannot_be_stepped_in_place_is_refused(
    value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        core.AdamP([value])


@pytest.mark.parametrize(("value", "error", "message"), GRADIENTS.values(), ids=GRADIENTS)
def test_a_gradient_that_does_not_fit_is_refused_before_anything_is_written(
    value: Any, error: type[Exception], message: str
) -> None:
    p = array()
    optimizer = core.AdamP([p, array()])
    message = message.replace("gradient 0", "gradient 1").replace("parameter 0", "parameter 1")
    optimizer.step([array(), array()])
    before = bits(p), bits(optimizer.states[0])
    with pytest.raises(error, match=message):
        optimizer.step([array(), value])
    assert (bits(p), bits(optimizer.states[0])) == before


def test_memory_that_is_written_is_nobody_elses() -> None:
    room = normal(20)
    with pytest.raises(ValueError, match="Invalid parameter 1: overlaps parameter 0"):
        core.SGD([room[:10], room[5:15]])
    p, q = room[:10], room[10:]
    optimizer = core.Adam([p, q])
    optimizer.step([normal(10), normal(10)])
    for g, whose in [
        (q, "parameter 1"),
        (room[3:13], "parameter 0"),
        (optimizer.states[1].exp_avg, "the state of parameter 1"),
    ]:
        with pytest.raises(ValueError, match=f"Invalid gradient 0: overlaps {whose}"):
            optimizer.step([g, None])
    same = normal(10)
    optimizer.step([same, same])  # gradients are read alone


@pytest.mark.parametrize("which", ["a parameter", "its state"])
@pytest.mark.parametrize("size", [1, 10**6])
def test_an_array_that_was_resized_is_refused(which: str, size: int) -> None:
    p = np.ones(1000)
    optimizer = core.SGD([p], lr=0.1, momentum=0.9)
    optimizer.step([np.ones(1000)])
    resized = p if which == "a parameter" else optimizer.states[0].momentum_buffer
    with pytest.raises(ValueError, match=r"refcheck|references"):
        resized.resize(size)  # NumPy sees that the optimizer holds it
    resized.resize(size, refcheck=False)
    with pytest.raises(ValueError, match="resized or moved since the optimizer was built"):
        optimizer.step([np.ones(p.size)])


def test_a_parameter_that_became_read_only_is_refused() -> None:
    p = np.ones(3)
    optimizer = core.SGD([p])
    p.flags.writeable = False
    with pytest.raises(ValueError, match="Invalid parameter 0: read-only since"):
        optimizer.step([np.ones(3)])


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no parameters: give at least one"):
        core.SGD([])
    with pytest.raises(TypeError, match=r"Invalid params: an array .must be a list"):
        core.SGD(np.ones(3))
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        core.SGD([np.ones(3), np.ones(2)]).step([np.ones(3)])
    with pytest.raises(ValueError, match=r"Invalid threads: 0 .must be an integer of at least 1"):
        core.SGD([np.ones(3)], threads=0)
    with pytest.raises(TypeError, match=r"Invalid group: has a Adam .must be a SGD"):
        core.SGD.from_groups([Group(reference.Adam(), [0])], [np.ones(3)])
    with pytest.raises(ValueError, match=r"Invalid groups: parameter 0 is in them twice"):
        core.SGD.from_groups([Group(reference.SGD(), [0, 0])], [np.ones(3)])
    with pytest.raises(ValueError, match=r"Invalid group: has parameter 1 .there are 1"):
        core.SGD.from_groups([Group(reference.SGD(), [1])], [np.ones(3)])


STATES: dict[str, tuple[Any, type[Exception], str]] = {
    "no state": (None, TypeError, r"Invalid state 0: NoneType .must be a AdamP\.State"),
    "of another shape": ((1, np.zeros(2), np.zeros(3)), ValueError, "Invalid exp_avg of parameter 0: shape"),
    "read-only": ((1, np.zeros(3), read_only(np.zeros(3))), ValueError, "Invalid exp_avg_sq of parameter 0: read-only"),
    "in float32": ((1, np.zeros(3), np.zeros(3, np.float32)), TypeError, "exp_avg_sq of parameter 0: dtype float32"),
}


@pytest.mark.parametrize(("fields", "error", "message"), STATES.values(), ids=STATES)
def test_a_state_that_does_not_fit_is_refused_and_the_old_one_kept(
    fields: Any, error: type[Exception], message: str
) -> None:
    optimizer = core.AdamP([np.ones(3)])
    optimizer.step([np.ones(3)])
    before = bits(optimizer.states[0])
    with pytest.raises(error, match=message):
        optimizer.states = [fields and reference.AdamP.State(*fields)]
    assert bits(optimizer.states[0]) == before


def test_a_step_within_a_step_is_refused() -> None:
    optimizer = core.SGD([np.ones(3)])

    def grads() -> Iterator[Array]:
        optimizer.step([np.ones(3)])
        yield np.ones(3)

    with pytest.raises(RuntimeError, match="a step is running"):
        optimizer.step(grads())
    optimizer.step([np.ones(3)])


# --- groups, and going on


def test_groups_have_hyperparameters_of_their_own_that_may_change() -> None:
    params = [normal(3, 4, seed=i) for i in range(3)]
    expected = [p.copy() for p in params]
    groups = [Group(reference.SGD(lr=0.1, momentum=0.9), [0, 2]), Group(reference.SGD(lr=0.5), [1])]
    states = reference.init(groups, expected)
    optimizer = core.SGD.from_groups(groups, params, maximize=True)
    for t in range(4):
        groups = [Group(rule.but(lr=0.1 / (t + 1), momentum=0.9 - t / 5), members) for rule, members in groups]
        grads = [None if (t + i) % 3 == 0 else normal(3, 4, seed=10 * t + i) for i in range(3)]
        expected, states = reference.step(groups, expected, grads, states, maximize=True)
        optimizer.groups = groups
        optimizer.step(grads)
    assert [bits(p) for p in params] == [bits(p) for p in expected]
    assert [bits(s) for s in optimizer.states] == [bits(s) for s in states]
    with pytest.raises(ValueError, match="Invalid groups: other members"):
        optimizer.groups = groups[:1]


def test_a_change_of_one_hyperparameter_is_checked() -> None:
    optimizer = core.SGD([np.ones(3)], lr=0.1)
    optimizer.set(lr=0.5)
    assert optimizer.groups == [Group(reference.SGD(lr=0.5), [0])]
    with pytest.raises(ValueError, match="Invalid lr: -1"):
        optimizer.set(lr=-1)


def test_a_buffer_has_the_slots_that_it_began_with() -> None:
    optimizer = core.SGD_C([np.ones(3)], topC=3)
    with pytest.raises(ValueError, match=r"Invalid topC: 2 .stays 3 once the optimizer is built"):
        optimizer.set(topC=2)


@every_rule
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_goes_on_as_the_original(name: str, duplicate: Any) -> None:
    original = core.OPTIMIZERS[name]([normal(3, 4), normal(5, seed=1)], **LR)
    grads = [[normal(3, 4, seed=t), normal(5, seed=t + 9) if t % 2 else None] for t in range(6)]
    for now in grads[:3]:
        original.step(now)
    twin = duplicate(original)
    for optimizer in (original, twin):
        for now in grads[3:]:
            optimizer.step(now)
    assert not any(a is b for a, b in zip(original.params, twin.params, strict=True))
    for a, b in zip(original.params, twin.params, strict=True):
        assert np.allclose(a, b, rtol=1e-14, atol=0) if name.endswith("_c") else bits(a) == bits(b)  # a new sum


# --- bfloat16


def widened(x: Any) -> Array:
    return (x.astype(np.uint32) << 16).view(np.float32)


def nearest(x: Array) -> Array:
    """The bfloat16 numbers nearest to finite float32 ones, of two that are as near the one with an even last bit."""
    below = (x.view(np.uint32) >> 16).astype(np.uint16)
    above = below + np.uint16(1)
    away, towards = (np.abs(widened(y).astype(np.float64) - x) for y in (below, above))
    return np.where((away < towards) | ((away == towards) & (below % 2 == 0)), below, above)


@every_rule
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 40), (2, 5000)])
def test_bfloat16_is_stepped_in_float32_and_rounded_once(name: str, maximize: bool, shape: tuple[int, ...]) -> None:
    p, *grads = (nearest(normal(*shape, seed=i, dtype=np.float32)) for i in range(4))
    twin = widened(p)
    optimizer, expected = (core.OPTIMIZERS[name]([x], maximize=maximize, **LR) for x in (p, twin))
    for g in grads:
        optimizer.step([g])
        expected.step([widened(g)])
        assert np.array_equal(p, nearest(twin))
        twin[...] = widened(p)
    assert [x.dtype for x in optimizer.states[0] if isinstance(x, np.ndarray)] == [
        x.dtype for x in expected.states[0] if isinstance(x, np.ndarray)
    ]


def test_rounding_to_bfloat16_takes_ties_to_even_and_keeps_what_is_not_finite() -> None:
    p = nearest(np.array([1.0, 1.0, 1.0, 1.0, 1.0], np.float32))
    half = 2.0**-8  # of the distance from 1 to the next bfloat16
    steps = np.array([half, 3 * half, np.nan, np.inf, -np.inf], np.float32)
    core.SGD([p], lr=1.0, maximize=True).step([(steps.view(np.uint32) >> 16).astype(np.uint16)])
    assert widened(p)[:2].tolist() == [1.0, 1 + 4 * half]
    assert np.isnan(widened(p)[2])
    assert widened(p)[3:].tolist() == [np.inf, -np.inf]
