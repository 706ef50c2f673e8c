/* Fixed-point arithmetic shared by all kernels: TFLite's double-rounding requantization, bit for bit. */
#ifndef SEC_COMMON_H
#define SEC_COMMON_H

#include <stdint.h>

/* Where a loop over `count` things begins. A kernel with `step` 1 writes its outputs from the first to the last and may
   lie below the input that it overwrites; with `step` -1 it goes from the last to the first and may lie above. */
static inline int32_t sec_begin(int32_t count, int step) {
    return step < 0 ? count - 1 : 0;
}

/* round(a * b / 2^31), ties towards +infinity; not for a == b == INT32_MIN. TFLite nudges by 1 - 2^30 and truncates
   where the product is negative: the same value as flooring after adding 2^30, which is one shift. */
static inline int32_t sec_high_mul(int32_t a, int32_t b) {
    int64_t product = (int64_t)a * b;
    return (int32_t)((product + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^exponent, ties away from zero; exponent 0..31. */
static inline int32_t sec_shift_right(int32_t x, int exponent) {
    int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> exponent) + ((x & mask) > threshold);
}

/* x * multiplier * 2^(shift - 31); shift -31..30 */
static inline int32_t sec_requantize(int32_t x, int32_t multiplier, int shift) {
    if (shift >= 0) {
        return sec_high_mul((int32_t)((uint32_t)x << shift), multiplier);
    }
    /* sec_shift_right in fewer steps: one less where negative turns ties away from zero into ties upwards, and the
       last bit shifted out rounds up. The product is never INT32_MIN, so nothing overflows. */
    const int32_t product = sec_high_mul(x, multiplier);
    const int32_t y = product - (product < 0);
    return (y >> -shift) + ((y >> (-shift - 1)) & 1);
}

static inline int32_t sec_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

#endif
