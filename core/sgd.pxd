from stepgauge.core.optimizer cimport Kernel


cdef struct Scalars:
    double lr, momentum, undampened, weight_decay
    bint nesterov, decays


cdef class SGDKernel(Kernel):
    cdef Scalars c
