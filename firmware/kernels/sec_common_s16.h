/* Arithmetic of the kernels on int16 activations: sums of 64 bits, rescaled by a multiplier of 15 bits; zero points are 0.
 *
 * An int16 times an int8 has 23 bits, so SEC_S16_RUN products fit in an int32: sums grow by that many at a time in 32
 * bits, which is exact and costs a 32-bit core little more than int8's sums.
 */
#ifndef SEC_COMMON_S16_H
#define SEC_COMMON_S16_H

#include "sec_common.h"

#define SEC_S16_RUN 511 /* 511 * 2^15 * 2^7 < 2^31 */

/* x * multiplier * 2^(shift - 15), the low 32 bits; shift -31..7. TFLite rounds 64-bit sums once, ties upwards. */
static inline int32_t sec_requantize_s64(int64_t x, int32_t multiplier, int shift) {
    const int right = 15 - shift;
    const int64_t rounded = (x * multiplier + ((int64_t)1 << (right - 1))) >> right;
    return (int32_t)(uint32_t)(uint64_t)rounded;
}

/* the same, or, where `wraps`, as of a sum that is 32 bits wide: TFLite's way where the bias is int32 */
static inline int32_t sec_requantize_sum_s16(int64_t x, int wraps, int32_t multiplier, int shift) {
    return wraps ? sec_requantize((int32_t)(uint32_t)(uint64_t)x, multiplier, shift)
                 : sec_requantize_s64(x, multiplier, shift);
}

/* a table of biases, of int64_t where one of them needs it, else of int32_t */
static inline int64_t sec_bias_s16(const void *bias, int wide, int32_t i) {
    return wide ? ((const int64_t *)bias)[i] : ((const int32_t *)bias)[i];
}

#endif
