"""The flat plan over another library's tensors, which are seen through DLPack's C interface and never copied.

What a step needs of a tensor (where it lies, how long its axes are and how far apart) costs tens of nanoseconds there,
without a call of Python. So a plan checks all of it in every step, and is never wrong because somebody moved,
resized or replaced a tensor, or an entry of the state, since it was built: it says that it no longer holds.
"""

from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from stepgauge.core.optimizer cimport (
    ARRAYS, BFLOAT16, FLOAT32, FLOAT64, Kernel, Optimizer, Tensor, carry_out, is_written, keep_spans, make_rooms,
)

from itertools import pairwise

from stepgauge.reference import Group

cdef enum:
    AXES = 9  # at most: eight of a parameter, and one more of what holds several of its shape
    CPU = 1  # as DLPack numbers devices
    FLOAT = 2  # and what numbers are
    BFLOAT = 4

cdef struct DLTensor:  # as DLPack 1.x lays it out
    void* data
    int32_t device_type
    int32_t device_id
    int32_t ndim
    uint8_t code
    uint8_t bits
    uint16_t lanes
    int64_t* shape
    int64_t* strides
    uint64_t byte_offset

cdef struct ExchangeAPI:  # likewise
    uint32_t major
    uint32_t minor
    void* previous
    void* allocate
    void* managed_from_object
    void* managed_to_object
    int (*look)(void* x, DLTensor* seen) except -1
    void* current_stream

cdef struct Layout:  # how a tensor lies; one for all that lie alike, so that a step reads little
    int32_t axes
    uint8_t code, bits
    int64_t size
    int64_t shape[AXES]
    int64_t strides[AXES]

cdef struct Known:  # of a parameter: what is where, beside the addresses in its `Tensor`
    PyObject* fields[ARRAYS]  # NULL for one that nobody looks at
    Layout* layouts[ARRAYS]
    Layout* layout
    Py_ssize_t arrays
    float* counter


cdef class Plan(Optimizer):
    """Parameters that a rule of the core can step where they lie.

    Args:
        optimizer: the class of the core.
        rules: of each group, its rule.
        groups: of each group, all its parameters.
        members: of each group, which of these the plan steps, as (parameter, fields, counter, started): the tensors of
            the kernel's arrays in its order, None for one that it does not look at; the count of steps, a float32 of
            no axes, or None; and whether the state was there before.
        state: the mapping from parameters to dictionaries that these tensors are in.
        lay: makes of (parameter, gradient) a gradient that lies as the parameter does; None if it cannot.
        is_negated: whether a gradient stands for the negative of what lies in its memory.
        plain: the types of which a gradient is its memory, and no more.

    Raises:
        ValueError: two of these tensors share memory, or one is not the CPU's, or has more than eight axes.

    Attributes:
        moved: the parameters that the last step moved.
    """

    cdef ExchangeAPI* api
    cdef Known* known
    cdef Layout* layouts
    cdef readonly list moved
    cdef list _everybody, _owners, _records, _values, _fields, _grads
    cdef dict _numbers  # of the layouts
    cdef object _lay, _is_negated, _plain, _ids
    cdef Py_ssize_t _elements

    def __init__(self, optimizer, rules, groups, members, state, lay, is_negated, plain):
        cdef Py_ssize_t i = 0, j, k
        cdef Tensor* x
        cdef Known* known
        everyone = [one for own in members for one in own]
        self._everybody = [list(group) for group in groups]
        self.params = [p for p, _, _, _ in everyone]
        self._ids = {id(p) for p in self.params}
        self._fields = [fields for _, fields, _, _ in everyone]
        self._owners, self._records = list(state), list(state.values())  # so that none is replaced unnoticed
        self._values = [list(record.values()) for record in self._records]
        self._lay, self._is_negated, self._plain, self._numbers = lay, is_negated, plain, {}
        self.api = exchange_api(plain[0])
        self._count = len(everyone)
        self._tensors = <Tensor*>calloc(self._count + 1, sizeof(Tensor))
        self._members = <Py_ssize_t*>calloc(self._count + 1, sizeof(Py_ssize_t))
        self._ends = <Py_ssize_t*>calloc(len(groups) + 1, sizeof(Py_ssize_t))
        self.known = <Known*>calloc(self._count + 1, sizeof(Known))
        self.layouts = <Layout*>calloc(self._count * (ARRAYS + 1) + 1, sizeof(Layout))
        if not (self._tensors and self._members and self._ends and self.known and self.layouts):
            raise MemoryError
        for p, fields, counter, started in everyone:
            x, known = &self._tensors[i], &self.known[i]
            known.layout = lay_of(self, p, &x.p)
            x.size, x.started = known.layout.size, started
            x.rows = known.layout.shape[0] if known.layout.axes > 1 else 0
            x.storage = BFLOAT16 if known.layout.code == BFLOAT else FLOAT64 if known.layout.bits == 64 else FLOAT32
            known.arrays = len(fields)
            for k in range(known.arrays):
                if fields[k] is not None:
                    known.fields[k] = <PyObject*>fields[k]
                    known.layouts[k] = lay_of(self, fields[k], &x.state[k])
                    x.lengths[k] = known.layouts[k].size
            if counter is not None:
                known.counter = <float*>address(self.api, counter)
            self._members[i] = i
            self._elements += x.size
            i += 1
        j = 0
        for k in range(len(groups)):
            j += len(members[k])
            self._ends[k] = j
        self._kernels = [optimizer.kernel(rule) for rule in rules]
        self._groups = [Group(rule, []) for rule in rules]
        self._claim()

    def __dealloc__(self):
        free(self.known)
        free(self.layouts)

    def _claim(self):
        """Remember which memory is written. Raises ValueError if two tensors share a part of it."""
        cdef Py_ssize_t i, k
        cdef Tensor* x
        spans = []
        for i in range(self._count):
            x = &self._tensors[i]
            claim(spans, x.p, self.known[i].layout)
            for k in range(self.known[i].arrays):
                if self.known[i].fields[k] != NULL:
                    claim(spans, x.state[k], self.known[i].layouts[k])
        spans.sort()
        if any([after[0] < before[1] for before, after in pairwise(spans)]):
            raise ValueError("two tensors share memory")
        keep_spans(self, spans)

    def set_rules(self, rules):
        """Change hyperparameters, though none on which the arrays of the state depend."""
        for k, rule in enumerate(rules):
            if rule is not self._groups[k].rule:
                self._kernels[k] = type(self._kernels[k])(rule)
                self._groups[k] = Group(rule, [])

    def has(self, p):
        """Whether a parameter is in the plan."""
        return id(p) in self._ids

    def holds(self, groups, climbs, state, bint new=False):
        """Whether the plan can step these groups: nothing has moved, nothing else has a gradient.

        Takes the gradients, for `step` to go along. What else has a gradient does not matter to a `new` plan.
        """
        if len(groups) != len(self._everybody) or not same_entries(state, self._owners, self._records, self._values):
            return False
        try:
            return take(self, groups, climbs, new)
        except (BufferError, RuntimeError):  # what lies nowhere, such as a sparse gradient
            return False

    def step(self, Py_ssize_t threads=1):
        """Step along the gradients that `holds` has taken."""
        cdef Py_ssize_t i, k, first = 0, most = 0
        cdef Tensor* x
        for k in range(len(self._kernels)):
            for i in range(first, self._ends[k]):
                x = &self._tensors[i]
                if x.storage == BFLOAT16 or x.climbs:
                    most = max(most, x.size)
                x.step = <long long>self.known[i].counter[0] if self.known[i].counter else 0
                (<Kernel>self._kernels[k]).attend(x)
            first = self._ends[k]
        if threads > self.threads:
            self._rooms = None  # there is one for each thread
        self.threads = threads
        if most:
            make_rooms(self, most)
        carry_out(self)
        for i in range(self._count):
            if self.known[i].counter:
                self.known[i].counter[0] = <float>self._tensors[i].step
        self._grads = []

    @property
    def has_all(self):
        """Whether every parameter of the groups is in the plan."""
        return self._count == sum(map(len, self._everybody))

    @property
    def elements(self):
        """How many numbers it steps."""
        return self._elements


cdef ExchangeAPI* exchange_api(kind) except NULL:
    cdef ExchangeAPI* api = <ExchangeAPI*>PyCapsule_GetPointer(kind.__dlpack_c_exchange_api__, "dlpack_exchange_api")
    if api.major != 1:
        raise NotImplementedError(f"DLPack {api.major} (1 is known here)")
    return api


cdef Layout* lay_of(Plan self, x, void** data) except NULL:
    """How a tensor lies, and where. Raises ValueError if that is not the CPU's memory, or it has too many axes."""
    cdef DLTensor seen
    cdef Layout* layout
    cdef int32_t k
    self.api.look(<void*>x, &seen)
    if seen.ndim > AXES or seen.device_type != CPU or seen.lanes != 1:
        raise ValueError("a tensor that the core does not step")
    shape = tuple([(seen.shape[k], seen.strides[k]) for k in range(seen.ndim)])
    layout = &self.layouts[<Py_ssize_t>self._numbers.setdefault((seen.code, seen.bits, shape), len(self._numbers))]
    data[0] = <char*>seen.data + seen.byte_offset
    layout.axes, layout.code, layout.bits, layout.size = seen.ndim, seen.code, seen.bits, 1
    for k in range(seen.ndim):
        layout.shape[k], layout.strides[k] = seen.shape[k], seen.strides[k]
        layout.size *= seen.shape[k]
    return layout


cdef void* address(ExchangeAPI* api, x) except? NULL:
    cdef DLTensor seen
    api.look(<void*>x, &seen)
    return <char*>seen.data + seen.byte_offset


cdef int claim(list spans, void* data, const Layout* layout) except -1:
    if layout.size:
        spans.append((<size_t>data, <size_t>data + layout.size * layout.bits // 8))
    return 0


cdef inline bint lies(const DLTensor* seen, const Layout* known) noexcept:
    """Whether a tensor has a layout, and its numbers."""
    cdef int32_t k
    if seen.ndim != known.axes or seen.code != known.code or seen.bits != known.bits or seen.device_type != CPU:
        return False
    for k in range(seen.ndim):
        if seen.shape[k] != known.shape[k]:
            return False
        if seen.shape[k] > 1 and seen.strides[k] != known.strides[k] and known.size:
            return False
    return True


cdef inline bint is_at(ExchangeAPI* api, PyObject* x, const void* data, const Layout* layout) except -1:
    """Whether a tensor still lies where it lay."""
    cdef DLTensor seen
    api.look(<void*>x, &seen)
    return <char*>seen.data + seen.byte_offset == data and lies(&seen, layout)


cdef bint same_entries(state, list owners, list records, list values) except -1:
    """Whether a mapping of dictionaries has the very same keys and values, in the same order."""
    cdef PyObject* owner
    cdef PyObject* record
    cdef PyObject* name
    cdef PyObject* value
    cdef Py_ssize_t at = 0, within, i = 0, k
    cdef list own
    if not isinstance(state, dict) or len(state) != len(owners):
        return False
    while PyDict_Next(state, &at, &owner, &record):
        if owner != <PyObject*>owners[i] or record != <PyObject*>records[i]:
            return False
        own = values[i]
        if len(<dict>record) != len(own):
            return False
        within = k = 0
        while PyDict_Next(<dict>record, &within, &name, &value):
            if value != <PyObject*>own[k]:
                return False
            k += 1
        i += 1
    return True


cdef bint take(Plan self, groups, climbs, bint new) except -1:
    """Find everything where it was, and the gradients where they are now."""
    cdef Py_ssize_t i = 0, j, k
    cdef list everybody, now
    cdef object p, g
    self.moved, self._grads = [], []
    for k in range(len(groups)):
        now, everybody = groups[k]["params"], self._everybody[k]
        if len(now) != len(everybody):
            return False
        for j in range(len(now)):
            p = now[j]
            if p is not everybody[j]:
                return False
            g = p.grad
            if i < self._ends[k] and p is self.params[i]:
                if not take_one(self, i, p, g, climbs[k], new):
                    return False
                i += 1
            elif not new and g is not None:
                return False
        if i != self._ends[k]:
            return False
    return new or True not in map(self._is_negated, self._grads)  # one call of Python for all


cdef bint take_one(Plan self, Py_ssize_t i, p, g, bint climbs, bint new) except -1:
    cdef Tensor* x = &self._tensors[i]
    cdef Known* known = &self.known[i]
    cdef DLTensor seen
    cdef Py_ssize_t k
    x.moves = g is not None
    if not is_at(self.api, <PyObject*>p, x.p, known.layout):
        return False
    for k in range(known.arrays):
        if known.fields[k] != NULL and not is_at(self.api, known.fields[k], x.state[k], known.layouts[k]):
            return False
    if not x.moves:
        return True
    if type(g) not in self._plain:
        return False
    self.api.look(<void*>g, &seen)
    if not reads(self, x, &seen, known.layout) or (new and self._is_negated(g)):
        g = self._lay(p, g)
        if g is None:
            return False
        self.api.look(<void*>g, &seen)
        if not reads(self, x, &seen, known.layout):
            return False
    self._grads.append(g)
    self.moved.append(p)
    x.g, x.climbs = <char*>seen.data + seen.byte_offset, climbs
    return True


cdef inline bint reads(Plan self, const Tensor* x, DLTensor* seen, const Layout* layout) noexcept:
    """Whether a gradient can be read as it lies, in no memory that a step writes."""
    cdef size_t start = <size_t>seen.data + seen.byte_offset
    if not lies(seen, layout):
        return False
    if layout.size == 0 or <const void*>start == x.g:  # found apart before
        return True
    return start != 0 and not is_written(self, start, start + layout.size * layout.bits // 8)
