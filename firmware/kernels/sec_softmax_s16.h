/* SOFTMAX over the last axis, int16 in and Q0.15 out: exponentials and the reciprocal of their sum from tables.
 *
 * exp_table: 513 values of exp from -10 to 0, inverse_table: of 1 / (1 + x) from 0 to 1, Q0.15, linear in between.
 * input, output (rows, depth). A row is read once for its maximum, then element by element, each before the output takes
 * its exponential; then only the output is read and written.
 */
#ifndef SEC_SOFTMAX_S16_H
#define SEC_SOFTMAX_S16_H

#include "sec_common.h"

typedef struct {
    int32_t rows, depth, multiplier;
    int8_t shift;
} sec_softmax_s16_params;

/* of an int16 value: nine bits find the place, seven the point on the line to the next */
static inline int32_t sec_softmax_s16_look_up(int32_t value, const int16_t *table) {
    const int32_t at = 256 + (value >> 7), slope = table[at + 1] - table[at];
    return table[at] + ((slope * (value & 0x7f) + 64) >> 7);
}

static inline void sec_softmax_s16(const sec_softmax_s16_params *p, const int16_t *input, const int16_t *exp_table,
                                   const int16_t *inverse_table, int16_t *output) {
    for (int32_t row = 0; row < p->rows; ++row, input += p->depth, output += p->depth) {
        int32_t largest = INT16_MIN, sum = 0;
        for (int32_t c = 0; c < p->depth; ++c) {
            largest = input[c] > largest ? input[c] : largest;
        }
        for (int32_t c = 0; c < p->depth; ++c) {
            /* far below the largest the scaled difference may wrap, as TFLite's does */
            const uint32_t scaled = (uint32_t)sec_requantize(input[c] - largest, p->multiplier, p->shift);
            const int32_t power =
                sec_softmax_s16_look_up(sec_clamp((int32_t)(scaled + INT16_MAX), INT16_MIN, INT16_MAX), exp_table);
            sum += power;
            output[c] = (int16_t)power;
        }
        int right = 0; /* bits of the sum, less one: 1 <= sum / 2^right < 2 */
        while (sum >> (right + 1)) {
            ++right;
        }
        const int32_t fraction = (int32_t)((((int64_t)sum << (30 - right)) + (1 << 13)) >> 14) - 3 * (1 << 15);
        const int32_t inverse = sec_softmax_s16_look_up(sec_clamp(fraction, INT16_MIN, INT16_MAX), inverse_table);
        for (int32_t c = 0; c < p->depth; ++c) {
            const int64_t v = ((int64_t)output[c] * inverse + ((int64_t)1 << (right - 1))) >> right;
            output[c] = (int16_t)sec_clamp((int32_t)v, 0, INT16_MAX);
        }
    }
}

#endif
