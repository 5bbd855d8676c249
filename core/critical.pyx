"""Critical gradients in place: see `stepgauge.reference.critical` and `critical_buffer` for the mathematics.

A buffer is C slots and the sum of what they hold. The sum is kept, not taken: a new gradient is added and what it
overwrites is subtracted, which leaves their rounding behind. So it is taken anew, in the order of the entries, as soon
as what has rounded since could weigh more than `DRIFT` roundoffs of the norms in the buffer: every `DRIFT` gradients or
so, and at once when a large gradient leaves small ones. (`released_eff` keeps its sum for good, as the rule says.)
"""

import heapq

import numpy as np

from cython cimport floating
from libc.math cimport INFINITY, isfinite, sqrt, sqrtf

from stepgauge.core.adam cimport AdamKernel
from stepgauge.core.adamw cimport AdamWKernel
from stepgauge.core.instruction_sets cimport clones
from stepgauge.core.optimizer cimport FLOAT64, Kernel, Span, Tensor
from stepgauge.core.rmsprop cimport RMSpropKernel
from stepgauge.core.sgd cimport SGDKernel
from stepgauge.core.sums cimport sum_squares

from stepgauge import reference
from stepgauge.core.optimizer import Optimizer
from stepgauge.reference.critical_buffer import Entry, RunningSum

cdef enum:
    SUM = 3  # where the arrays of the buffer lie among those of the state, after those of the base rule
    SLOTS
    KEYS
    NORMS
    ORDER
    ROUNDED
    CHUNK = 1024  # elements: with all that moves, well within a first cache

cdef double DRIFT = 16

cdef enum Aggregation:
    PASS_BY
    WITH_MEAN  # "sum"
    MID
    MEAN

NOTHING = np.empty(0)  # stands for an array that the base rule does not have
BASES = {
    reference.SGD: SGDKernel, reference.Adam: AdamKernel, reference.AdamW: AdamWKernel,
    reference.RMSprop: RMSpropKernel,
}

cdef struct Scalars:
    double kappa, decay, weight_decay
    Aggregation aggregation
    bint decays


cdef class CriticalKernel(Kernel):
    cdef Scalars c
    cdef Kernel base
    cdef Py_ssize_t capacity
    cdef bint synced, heap, running
    cdef double key

    def __init__(self, rule):
        super().__init__(rule)
        published = rule.dialect == "published"
        self.running, self.heap = rule.dialect == "released_eff", rule.dialect == "released"
        aggregation = {"sum": WITH_MEAN, "mid": MID, "mean": MEAN}[rule.aggr]
        decays = isinstance(rule, reference.SGD_C)  # before the buffer; elsewhere the base rule does it
        self.c = Scalars(
            kappa=rule.kappa if (published or rule.honours_kappa) and not self.running else 1, decay=rule.decay,
            weight_decay=rule.weight_decay, decays=decays,
            aggregation=PASS_BY if rule.kappa == 0 else WITH_MEAN if self.running else aggregation,
        )
        self.base = BASES[type(rule.base)](rule.base)
        self.capacity, self.synced, self.pools = rule.topC, rule.synced, True

    def layout(self):
        return self.rule.topC, self.rule.dialect, self.base.layout()

    def names(self):
        return self.base.names()

    def arrays_of(self, state, like):
        own = self.base.arrays_of(state.base, like)
        entries = state.buffer.entries
        slots = np.empty((self.capacity, *like.shape), like.dtype)
        for k in range(len(entries)):
            slots[k] = entries[k].value
        total = np.zeros(like.shape, like.dtype)
        if entries:
            total[...] = state.buffer.sum
        keys, norms = np.zeros((2, self.capacity))
        keys[:len(entries)] = state.buffer.keys
        norms[:len(entries)] = [np.linalg.norm(entry.value.astype(np.float64)) for entry in entries]
        bookkeeping = keys, norms, np.arange(self.capacity), np.zeros(1)
        return [*own, *[NOTHING] * (SUM - len(own)), total, slots, *bookkeeping]

    def counts(self, state):
        step, started, _ = self.base.counts(state.base)
        return step, started, len(state.buffer.entries)

    def state_of(self, like, held, counts):
        own = [x for x in held[:SUM] if x is not NOTHING]
        slots, keys = held[SLOTS], held[KEYS]
        entries = tuple([Entry(float(keys[k]), slots[k, ...]) for k in held[ORDER][:counts[2]]])
        buffer = self.rule.init(like).buffer._replace(entries=entries)
        if isinstance(buffer, RunningSum) and entries:
            buffer = buffer._replace(sum=held[SUM])
        return self.rule.State(buffer, self.base.state_of(like, own, counts))

    cdef void attend(self, Tensor* x) noexcept:
        cdef double* keys = <double*>x.state[KEYS]
        cdef Py_ssize_t k
        x.entries = 0
        for k in range(self.capacity):
            x.entries += keys[k] != -INFINITY  # which marks an empty slot; no norm is negative

    cdef int begin(self, Tensor* x) except -1:
        return self.base.begin(x)

    cdef void examine(self, Tensor* x, Span s) noexcept nogil:
        x.total = norm(x, s.g, s.size)
        x.weight = x.total
        if self.c.decays and self.c.weight_decay > 0:
            x.weight += self.c.weight_decay * norm(x, s.p, s.size)

    cdef int pool(self, double total, Py_ssize_t elements) except -1:
        self.key = total
        return 0

    cdef int decide(self, Tensor* x) except -1:
        """Which slot the gradient of this step takes, if any; and let the keys decay."""
        cdef double* keys = <double*>x.state[KEYS]
        cdef double key = self.key if self.synced else x.total
        cdef Py_ssize_t k
        x.held = x.entries
        x.slot, x.evicts, x.resums = -1, False, False
        if self.heap:
            insert_in_heap(x, key, self.capacity)
        elif self.running or isfinite(key):
            insert(x, key, self.capacity, self.running)
        if x.slot >= 0:
            weigh(x, not self.running)
        for k in range(x.entries):
            keys[(<Py_ssize_t*>x.state[ORDER])[k]] *= self.c.decay
        return 0

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        cdef double doubles[2 * CHUNK]
        if x.storage == FLOAT64:
            descend(self, x, s, <double*>doubles)
        else:
            descend(self, x, s, <float*>doubles)


cdef inline double norm(Tensor* x, const void* g, Py_ssize_t n) noexcept nogil:
    cdef double squares
    cdef float narrow
    if x.storage == FLOAT64:
        sum_squares(<const double*>g, n, &squares)
        return sqrt(squares)
    sum_squares(<const float*>g, n, &narrow)
    return sqrtf(narrow)


cdef void insert(Tensor* x, double key, Py_ssize_t capacity, bint in_place):
    """Exact: the weakest leaves if it is weaker, the newest of equals; the new one comes last, or takes its place."""
    cdef double* keys = <double*>x.state[KEYS]
    cdef Py_ssize_t* order = <Py_ssize_t*>x.state[ORDER]
    cdef Py_ssize_t k, weakest = 0
    if x.entries < capacity:
        x.slot = order[x.entries]
        x.entries += 1
    else:
        for k in range(1, capacity):
            if not in_place and keys[order[k]] <= keys[order[weakest]]:
                weakest = k
            elif in_place and (keys[order[k]] < keys[order[weakest]] or is_first_nan(keys, order, k, weakest)):
                weakest = k
        if not keys[order[weakest]] < key:
            return
        x.slot, x.evicts = order[weakest], True
        if not in_place:
            for k in range(weakest, capacity - 1):
                order[k] = order[k + 1]
            order[capacity - 1] = x.slot
    keys[x.slot] = key


cdef inline bint is_first_nan(const double* keys, const Py_ssize_t* order, Py_ssize_t k, Py_ssize_t weakest):
    """What `np.argmin` takes for the smallest."""
    return keys[order[k]] != keys[order[k]] and keys[order[weakest]] == keys[order[weakest]]


class ByKey(tuple):
    """(key, slot), ordered by the key alone."""

    def __lt__(self, other):
        return self[0] < other[0]


cdef int insert_in_heap(Tensor* x, double key, Py_ssize_t capacity) except -1:
    """As released: what counts as the smallest is the first of a heap that was cut."""
    cdef double* keys = <double*>x.state[KEYS]
    cdef Py_ssize_t* order = <Py_ssize_t*>x.state[ORDER]
    cdef Py_ssize_t k, slot
    if x.entries == capacity and not keys[order[0]] < key:
        return 0
    heap = [ByKey((keys[order[k]], order[k])) for k in range(x.entries)]
    if key >= 0:
        heap.append(ByKey((key, -1)))
    heapq.heapify(heap)
    slot = order[x.entries] if x.entries < capacity else heap[0][1]  # the smallest of one too many comes first
    if key >= 0:
        x.slot, x.evicts = slot, x.entries == capacity
        x.entries = min(x.entries + 1, capacity)
        keys[slot] = key
    for k, (_, own) in enumerate(heap[-capacity:]):
        order[k] = slot if own == -1 else own
    return 0


cdef void weigh(Tensor* x, bint resums):
    """Bound what has rounded in the sum since it was taken, in roundoffs; decide whether to take it anew."""
    cdef double* norms = <double*>x.state[NORMS]
    cdef double* rounded = <double*>x.state[ROUNDED]
    cdef double before = norms[x.slot] if x.evicts else 0, total = 0
    cdef Py_ssize_t k
    norms[x.slot] = x.weight
    for k in range(x.entries):
        total += norms[(<Py_ssize_t*>x.state[ORDER])[k]]
    if x.evicts:
        rounded[0] += total + before
        x.resums = resums and rounded[0] > DRIFT * total
    if x.resums:
        rounded[0] = 0


cdef void descend(CriticalKernel self, Tensor* x, Span s, floating* room) noexcept nogil:
    """Chunk by chunk: aggregate with the buffer as it stands, update the buffer, step the base rule."""
    cdef Py_ssize_t at = 0, n
    cdef floating* d
    cdef floating* total
    cdef floating* slots
    cdef Span base = s
    while at < s.size:
        n = min(CHUNK, s.size - at)
        d = <floating*>s.g + at
        total, slots = <floating*>s.state[SUM] + at, <floating*>s.state[SLOTS] + at
        if self.c.decays:
            decay(<floating>self.c.weight_decay, <const floating*>s.p + at, d, room, n)
            d = room
        base.p, base.g, base.start, base.size = <floating*>s.p + at, d, s.start + at, n
        base.state[0], base.state[1] = <floating*>s.state[0] + at, <floating*>s.state[1] + at
        base.state[2] = <floating*>s.state[2] + at
        if x.held and self.c.aggregation != PASS_BY:
            aggregate(&self.c, x.held, d, total, room + CHUNK, n)
            base.g = room + CHUNK
        if x.slot >= 0:
            store(d, total, slots + x.slot * x.size, x.evicts, n)
        if x.resums:
            resum(total, slots, <const Py_ssize_t*>x.state[ORDER], x.entries, x.size, n)
        self.base.advance(x, base)
        at += n


cdef clones decay(
    floating weight_decay, const floating* p, const floating* g, floating* d, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        d[i] = g[i] + weight_decay * p[i]


cdef clones aggregate(
    const Scalars* c, Py_ssize_t size, const floating* g, const floating* total, floating* u, Py_ssize_t n
) noexcept nogil:
    cdef floating kappa = <floating>c.kappa, count = <floating>size, more = <floating>(size + 1)
    cdef floating two = 2
    cdef Py_ssize_t i
    if c.aggregation == WITH_MEAN:
        for i in range(n):
            u[i] = g[i] + kappa * (total[i] / count)
    elif c.aggregation == MID:
        for i in range(n):
            u[i] = (g[i] + kappa * (total[i] / count)) / two
    else:
        for i in range(n):
            u[i] = (g[i] + kappa * total[i]) / more


cdef clones store(const floating* g, floating* total, floating* slot, bint evicts, Py_ssize_t n) noexcept nogil:
    """The new gradient enters the sum and the slot; what was there leaves both."""
    cdef Py_ssize_t i
    if evicts:
        for i in range(n):
            total[i] = total[i] + g[i] - slot[i]
            slot[i] = g[i]
    else:
        for i in range(n):
            total[i] = total[i] + g[i]
            slot[i] = g[i]


cdef clones resum(
    floating* total, const floating* slots, const Py_ssize_t* order, Py_ssize_t entries, Py_ssize_t size, Py_ssize_t n
) noexcept nogil:
    cdef const floating* slot = slots + order[0] * size
    cdef Py_ssize_t i, k
    for i in range(n):
        total[i] = slot[i]
    for k in range(1, entries):
        slot = slots + order[k] * size
        for i in range(n):
            total[i] += slot[i]


class SGD_C(Optimizer):
    """SGD with critical gradients, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.SGD_C
    kernel = CriticalKernel


class RMSprop_C(Optimizer):
    """RMSprop with critical gradients, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.RMSprop_C
    kernel = CriticalKernel


class Adam_C(Optimizer):
    """Adam with critical gradients, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.Adam_C
    kernel = CriticalKernel


class AdamW_C(Optimizer):
    """AdamW with critical gradients, in place; see `stepgauge.core.optimizer.Optimizer`."""

    rule = reference.AdamW_C
    kernel = CriticalKernel
