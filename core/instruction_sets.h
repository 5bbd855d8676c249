/* One kernel, built for several instruction sets; the loader picks the widest that the processor has.

   Cython writes a function's return type between `static` and its name, so that is where these attributes stand. */

#ifndef STEPGAUGE_INSTRUCTION_SETS_H
#define STEPGAUGE_INSTRUCTION_SETS_H

#include <stdint.h>
#include <string.h>

/* Needs GCC 12 and the GNU loader. A sanitizer's runtime is not up yet when the loader picks. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) \
  && !defined(__SANITIZE_ADDRESS__) && !defined(STEPGAUGE_ONE_INSTRUCTION_SET)
#define STEPGAUGE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STEPGAUGE_CLONES
#endif

/* What a kernel calls in its loop has to be compiled with it, for its instruction set; beside `inline`. */
#if defined(__GNUC__)
#define STEPGAUGE_INLINE __attribute__((always_inline))
#else
#define STEPGAUGE_INLINE
#endif

/* Eight lanes of a sum as one value: GCC keeps several sums in arrays of lanes as scalars. */
typedef float stepgauge_lanes_float __attribute__((vector_size(32), aligned(4), may_alias));
typedef double stepgauge_lanes_double __attribute__((vector_size(64), aligned(8), may_alias));

static inline STEPGAUGE_INLINE float stepgauge_widened(uint16_t bfloat16)
{
    uint32_t bits = (uint32_t)bfloat16 << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounded to nearest, ties to even; NaN stays NaN. */
static inline STEPGAUGE_INLINE uint16_t stepgauge_narrowed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(x == x ? rounded : 0x7fc0u);
}

#endif
