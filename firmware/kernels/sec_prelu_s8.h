/* PRELU, int8: x where it is not negative, x * alpha where it is; alpha through four element strides, 0 broadcasts.
 * Reads each element before it writes it, in ascending order.
 */
#ifndef SEC_PRELU_S8_H
#define SEC_PRELU_S8_H

#include "sec_common.h"

typedef struct {
    int16_t n, h, w, c;
    int32_t alpha_stride[4];
    int32_t input_offset, alpha_offset, output_offset, identity_multiplier, alpha_multiplier;
    int8_t identity_shift, alpha_shift;
} sec_prelu_s8_params;

static inline void sec_prelu_s8(const sec_prelu_s8_params *p, const int8_t *input, const int8_t *alpha,
                                int8_t *output) {
    for (int n = 0; n < p->n; ++n) {
        for (int y = 0; y < p->h; ++y) {
            for (int x = 0; x < p->w; ++x) {
                const int8_t *pa = alpha + n * p->alpha_stride[0] + y * p->alpha_stride[1] + x * p->alpha_stride[2];
                for (int c = 0; c < p->c; ++c, pa += p->alpha_stride[3]) {
                    const int32_t v = *input++ + p->input_offset;
                    const int32_t r =
                        v >= 0 ? sec_requantize(v, p->identity_multiplier, p->identity_shift)
                               : sec_requantize(v * (*pa + p->alpha_offset), p->alpha_multiplier, p->alpha_shift);
                    *output++ = (int8_t)sec_clamp(r + p->output_offset, -128, 127);
                }
            }
        }
    }
}

#endif
