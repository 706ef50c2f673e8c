/* ADD, int8: both inputs are brought to one scale with 20 extra bits, added, and requantized.
 *
 * Inputs are read through four element strides each (batch, h, w, c); a stride of 0 broadcasts.
 * Output (n, h, w, c), written in ascending order, each element right after its operands are read.
 */
#ifndef SEC_ADD_S8_H
#define SEC_ADD_S8_H

#include "sec_common.h"

typedef struct {
    int16_t n, h, w, c;
    int32_t a_stride[4], b_stride[4];
    int32_t a_offset, a_multiplier, b_offset, b_multiplier, output_offset, output_multiplier, low, high;
    int8_t a_shift, b_shift, output_shift, left_shift;
} sec_add_s8_params;

static inline void sec_add_s8(const sec_add_s8_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    for (int n = 0; n < p->n; ++n) {
        for (int y = 0; y < p->h; ++y) {
            for (int x = 0; x < p->w; ++x) {
                const int8_t *pa = a + n * p->a_stride[0] + y * p->a_stride[1] + x * p->a_stride[2];
                const int8_t *pb = b + n * p->b_stride[0] + y * p->b_stride[1] + x * p->b_stride[2];
                for (int c = 0; c < p->c; ++c, pa += p->a_stride[3], pb += p->b_stride[3]) {
                    const int32_t va = (*pa + p->a_offset) * (1 << p->left_shift);
                    const int32_t vb = (*pb + p->b_offset) * (1 << p->left_shift);
                    const int32_t sum = sec_requantize(va, p->a_multiplier, p->a_shift) +
                                        sec_requantize(vb, p->b_multiplier, p->b_shift);
                    const int32_t v = sec_requantize(sum, p->output_multiplier, p->output_shift);
                    *output++ = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
                }
            }
        }
    }
}

#endif
