/* L2_NORMALIZATION over the last axis, int8 in, int8 out at scale 1/128, zero point 0.
 *
 * 1 / sqrt(sum of squares) by five Newton-Raphson steps in Q3.28, as TFLite's reference.
 * input (rows, depth), output (rows, depth): a row is read whole, then element by element before each is written.
 */
#ifndef SEC_L2_NORMALIZATION_S8_H
#define SEC_L2_NORMALIZATION_S8_H

#include "sec_softmax_s8.h"

typedef struct {
    int32_t rows, depth, input_zero_point;
} sec_l2_normalization_s8_params;

/* 1 / sqrt(x) = result * 2^(shift - 31), x >= 0; the largest result where x is 0 or 1 */
static inline int32_t sec_inverse_sqrt(int32_t x, int *shift) {
    int right = 11;
    *shift = 0;
    if (x <= 1) {
        return INT32_MAX;
    }
    while (x >= (int32_t)1 << 29) {
        x /= 4;
        ++right;
    }
    while (x < (int32_t)1 << 27) { /* pairs of leading zeros, all but the last */
        x *= 4;
        --right;
    }
    const int32_t half = sec_shift_right(x >> 1, 1);
    int32_t y = (int32_t)1 << 28;
    for (int i = 0; i < 5; ++i) {
        const int32_t cubed = sec_shift_left_saturating(sec_high_mul(sec_high_mul(y, y), y), 6);
        y = sec_shift_left_saturating(sec_high_mul((int32_t)3 << 27, y) - sec_high_mul(half, cubed), 3);
    }
    y = sec_high_mul(y, 1518500250); /* sqrt(2) / 2 */
    if (right < 0) {
        y = (int32_t)((uint32_t)y << -right);
        right = 0;
    }
    *shift = -right;
    return y;
}

static inline void sec_l2_normalization_s8(const sec_l2_normalization_s8_params *p, const int8_t *input,
                                           int8_t *output) {
    for (int32_t r = 0; r < p->rows; ++r, input += p->depth, output += p->depth) {
        int32_t sum = 0;
        for (int32_t i = 0; i < p->depth; ++i) {
            const int32_t v = input[i] - p->input_zero_point;
            sum += v * v;
        }
        int shift;
        const int32_t multiplier = sec_inverse_sqrt(sum, &shift);
        for (int32_t i = 0; i < p->depth; ++i) {
            const int32_t v = sec_requantize(input[i] - p->input_zero_point, multiplier, shift + 7);
            output[i] = (int8_t)sec_clamp(v, -128, 127);
        }
    }
}

#endif
