"""What the optimizers share: a model's arrays as a flat plan of pointers, and the passes over it.

The plan is built once. A step checks that it still holds, takes the addresses of the gradients, and then needs Python
no more: a pass is a loop in C over the parameters of a group.
"""

from threading import Thread

import numpy as np

cimport numpy as cnp
from cython cimport floating
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free

from stepgauge.core.instruction_sets cimport clones, narrowed, widened

from stepgauge.core import arrays
from stepgauge.reference import Group

cnp.import_array()

cdef Py_ssize_t CHUNK = 1024  # elements that are converted at a time: with their state, well within a first cache
cdef Py_ssize_t SHARED = 1 << 16  # elements from which on threads share a tensor
cdef Py_ssize_t LINE = 64  # elements, at least a cache line: no two threads write into one

cdef int READ = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
cdef int WRITTEN = READ | cnp.NPY_ARRAY_WRITEABLE


cdef class Kernel:
    """A rule with the hyperparameters of a group, as it acts on one tensor."""

    def __init__(self, rule):
        self.rule = rule

    def layout(self):
        """What decides which arrays `arrays_of` returns; while it stays, hyperparameters may change."""
        return None

    def names(self):
        """What the arrays of a state are called."""
        return [name for name in self.rule.State._fields if name != "step"]

    def arrays_of(self, state, like):
        """The arrays of a state of the reference, in its order; room for one that is not there yet."""
        return [np.empty_like(like) if x is None else x for x in map(state._asdict().get, self.names())]

    def counts(self, state):
        """The steps so far, whether no array is still missing, and the entries of a critical buffer."""
        return getattr(state, "step", 0), not any([x is None for x in state]), 0

    def state_of(self, like, held, counts):
        """The reference's state; it shares the arrays."""
        step, started, _ = counts
        known = dict(zip(self.names(), held), step=step)
        missing = [] if started else [n for n, x in zip(self.rule.State._fields, self.rule.init(like)) if x is None]
        return self.rule.State(*[None if n in missing else known[n] for n in self.rule.State._fields])

    cdef void attend(self, Tensor* x) noexcept:
        """Take from a state that others may have written what is not an array of it."""

    cdef int begin(self, Tensor* x) except -1:
        """Count a step with a gradient, and take the scalars that depend on the count."""
        x.step += 1
        return 0

    cdef int skip(self, Tensor* x) except -1:
        """A step without a gradient."""
        return 0

    cdef int pool(self, double total, Py_ssize_t elements) except -1:
        """Take what the tensors of the group, or of the model, have in common."""
        return 0

    cdef int decide(self, Tensor* x) except -1:
        """Decide, knowing that, what no stretch of a tensor can decide for itself."""
        return 0

    cdef void examine(self, Tensor* x, Span s) noexcept nogil:
        """Look at a whole tensor before any moves; leave what is pooled in its total."""

    cdef void advance(self, Tensor* x, Span s) noexcept nogil:
        """Overwrite a stretch of the parameter and of its state."""


cdef class Optimizer:
    """Arrays, stepped in place under one rule with the hyperparameters of each group.

    The numbers are those of the rule in `stepgauge.reference`, at the same dtype. The arrays are held by reference, and
    written where they lie; one that was resized or replaced since is refused before anything is written.

    Attributes:
        params: the parameters.
        maximize: whether steps climb.
        threads: how many threads share a step.
    """

    rule = None  # the reference's class
    kernel = None

    def __init__(self, params, *, maximize=False, threads=1, **hyperparameters):
        params = arrays.listed(params)
        groups = [Group(self.rule(**hyperparameters), range(len(params)))]
        build(self, groups, params, None, maximize, threads)

    @classmethod
    def from_groups(cls, groups, params, states=None, *, maximize=False, threads=1):
        """An optimizer of several groups, or one that goes on from where another stopped.

        Args:
            groups: `stepgauge.reference.Group`s: rules of this optimizer, and the indices of the parameters each moves.
            params: the parameters, as in the constructor.
            states: what `states` returned, or None before the first step. Its arrays are held, too.
            maximize: climb instead of descending.
            threads: how many threads share a step.

        Raises:
            TypeError, ValueError: a group, an array or a state is not as above.
        """
        cdef Optimizer self = cls.__new__(cls)
        build(self, groups, arrays.listed(params), states, maximize, threads)
        return self

    def __cinit__(self, *_, **__):
        self._groups, self._kernels, self._arrays, self.params = [], [], [], []
        self.threads = 1

    def __dealloc__(self):
        free(self._tensors)
        free(self._members)
        free(self._ends)
        free(self._lows)
        free(self._highs)

    def __reduce__(self):
        return unpickled, (type(self), self.groups, self.params, self.states, bool(self.maximize), self.threads)

    @property
    def groups(self):
        """The groups: rules, and the indices of the parameters each moves. Assign to change hyperparameters."""
        return list(self._groups)

    @groups.setter
    def groups(self, groups):
        groups = arrays.checked_groups(self.rule, groups, len(self.params))
        if [list(g.members) for g in groups] != [list(g.members) for g in self._groups]:
            raise ValueError("Invalid groups: other members (must be the same parameters in the same order)")
        for before, after in zip(self._groups, groups):
            for name in ("topC", "dialect"):
                was, now = getattr(before.rule, name, None), getattr(after.rule, name, None)
                if was != now:
                    raise ValueError(f"Invalid {name}: {now} (stays {was} once the optimizer is built)")
        kernels = [self.kernel(group.rule) for group in groups]
        relaid = [kernel.layout() for kernel in kernels] != [kernel.layout() for kernel in self._kernels]
        states = self.states if relaid else None
        self._idle()
        self._groups, self._kernels = groups, kernels
        if relaid:
            adopt(self, states)

    def set(self, **hyperparameters):
        """Change hyperparameters, in every group.

        Raises:
            ValueError: one is out of its range.
        """
        self.groups = [Group(rule.but(**hyperparameters), members) for rule, members in self._groups]

    @property
    def states(self):
        """The state of every parameter, as the reference has it; the arrays are shared, not copied. Assign to resume.

        A parameter in no group has None.
        """
        cdef Tensor* x
        states = [None] * len(self.params)
        for group, kernel in zip(self._groups, self._kernels):
            for i in group.members:
                x = &self._tensors[<Py_ssize_t>i]
                like = arrays.like(self.params[i])
                states[i] = kernel.state_of(like, self._arrays[i], (x.step, bool(x.started), x.entries))
        return states

    @states.setter
    def states(self, states):
        self._idle()
        adopt(self, list(states))

    def step(self, grads):
        """Step every parameter that has a gradient.

        Args:
            grads: for every parameter an array of its shape and dtype, which is only read, or None.

        Raises:
            TypeError, ValueError: an array is not as above; nothing has been written then.
            RuntimeError: another thread is in a step.
        """
        self._idle()
        self._busy = True
        try:
            grads = tuple(grads)  # held as long as the step lasts, whatever becomes of the list
            take(self, grads)
            carry_out(self)
        finally:
            self._busy = False

    def _idle(self):
        if self._busy:
            raise RuntimeError("a step is running in another thread: wait until it returns")

    def _pass(self, int which, Py_ssize_t worker):
        """One thread's share of a pass."""
        cdef Kernel kernel
        cdef Py_ssize_t k, first = 0
        cdef void* room = NULL
        if self._rooms is not None:
            room = cnp.PyArray_DATA(self._rooms[worker])
        for k in range(len(self._kernels)):
            kernel = self._kernels[k]
            with nogil:
                sweep(self, kernel, first, self._ends[k], which, worker, room)
            first = self._ends[k]


def unpickled(optimizer, groups, params, states, maximize, threads):
    return optimizer.from_groups(groups, params, states, maximize=maximize, threads=threads)


cdef int build(Optimizer self, groups, list params, states, maximize, threads) except -1:
    cdef Py_ssize_t i, j, k
    cdef Tensor* x
    groups = arrays.checked_groups(self.rule, groups, len(params))
    if self._count:
        raise RuntimeError("an optimizer is built once: make another")
    for i, p in enumerate(params):
        arrays.require_parameter(i, p)
    self.params, self.maximize, self.threads = params, maximize, arrays.checked_threads(threads)
    self._tensors = <Tensor*>calloc(len(params), sizeof(Tensor))
    self._members = <Py_ssize_t*>calloc(len(params), sizeof(Py_ssize_t))
    self._ends = <Py_ssize_t*>calloc(len(groups), sizeof(Py_ssize_t))
    if not (self._tensors and self._members and self._ends):
        raise MemoryError
    self._count = len(params)
    for i in range(self._count):
        p = params[i]
        x = &self._tensors[i]
        x.p, x.size = cnp.PyArray_DATA(p), cnp.PyArray_SIZE(p)
        x.storage = {cnp.NPY_FLOAT32: FLOAT32, cnp.NPY_FLOAT64: FLOAT64}.get(cnp.PyArray_TYPE(p), BFLOAT16)
    j = 0
    for k, group in enumerate(groups):
        for i in group.members:
            self._members[j] = i
            j += 1
        self._ends[k] = j
    self._kernels = [self.kernel(group.rule) for group in groups]
    self._groups = groups
    if states is None:
        states = [None] * len(params)
        for group in groups:
            for i in group.members:
                states[i] = group.rule.init(arrays.like(params[i]))
    return adopt(self, list(states))


cdef int adopt(Optimizer self, list states) except -1:
    """Point at the arrays of these states, once all are found fit."""
    cdef Tensor* x
    cdef Py_ssize_t i, k
    if len(states) != len(self.params):
        raise ValueError(f"{len(states)} states for {len(self.params)} parameters")
    held = [[] for _ in states]
    counts = [(0, True, 0)] * len(states)
    for group, kernel in zip(self._groups, self._kernels):
        for i in group.members:
            like = arrays.like(self.params[i])
            arrays.require_state(i, states[i], group.rule)
            held[i] = kernel.arrays_of(states[i], like)
            counts[i] = kernel.counts(states[i])
            arrays.require_arrays(i, kernel.names(), held[i], like)
    arrays.require_apart(self.params, held)
    remember(self, held)
    self._arrays = held
    for group in self._groups:
        for i in group.members:
            x = &self._tensors[i]
            x.step, x.started, x.entries = counts[i]
            for k in range(len(held[i])):
                x.state[k], x.lengths[k] = cnp.PyArray_DATA(held[i][k]), cnp.PyArray_SIZE(held[i][k])
    return 0


cdef int remember(Optimizer self, list held) except -1:
    """Remember, in order, which memory is written, so that no gradient lies in it."""
    cdef Py_ssize_t k
    written = [x for x in self.params if x.size] + [x for own in held for x in own if x.size]
    keep_spans(self, sorted(arrays.memory(x) for x in written))
    for k in range(self._count):
        self._tensors[k].g = NULL  # found apart from what was written before
    return 0


cdef int keep_spans(Optimizer self, list spans) except -1:
    """Keep the stretches of memory that are written: their first and last addresses, in order and apart."""
    cdef size_t* lows = <size_t*>calloc(len(spans) + 1, sizeof(size_t))
    cdef size_t* highs = <size_t*>calloc(len(spans) + 1, sizeof(size_t))
    cdef Py_ssize_t k
    if not (lows and highs):
        free(lows)
        free(highs)
        raise MemoryError
    for k in range(len(spans)):
        lows[k], highs[k] = spans[k]
    free(self._lows)
    free(self._highs)
    self._lows, self._highs, self._written = lows, highs, len(spans)
    return 0


cdef bint is_written(Optimizer self, size_t low, size_t high) noexcept:
    """Whether memory from low to high has a part that the optimizer writes."""
    cdef Py_ssize_t below = 0, above = self._written, middle
    while below < above:  # to the first stretch that ends beyond low
        middle = (below + above) // 2
        if self._highs[middle] <= low:
            below = middle + 1
        else:
            above = middle
    return below < self._written and self._lows[below] < high


cdef int take(Optimizer self, tuple grads) except -1:
    """Check every array, and take the addresses of the gradients; nothing is written into any array."""
    cdef Py_ssize_t i, k, most = 0
    cdef Tensor* x
    cdef object p, g
    cdef list own
    cdef size_t low
    if len(grads) != self._count:
        raise ValueError(f"{len(grads)} gradients for {self._count} parameters; give None where there is none")
    for i in range(self._count):
        x = &self._tensors[i]
        p, g = self.params[i], grads[i]
        if not holds(p, x.p, x.size):
            arrays.refuse_moved(f"parameter {i}", p, x.size)
        x.rows = cnp.PyArray_DIM(p, 0) if cnp.PyArray_NDIM(p) > 1 else 0
        own = self._arrays[i]
        for k in range(len(own)):
            if not holds(own[k], x.state[k], x.lengths[k]):
                arrays.refuse_moved(f"the state of parameter {i}", own[k], x.lengths[k])
        if g is None:
            x.moves, x.g = False, NULL
            continue
        if not like(g, p):
            arrays.require_gradient(i, g, p)
        low = <size_t>cnp.PyArray_DATA(g)
        if <const void*>low != x.g and is_written(self, low, low + x.size * cnp.PyArray_ITEMSIZE(g)):
            arrays.refuse_overlap(i, g, self.params, self._arrays)
        x.moves, x.climbs, x.g = True, self.maximize, <const void*>low
        if x.storage == BFLOAT16 or x.climbs:
            most = max(most, x.size)
    if most:
        make_rooms(self, most)
    return 0


cdef inline bint holds(object x, void* data, Py_ssize_t size):
    """Whether an array lies where it lay."""
    return cnp.PyArray_DATA(x) == data and cnp.PyArray_SIZE(x) == size and cnp.PyArray_CHKFLAGS(x, WRITTEN)


cdef inline bint like(object g, object p):
    """Whether g is an array of p's dtype and shape that can be read as it lies."""
    return (
        cnp.PyArray_Check(g) and cnp.PyArray_TYPE(g) == cnp.PyArray_TYPE(p) and cnp.PyArray_CHKFLAGS(g, READ)
        and cnp.PyArray_ISNOTSWAPPED(g) and cnp.PyArray_NDIM(g) == cnp.PyArray_NDIM(p)
        and cnp.PyArray_CompareLists(cnp.PyArray_DIMS(g), cnp.PyArray_DIMS(p), cnp.PyArray_NDIM(p))
    )


cdef int make_rooms(Optimizer self, Py_ssize_t most) except -1:
    """For each thread, room for two stretches that have to be converted first."""
    cdef bint whole = any([(<Kernel>kernel).whole or (<Kernel>kernel).pools for kernel in self._kernels])
    need = 2 * (most if whole else min(most, CHUNK))
    if self._rooms is None or self._rooms[0].size < need:
        self._rooms = [np.empty(need) for _ in range(self.threads)]
    return 0


cdef int carry_out(Optimizer self) except -1:
    """Count the step, pool, and move: all that is left once the addresses of the gradients are taken."""
    cdef Kernel kernel
    cdef Tensor* x
    cdef Py_ssize_t k, j = 0
    cdef bint pools = False
    for k in range(len(self._kernels)):
        kernel = self._kernels[k]
        pools = pools or kernel.pools
        while j < self._ends[k]:
            x = &self._tensors[self._members[j]]
            x.total = 0
            if x.moves:
                kernel.begin(x)
                x.first, x.started = not x.started, True
            else:
                kernel.skip(x)
            j += 1
    if pools:
        share(self, EXAMINE)
        pool(self)
    share(self, ADVANCE)
    return 0


cdef int share(Optimizer self, Pass which) except -1:
    """One pass, shared by the threads: plain ones, which leave torch's and BLAS's pools alone and survive a fork."""
    others = [Thread(target=self._pass, args=(which, worker)) for worker in range(1, self.threads)]
    for other in others:
        other.start()
    self._pass(which, 0)
    for other in others:
        other.join()
    return 0


cdef int pool(Optimizer self) except -1:
    """Add up what the tensors left, in the order in which the reference does."""
    cdef Py_ssize_t k, j, first = 0
    cdef Kernel kernel
    cdef Tensor* x
    sums = []
    for k in range(len(self._kernels)):
        total, elements = 0.0, 0
        for j in range(first, self._ends[k]):
            x = &self._tensors[self._members[j]]
            if x.moves:
                total += x.total
                elements += x.size
        sums.append((total, elements))
        first = self._ends[k]
    whole = sum([total for total, _ in sums], 0.0), sum([elements for _, elements in sums])
    for kernel, own in zip(self._kernels, sums):
        total, elements = whole if kernel.rule.pools_over == "all" else own
        kernel.pool(total, elements)
    first = 0
    for k in range(len(self._kernels)):
        kernel = self._kernels[k]
        for j in range(first, self._ends[k]):
            x = &self._tensors[self._members[j]]
            if x.moves:
                kernel.decide(x)
        first = self._ends[k]
    return 0


cdef void sweep(
    Optimizer self, Kernel kernel, Py_ssize_t first, Py_ssize_t end, int which, Py_ssize_t worker, void* room
) noexcept nogil:
    """A pass over the members of a group: large tensors are shared by the threads, small ones dealt out."""
    cdef Py_ssize_t j, start, stop
    cdef Tensor* x
    cdef bint divisible = which == ADVANCE and not kernel.whole and self.threads > 1
    for j in range(first, end):
        x = &self._tensors[self._members[j]]
        if not x.moves or x.size == 0:
            continue
        if divisible and x.size >= SHARED:
            start = x.size // LINE * worker // self.threads * LINE
            stop = x.size // LINE * (worker + 1) // self.threads * LINE
            cover(self, kernel, x, start, x.size if worker == self.threads - 1 else stop, which, room)
        elif j % self.threads == worker:
            cover(self, kernel, x, 0, x.size, which, room)


cdef void cover(
    Optimizer self, Kernel kernel, Tensor* x, Py_ssize_t start, Py_ssize_t stop, int which, void* room
) noexcept nogil:
    """A pass over a stretch of a tensor; what is not in the dtype or the sense of the mathematics is converted."""
    cdef Py_ssize_t at = start, size, most = stop - start
    cdef bint narrow = x.storage == BFLOAT16
    cdef Span s
    if not (narrow or x.climbs):
        call(kernel, x, span(x, start, most), which)
        return
    if which == ADVANCE and not kernel.whole:
        most = CHUNK
    while at < stop:
        size = min(most, stop - at)
        s = span(x, at, size)
        if narrow:
            s.p, s.g = room, <float*>room + size
            widen(<const uint16_t*>x.p + at, <float*>s.p, size, False)
            widen(<const uint16_t*>x.g + at, <float*>s.g, size, x.climbs)
        elif x.storage == FLOAT32:
            negate[float](<const float*>s.g, <float*>room, size)
            s.g = room
        else:
            negate[double](<const double*>s.g, <double*>room, size)
            s.g = room
        call(kernel, x, s, which)
        if narrow and which == ADVANCE:
            narrow_(<const float*>s.p, <uint16_t*>x.p + at, size)
        at += size


cdef inline void call(Kernel kernel, Tensor* x, Span s, int which) noexcept nogil:
    if which == EXAMINE:
        kernel.examine(x, s)
    else:
        kernel.advance(x, s)


cdef inline Span span(Tensor* x, Py_ssize_t start, Py_ssize_t size) noexcept nogil:
    cdef Span s
    cdef Py_ssize_t k, width = 8 if x.storage == FLOAT64 else 4
    s.p, s.g = <char*>x.p + start * width, <const char*>x.g + start * width
    for k in range(ARRAYS):
        s.state[k] = NULL if x.state[k] == NULL else <char*>x.state[k] + start * width
    s.start, s.size = start, size
    return s


cdef clones negate(const floating* x, floating* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = -x[i]


cdef clones widen(const uint16_t* x, float* y, Py_ssize_t n, bint negated) noexcept nogil:
    cdef float sign = -1 if negated else 1
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = sign * widened(x[i])


cdef clones narrow_(const float* x, uint16_t* y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = narrowed(x[i])
