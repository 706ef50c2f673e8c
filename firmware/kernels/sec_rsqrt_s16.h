/* RSQRT, int16: 1 / sqrt(x) by five Newton-Raphson steps in Q3.28, as TFLite's reference; the largest value where x is
 * not positive.
 *
 * Reads each element before it writes it, in ascending order.
 */
#ifndef SEC_RSQRT_S16_H
#define SEC_RSQRT_S16_H

#include "sec_l2_normalization_s8.h"

typedef struct {
    int32_t elements, multiplier;
    int8_t shift; /* of the root with 20 more bits */
} sec_rsqrt_s16_params;

static inline void sec_rsqrt_s16(const sec_rsqrt_s16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        int32_t found = INT16_MAX;
        if (input[i] > 0) {
            int shift;
            const int32_t multiplier = sec_inverse_sqrt(input[i], &shift);
            const int32_t root = sec_requantize(1, multiplier, shift + 20);
            found = sec_clamp(sec_requantize(root, p->multiplier, p->shift), INT16_MIN, INT16_MAX);
        }
        output[i] = (int16_t)found;
    }
}

#endif
