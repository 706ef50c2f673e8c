/* FULLY_CONNECTED, int8 activations and int4 weights, one multiplier for the whole output or one a row.
 *
 * input   (batch, in)
 * weights (out, in), two a byte: see sec_dot_s4.h
 * bias    (out)  with input_offset * sum(weights) folded in
 * output  (batch, out)
 *
 * Writes block of four outputs by block, from the first to the last or, with `step` -1, from the last to the first; a row
 * of the input is read again for every block.
 */
#ifndef SEC_FULLY_CONNECTED_S4_H
#define SEC_FULLY_CONNECTED_S4_H

#include "sec_dot_s4.h"

typedef struct {
    int32_t batch, in, out;
    int32_t output_offset, low, high;
    int16_t per_row; /* 1: multiplier and shift have `out` entries, 0: one */
    int16_t step;
} sec_fully_connected_s4_params;

static inline void sec_fully_connected_s4(const sec_fully_connected_s4_params *p, const int8_t *input,
                                          const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                                          const int8_t *shift, int8_t *output) {
    const int step = p->step;
    for (int32_t b = sec_begin(p->batch, step); b >= 0 && b < p->batch; b += step) {
        for (int32_t o = sec_begin(p->out, step) & ~3; o >= 0 && o < p->out; o += 4 * step) {
            int8_t *to = output + b * p->out + o;
            const int rows = p->out - o < 4 ? (int)(p->out - o) : 4;
            int32_t acc[4];
            for (int r = 0; r < rows; ++r) {
                acc[r] = bias[o + r];
            }
            sec_dot_s4(input + b * p->in, 1, 0, 1, p->in, sec_block_s4(weights, o, p->in), p->in, 0, rows, acc);
            for (int r = 0; r < rows; ++r) {
                const int32_t i = p->per_row ? o + r : 0;
                const int32_t v = sec_requantize(acc[r], multiplier[i], shift[i]);
                to[r] = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
            }
        }
    }
}

#endif
