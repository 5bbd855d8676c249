from stepgauge.core.optimizer cimport Kernel


cdef struct Scalars:
    double lr, beta0, beta2, rest2, most, weight_decay, keep, inertia, momentum
    bint decoupled, published, tempered


cdef class AdaiKernel(Kernel):
    cdef Scalars c
    cdef double v_bar
    cdef long long t  # of the correction that follows
    cdef double correction
