/* SOFTMAX over the last axis, int8 in, int8 out at scale 1/256, zero point -128.
 *
 * Fixed point throughout, as TFLite's reference: differences to the row's maximum in Q5.26, exponentials in Q0.31
 * (a polynomial on [-1/4, 0) and a table of exp(-2^k)), their sum in Q12.19, its reciprocal by Newton-Raphson.
 * Constants are round(value * 2^31), or 2^29 for the two of the Newton-Raphson start.
 *
 * input (rows, depth), output (rows, depth), written in ascending order; a row is read whole before and while it
 * is written, so each exponential is computed again instead of being kept.
 */
#ifndef SEC_SOFTMAX_S8_H
#define SEC_SOFTMAX_S8_H

#include "sec_common.h"

/* A sum of 512: every output is less than half a step, so 0. TFLite's arithmetic ends here with a failed check. */
#define SEC_SOFTMAX_FLAT ((int32_t)1 << 28)

typedef struct {
    int32_t rows, depth;
    int32_t multiplier, left_shift, diff_min;
} sec_softmax_s8_params;

static inline int32_t sec_shift_left_saturating(int32_t x, int exponent) {
    const int32_t limit = INT32_MAX >> exponent;
    return x > limit ? INT32_MAX : x < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)x << exponent);
}

/* exp(a), a in Q5.26, a <= 0; result in Q0.31 */
static inline int32_t sec_exp_negative(int32_t a) {
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = (int32_t)1 << 24;
    const int32_t fraction = (a & (quarter - 1)) - quarter;
    const int32_t x = sec_shift_left_saturating(fraction, 5) + ((int32_t)1 << 28);
    const int32_t x2 = sec_high_mul(x, x);
    const int32_t x3 = sec_high_mul(x2, x);
    const int32_t x4 = sec_high_mul(x2, x2);
    const int32_t tail = sec_shift_right(sec_high_mul(sec_shift_right(x4, 2) + x3, 715827883) + x2, 1);
    int32_t result = 1895147668 + sec_high_mul(1895147668, x + tail);
    const int32_t remainder = fraction - a;
    for (int k = 0; k < 7; ++k) {
        if (remainder & ((int32_t)1 << (24 + k))) {
            result = sec_high_mul(result, powers[k]);
        }
    }
    return a == 0 ? INT32_MAX : result;
}

/* 1 / (1 + x), x in Q0.31, 0 <= x < 1; result in Q0.31 */
static inline int32_t sec_reciprocal_one_plus(int32_t x) {
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + sec_high_mul(half, -1010580540);
    for (int i = 0; i < 3; ++i) {
        const int32_t error = ((int32_t)1 << 29) - sec_high_mul(half, y);
        y += sec_shift_left_saturating(sec_high_mul(y, error), 2);
    }
    return sec_shift_left_saturating(y, 1);
}

static inline void sec_softmax_s8(const sec_softmax_s8_params *p, const int8_t *input, int8_t *output) {
    const int may_be_flat = p->depth > 511; /* known when the call is compiled: short rows carry none of it */
    for (int32_t r = 0; r < p->rows; ++r, input += p->depth, output += p->depth) {
        int32_t largest = -128;
        for (int32_t i = 0; i < p->depth; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        int32_t sum = 0; /* from SEC_SOFTMAX_FLAT on more would be of no use, and might not fit */
        for (int32_t i = 0; i < p->depth && (!may_be_flat || sum < SEC_SOFTMAX_FLAT); ++i) {
            const int32_t diff = input[i] - largest;
            if (diff >= p->diff_min) {
                const int32_t scaled = sec_high_mul((int32_t)((uint32_t)diff << p->left_shift), p->multiplier);
                sum += sec_shift_right(sec_exp_negative(scaled), 12);
            }
        }
        int headroom = 0;
        while (!((uint32_t)sum << headroom & 0x80000000u)) {
            ++headroom;
        }
        const int32_t above_one = (int32_t)(((uint32_t)sum << headroom) - 0x80000000u);
        const int32_t scale = sec_reciprocal_one_plus(above_one);
        const int exponent = 12 - headroom + 31 - 8;
        for (int32_t i = 0; i < p->depth; ++i) {
            const int32_t diff = input[i] - largest;
            int32_t v = -128;
            if (diff >= p->diff_min && (!may_be_flat || sum < SEC_SOFTMAX_FLAT)) {
                const int32_t scaled = sec_high_mul((int32_t)((uint32_t)diff << p->left_shift), p->multiplier);
                v = sec_shift_right(sec_high_mul(scale, sec_exp_negative(scaled)), exponent) - 128;
            }
            output[i] = (int8_t)sec_clamp(v, -128, 127);
        }
    }
}

#endif
