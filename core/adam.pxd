from stepgauge.core.optimizer cimport Kernel


cdef struct Scalars:
    double beta1, rest1, beta2, rest2, eps, weight_decay, keep
    bint decays, amsgrad


cdef class AdamKernel(Kernel):
    cdef Scalars c
    cdef long long t  # of the two that follow
    cdef double root2, rate
