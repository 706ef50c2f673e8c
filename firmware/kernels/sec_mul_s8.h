/* MUL, int8: product of the offset inputs, requantized.
 *
 * Inputs are read through four element strides each (batch, h, w, c); a stride of 0 broadcasts.
 * Output (n, h, w, c), written element by element right after its operands are read. With `step` -1 everything goes
 * backwards: the pointers are at the last elements, and the strides negative.
 */
#ifndef SEC_MUL_S8_H
#define SEC_MUL_S8_H

#include "sec_common.h"

typedef struct {
    int16_t n, h, w, c;
    int32_t a_stride[4], b_stride[4];
    int32_t a_offset, b_offset, output_offset, multiplier, low, high;
    int8_t shift, step;
} sec_mul_s8_params;

static inline void sec_mul_s8(const sec_mul_s8_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t a_step = p->a_stride[3], b_step = p->b_stride[3], step = p->step;
    int32_t at = 0; /* offsets, so that no address outside the tensors is formed after the last element */
    for (int n = 0; n < p->n; ++n) {
        for (int y = 0; y < p->h; ++y) {
            for (int x = 0; x < p->w; ++x) {
                int32_t ia = n * p->a_stride[0] + y * p->a_stride[1] + x * p->a_stride[2];
                int32_t ib = n * p->b_stride[0] + y * p->b_stride[1] + x * p->b_stride[2];
                for (int c = p->c; c > 0; --c, ia += a_step, ib += b_step, at += step) {
                    const int32_t product = (a[ia] + p->a_offset) * (b[ib] + p->b_offset);
                    const int32_t v = sec_requantize(product, p->multiplier, p->shift);
                    output[at] = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
                }
            }
        }
    }
}

#endif
