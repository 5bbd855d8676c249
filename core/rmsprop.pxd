from stepgauge.core.optimizer cimport Kernel


cdef struct Scalars:
    double lr, alpha, rest, eps, weight_decay, momentum
    bint decays, centered


cdef class RMSpropKernel(Kernel):
    cdef Scalars c
