"""What the optimizers share: the flat plan of a model's arrays, and what a rule fills in."""

cdef enum:
    ARRAYS = 9  # of a parameter's state, at most

cdef enum Pass:
    EXAMINE
    ADVANCE

cdef enum Storage:
    FLOAT32
    FLOAT64
    BFLOAT16  # the parameter and its gradient; state and mathematics are float32


cdef struct Tensor:  # a parameter, its gradient and its state
    void* p
    const void* g
    void* state[ARRAYS]  # the arrays of the rule's State, in its order
    Py_ssize_t lengths[ARRAYS]  # of these, in elements
    Py_ssize_t size
    Py_ssize_t rows  # length of the first axis; 0 with less than two axes
    Storage storage
    bint moves  # has a gradient in this step
    bint climbs  # along it, not against it
    bint first  # has had none before
    bint started
    long long step  # steps so far, as the rule counts them
    double scale[2]  # scalars of this step that depend on the count
    double total  # what the rule pools
    Py_ssize_t entries, held  # of a critical buffer: after this step, and before it
    Py_ssize_t slot  # of the buffer, where this step's gradient goes; -1 for nowhere
    bint evicts, resums  # whether something leaves that slot; whether the buffer is summed anew
    double weight  # what this step's gradient counts in the sum's rounding


cdef struct Span:  # a stretch of a tensor, in the dtype of the mathematics
    void* p
    const void* g
    void* state[ARRAYS]
    Py_ssize_t start, size


cdef class Kernel:
    cdef readonly object rule
    cdef bint whole  # advances whole tensors alone
    cdef bint pools  # looks at all tensors before any moves

    cdef void attend(self, Tensor* x) noexcept
    cdef int begin(self, Tensor* x) except -1
    cdef int skip(self, Tensor* x) except -1
    cdef int pool(self, double total, Py_ssize_t elements) except -1
    cdef int decide(self, Tensor* x) except -1
    cdef void examine(self, Tensor* x, Span s) noexcept nogil
    cdef void advance(self, Tensor* x, Span s) noexcept nogil


cdef class Optimizer:
    cdef readonly list params
    cdef readonly bint maximize
    cdef readonly Py_ssize_t threads
    cdef list _groups, _kernels, _arrays
    cdef object _rooms
    cdef bint _busy
    cdef Py_ssize_t _count
    cdef Tensor* _tensors
    cdef Py_ssize_t* _members  # of one group after the other
    cdef Py_ssize_t* _ends  # of the groups among the members
    cdef Py_ssize_t _written
    cdef size_t* _lows  # of the memory that is written, in order
    cdef size_t* _highs

cdef int carry_out(Optimizer self) except -1
cdef bint is_written(Optimizer self, size_t low, size_t high) noexcept
cdef int keep_spans(Optimizer self, list spans) except -1
cdef int make_rooms(Optimizer self, Py_ssize_t most) except -1
