from stepgauge.core.adam cimport AdamKernel


cdef class AdamWKernel(AdamKernel):
    pass
