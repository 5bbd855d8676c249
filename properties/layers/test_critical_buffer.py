"""What the buffers of critical gradients hold: against brute force, and against each other.

`test_critical_gradients.py` has the laws of what targets show.
"""

import heapq
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from stepgauge.reference import SGD, SGD_C, Adam_C, AdamW_C, Array, Group, RMSprop_C, init, step
from stepgauge.reference.critical import Critical
from stepgauge.reference.critical_buffer import Entry, ReleasedHeap, RunningSum, TopC

KEYS = st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0]) | st.floats(1e-3, 1e3)  # the first are equal now and then


def _exact_sum(buffer: TopC | RunningSum) -> Array:
    """The sum of what is stored, rounded once."""
    stored = np.array([entry.value for entry in buffer.entries], dtype=np.float64)
    return np.array([math.fsum(column) for column in stored.T])


def _drift(capacity: int, updates: int, u: float) -> float:
    """How far the running mean may be off, in units of the largest value.

    An update adds one value to at most C and subtracts one from at most C + 1: both results round by u, and all that
    is divided by C. The further update is for the roundings of the exact sum and of the quotient.
    """
    return (2 * capacity + 1) / capacity * (updates + 1) * u


class BufferMachine(RuleBasedStateMachine):
    """The exact buffer beside a sort over everything that was ever offered.

    The model keeps (key, order of arrival, value) of all accepted and refused gradients. Of equal keys the older
    stays: an incoming equal is refused, and of equal smallest the newest leaves.
    """

    capacity = 3
    decay = 0.7

    def __init__(self) -> None:
        super().__init__()
        self.buffer = TopC()
        self.running = RunningSum()
        self.past: list[tuple[float, int]] = []
        self.arrivals = 0

    @rule(key=KEYS)
    def insert(self, key: float) -> None:
        value = np.array([float(self.arrivals), key])
        self.buffer = self.buffer.insert(key, value, self.capacity)
        self.running = self.running.insert(key, value, self.capacity)
        self.past.append((key, -self.arrivals))
        self.past = heapq.nlargest(self.capacity, self.past)  # what has left can never return: keys decay alike
        self.arrivals += 1

    @rule(key=st.sampled_from([math.nan, math.inf]))
    def insert_what_is_not_finite(self, key: float) -> None:
        self.buffer = self.buffer.insert(key, np.full(2, key), self.capacity)

    @rule()
    def decay_keys(self) -> None:
        self.buffer = self.buffer.decayed(self.decay)
        self.running = self.running.decayed(self.decay)
        self.past = [(key * self.decay, order) for key, order in self.past]

    @invariant()
    def holds_the_largest(self) -> None:
        """What is stored are the largest of all keys so far, decayed."""
        held = sorted((entry.key, -int(entry.value[0])) for entry in self.buffer.entries)
        assert held == sorted(self.past)

    @invariant()
    def is_full_or_holds_all(self) -> None:
        """There are as many entries as steps, up to the capacity."""
        assert len(self.buffer.entries) == min(self.arrivals, self.capacity)

    @invariant()
    def running_sum_holds_keys_as_large(self) -> None:
        """Among equal keys it may keep another gradient; the keys are the same."""
        assert sorted(self.running.keys) == sorted(self.buffer.keys)

    @invariant()
    def running_sum_is_the_sum(self) -> None:
        """The sum that is kept is that of what is stored, up to the roundings of its updates."""
        if self.running.entries:
            off = np.abs(self.running.sum - _exact_sum(self.running))
            largest = 1e3 + self.arrivals
            assert np.all(off <= _drift(self.capacity, self.arrivals, 2.0**-53) * self.capacity * largest)


@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.parametrize("decay", [0.5, 0.99, 1.0])
def test_buffer_is_the_brute_force_model(capacity: int, decay: float) -> None:
    machine = type("Machine", (BufferMachine,), {"capacity": capacity, "decay": decay})
    run_state_machine_as_test(machine, settings=settings(derandomize=True, deadline=None, max_examples=60))


NORMS = st.lists(st.floats(0.05, 20), min_size=8, max_size=40)


def _filled(buffer: Any, norms: list[float], capacity: int, decay: float) -> Any:
    for t, norm in enumerate(norms):
        buffer = buffer.insert(norm, np.array([float(t)]), capacity).decayed(decay)
    return buffer


@settings(derandomize=True, deadline=None)
@given(NORMS, st.integers(1, 5), st.floats(0.3, 0.999))
def test_c2_order_of_logarithms(norms: list[float], capacity: int, decay: float) -> None:
    """What is stored are the C largest of ln N_s - s ln d: one order for all times."""
    held = {int(entry.value[0]) for entry in _filled(TopC(), norms, capacity, decay).entries}
    ranks = [math.log(norm) - s * math.log(decay) for s, norm in enumerate(norms)]
    lowest_held = min(ranks[s] for s in held)
    highest_left = max((rank for s, rank in enumerate(ranks) if s not in held), default=-math.inf)
    assert highest_left <= lowest_held + 1e-9  # equal but for rounding counts as a tie


@settings(derandomize=True, deadline=None)
@given(NORMS, st.integers(1, 5), st.floats(0.3, 0.95))
def test_c4_age_is_bounded(norms: list[float], capacity: int, decay: float) -> None:
    """With norms in [a, b] nothing stays longer than C + ceil(ln(b / a) / ln(1 / d)) steps."""
    bound = capacity + math.ceil(math.log(max(norms) / min(norms)) / math.log(1 / decay))
    buffer = TopC()
    for t, norm in enumerate(norms):
        buffer = buffer.insert(norm, np.array([float(t)]), capacity).decayed(decay)
        if len(buffer.entries) == capacity:
            assert all(t - int(entry.value[0]) <= bound for entry in buffer.entries)


@settings(derandomize=True, deadline=None)
@given(NORMS, st.integers(2, 5), st.floats(0.3, 0.999))
def test_c3_the_released_heap_drops_the_smallest_but_may_refuse_a_larger(
    norms: list[float], capacity: int, decay: float
) -> None:
    """It polls no less than the smallest key, drops only the smallest, and holds no more than the exact buffer."""
    heap = ReleasedHeap()
    for t, norm in enumerate(norms):
        before = heap.keys
        heap = heap.insert(norm, np.array([float(t)]), capacity)
        if len(before) == capacity:
            assert before[0] >= min(before)
            assert sorted(heap.keys) in (sorted(before), sorted((*before, norm))[1:])
        heap = heap.decayed(decay)
    assert sum(heap.keys) <= sum(_filled(TopC(), norms, capacity, decay).keys) * (1 + 1e-12)


def test_c3_minimal_example() -> None:
    """Keys 1, 5, 2, then 6: the heap is [5, 2, 6], polls 5, and refuses 3 where 2 is the smallest."""
    heap, exact = (_filled(buffer, [1.0, 5.0, 2.0, 6.0], 3, 1.0) for buffer in (ReleasedHeap(), TopC()))
    assert heap.keys == (5.0, 2.0, 6.0)
    assert heap.insert(3.0, np.zeros(1), 3) == heap
    assert sorted(exact.insert(3.0, np.zeros(1), 3).keys) == [3.0, 5.0, 6.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("capacity", [1, 5])
def test_c5_running_sum_drifts_within_its_bound(capacity: int, dtype: type) -> None:
    """It is off by rounding alone, and it is: the exact buffers, which sum afresh, do not drift."""
    rng = np.random.default_rng(0)
    running, fresh, updates, drifted = RunningSum(), TopC(), 0, False
    u = float(np.finfo(dtype).eps) / 2
    for _ in range(2000):
        key = float(rng.uniform(0.5, 1))
        value: Array = np.tanh(rng.standard_normal(3)).astype(
            dtype
        )  # below 1 with all digits, where uniform ones add exactly
        before = running.keys
        running = running.insert(key, value, capacity).decayed(0.7)
        fresh = fresh.insert(key, value, capacity).decayed(0.7)
        updates += running.keys != tuple(k * 0.7 for k in before)
        size = len(running.entries)
        off = np.abs(running.sum / size - _exact_sum(running) / size)
        assert np.all(off <= _drift(capacity, updates, u))
        assert np.all(np.abs(fresh.sum - _exact_sum(fresh)) <= capacity * capacity * u)  # C - 1 sums of at most C
        drifted |= bool(np.any(off > capacity * u))
    assert updates > 1000
    assert drifted


def test_entries_compare_by_key_alone() -> None:
    assert Entry(1.0, np.ones(2)) < Entry(2.0, np.zeros(2))
    assert not Entry(1.0, np.ones(2)) < Entry(1.0, np.zeros(2))


def _quadratic(rule_: SGD_C, steps: int) -> float:
    """The distance to the minimum of (x^2 + 0.3 y^2) / 2 after some steps from (1, 1)."""
    curvature = np.array([1.0, 0.3])
    groups, params = [Group(rule_, [0])], [np.ones(2)]
    states = init(groups, params)
    for _ in range(steps):
        params, states = step(groups, params, [curvature * params[0]], states)
    return float(np.max(np.abs(params[0])))


def test_c9_it_converges_only_if_it_forgets() -> None:
    """With decay 1 the first, largest gradients are kept for ever."""
    remembering, forgetting = (SGD_C(lr=0.05, topC=5, decay=decay) for decay in (1.0, 0.9))
    assert _quadratic(forgetting, 2000) < 1e-20
    assert _quadratic(remembering, 2000) > 0.1


@pytest.mark.parametrize(("aggr", "expected"), [("sum", 119.0), ("mean", 60.0), ("mid", 60.0)])
def test_c10_sum_is_about_twice_the_rate(aggr: str, expected: float) -> None:
    """Under a constant gradient the sum moves 1 + 2 (T - 1) gradients in T steps, the others T."""
    rule_ = SGD_C(lr=1.0, aggr=aggr)
    groups, params = [Group(rule_, [0])], [np.zeros(3)]
    states = init(groups, params)
    for _ in range(60):
        params, states = step(groups, params, [np.ones(3)], states)
    assert params[0] == pytest.approx(-expected, rel=1e-13)


CRITICAL = [SGD_C(lr=0.1, topC=3), RMSprop_C(topC=3), Adam_C(topC=3), AdamW_C(topC=3)]


def _buffers(rule_: Critical, sequence: list[list[Array]]) -> list[TopC]:
    """What each parameter's buffer holds at the end."""
    groups, params = [Group(rule_, range(len(sequence[0])))], [np.zeros_like(g) for g in sequence[0]]
    states = init(groups, params)
    for grads in sequence:
        params, states = step(groups, params, grads, states)
    return [state.buffer for state in states]


def _uneven_gradients() -> list[list[Array]]:
    """Of two parameters, in 16 steps, with norms apart by decades; of few binary digits, so that they map exactly."""
    rng = np.random.default_rng(0)
    return [
        [2.0 ** rng.integers(-5, 6) * np.round(64 * rng.standard_normal(size)) / 64 for size in (4, 8)]
        for _ in range(16)
    ]


@pytest.mark.parametrize("dialect", Critical.dialects)
@pytest.mark.parametrize("rule_", CRITICAL, ids=lambda rule_: type(rule_).__name__)
def test_c7_scale_does_not_move_decisions(rule_: Critical, dialect: str) -> None:
    """Gradients times 2^k are stored in the same steps, keys and values times 2^k bit for bit."""
    sequence = _uneven_gradients()
    rule_ = rule_.but(dialect=dialect)
    louder = _buffers(rule_, [[2.0**9 * g for g in grads] for grads in sequence])
    for buffer, loud in zip(_buffers(rule_, sequence), louder, strict=True):
        assert loud.keys == tuple(2.0**9 * key for key in buffer.keys)
        assert np.array_equal(_stored(loud), 2.0**9 * _stored(buffer))


@pytest.mark.parametrize("dialect", Critical.dialects)
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("rule_", CRITICAL, ids=lambda rule_: type(rule_).__name__)
def test_c8_rotating_a_parameter_does_not_move_decisions(rule_: Critical, synced: bool, dialect: str) -> None:
    """Keys are Euclidean norms: each parameter turned by itself, the same steps are stored."""
    turn = np.array([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # orthogonal, exact in binary
    sequence = _uneven_gradients()
    rule_ = rule_.but(synced=synced, dialect=dialect)
    turned = _buffers(rule_, [[(g.reshape(-1, 4) @ turn).ravel() for g in grads] for grads in sequence])
    for buffer, other in zip(_buffers(rule_, sequence), turned, strict=True):
        assert np.array_equal(_stored(other), (_stored(buffer).reshape(-1, 4) @ turn).reshape(3, -1))


def _stored(buffer: TopC) -> Array:
    return np.array([entry.value for entry in buffer.entries])


@pytest.mark.parametrize(("synced", "kept"), [(True, 1.0), (False, 2.0)])
def test_c8_synced_keys_are_sums_over_the_group(synced: bool, kept: float) -> None:
    """Pooled norms of 1 + 5 and 2 + 0.1: the first step's gradient stays where alone the second would replace it."""
    rule_ = SGD_C(lr=0.1, topC=1, decay=0.9, synced=synced)
    first, second = [np.array([1.0]), np.array([3.0, 4.0])], [np.array([2.0]), np.array([0.0, 0.1])]
    assert _stored(_buffers(rule_, [first, second])[0]) == kept


@pytest.mark.parametrize(("aggr", "factor"), [("sum", 1.0), ("mid", 1 / 2), ("mean", 1 / 3)])
def test_c6_aggregates_jump_at_kappa_0(aggr: str, factor: float) -> None:
    """However small kappa, mid halves the gradient and mean divides it by |B| + 1; kappa = 0 passes the buffer by."""
    for kappa, expected in ((1e-300, factor), (0.0, 1.0)):
        rule_ = SGD_C(lr=1.0, aggr=aggr, kappa=kappa)
        p: Array = np.zeros(2)
        s = rule_.init(p)
        for _ in range(3):
            before = p
            p, s = rule_.step(p, np.array([3.0, 6.0]), s)
        # The buffer holds two gradients in step 3; a dozen roundings of numbers up to 18.
        assert before - p == pytest.approx(expected * np.array([3.0, 6.0]), rel=0, abs=12 * 18 * 2.0**-53)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradient_that_is_not_finite_is_not_stored(bad: float) -> None:
    """It goes into the parameter as in the vanilla rule, and is forgotten."""
    rule_, vanilla = SGD_C(lr=0.1), SGD(lr=0.1)
    p, g = np.ones(2), np.array([bad, 1.0])
    moved, state = rule_.step(p, g, rule_.init(p))
    assert np.array_equal(moved, vanilla.step(p, g, vanilla.init(p))[0], equal_nan=True)
    assert state.buffer.entries == ()


def test_parameter_without_gradient_keeps_its_keys() -> None:
    groups = [Group(SGD_C(lr=0.1, decay=0.5), [0, 1])]
    params: list[Array] = [np.ones(2), np.ones(2)]
    params, states = step(groups, params, [np.ones(2), np.ones(2)], init(groups, params))
    _, after = step(groups, params, [np.ones(2), None], states)
    assert after[1].buffer.keys == states[1].buffer.keys
    assert after[0].buffer.keys[0] == states[0].buffer.keys[0] * 0.5
