"""What `instruction_sets.h` gives a kernel: see there."""

from libc.stdint cimport uint16_t


cdef extern from "instruction_sets.h" nogil:
    ctypedef void clones "STEPGAUGE_CLONES void"  # returned by a kernel: one function for each instruction set
    ctypedef void inlined "STEPGAUGE_INLINE void"  # returned by a part of one
    float widened "stepgauge_widened"(uint16_t bfloat16)
    uint16_t narrowed "stepgauge_narrowed"(float x)
    ctypedef float float_lanes "stepgauge_lanes_float"
    ctypedef double double_lanes "stepgauge_lanes_double"
