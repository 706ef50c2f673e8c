/* FULLY_CONNECTED, int16 activations and int8 weights, one multiplier for the whole output or one a row.
 *
 * input   (batch, in)
 * weights (out, in)
 * bias    (out), see sec_bias_s16
 * output  (batch, out)
 *
 * Writes block of four outputs by block, from the first to the last or, with `step` -1, from the last to the first; a row
 * of the input is read again for every block.
 */
#ifndef SEC_FULLY_CONNECTED_S16_H
#define SEC_FULLY_CONNECTED_S16_H

#include "sec_dot_s16.h"

typedef struct {
    int32_t batch, in, out;
    int32_t low, high;
    int16_t per_row; /* 1: multiplier and shift have `out` entries, 0: one */
    int16_t step;
    int8_t sum_wraps, wide_bias;
} sec_fully_connected_s16_params;

static inline void sec_fully_connected_s16(const sec_fully_connected_s16_params *p, const int16_t *input,
                                           const int8_t *weights, const void *bias, const int32_t *multiplier,
                                           const int8_t *shift, int16_t *output) {
    const int step = p->step;
    for (int32_t b = sec_begin(p->batch, step); b >= 0 && b < p->batch; b += step) {
        for (int32_t o = sec_begin(p->out, step) & ~3; o >= 0 && o < p->out; o += 4 * step) {
            int16_t *to = output + b * p->out + o;
            const int rows = p->out - o < 4 ? (int)(p->out - o) : 4;
            int64_t acc[4];
            for (int r = 0; r < rows; ++r) {
                acc[r] = sec_bias_s16(bias, p->wide_bias, o + r);
            }
            sec_dot_s16(input + b * p->in, 0, 1, p->in, weights + o * p->in, p->in, rows, acc);
            for (int r = 0; r < rows; ++r) {
                const int32_t i = p->per_row ? o + r : 0;
                const int32_t v = sec_requantize_sum_s16(acc[r], p->sum_wraps, multiplier[i], shift[i]);
                to[r] = (int16_t)sec_clamp(v, p->low, p->high);
            }
        }
    }
}

#endif
