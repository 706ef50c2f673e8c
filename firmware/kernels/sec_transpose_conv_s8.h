/* TRANSPOSE_CONV, int8, per-channel requantization.
 *
 * input   (n, in_h, in_w, in_c)
 * weights (out_c, k_h, k_w, in_c)
 * output  (n, out_h, out_w, out_c), written in ascending order
 *
 * TFLite scatters input pixels into an int32 copy of the output; here every output pixel gathers those that reach it,
 * which needs no such copy: input row y reaches output row y * stride - pad + ky.
 */
#ifndef SEC_TRANSPOSE_CONV_S8_H
#define SEC_TRANSPOSE_CONV_S8_H

#include "sec_common.h"

typedef struct {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t k_h, k_w, stride_h, stride_w, pad_top, pad_left;
    int32_t input_offset, output_offset, low, high;
} sec_transpose_conv_s8_params;

/* the sum of all products that reach output pixel (oy, ox) of one channel, whose weights are (k_h, k_w, in_c) */
static inline int32_t sec_transpose_conv_s8_at(const sec_transpose_conv_s8_params *p, const int8_t *input,
                                               const int8_t *weights, int32_t oy, int32_t ox) {
    int32_t acc = 0;
    for (int32_t ky = 0; ky < p->k_h; ++ky) {
        const int32_t y = oy + p->pad_top - ky;
        if (y < 0 || y % p->stride_h || y / p->stride_h >= p->in_h) {
            continue;
        }
        for (int32_t kx = 0; kx < p->k_w; ++kx) {
            const int32_t x = ox + p->pad_left - kx;
            if (x < 0 || x % p->stride_w || x / p->stride_w >= p->in_w) {
                continue;
            }
            const int8_t *in = input + (y / p->stride_h * p->in_w + x / p->stride_w) * p->in_c;
            const int8_t *w = weights + (ky * p->k_w + kx) * p->in_c;
            for (int32_t c = 0; c < p->in_c; ++c) {
                acc += (in[c] + p->input_offset) * w[c];
            }
        }
    }
    return acc;
}

static inline void sec_transpose_conv_s8(const sec_transpose_conv_s8_params *p, const int8_t *input,
                                         const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                                         const int8_t *shift, int8_t *output) {
    const int32_t filter = p->k_h * p->k_w * p->in_c;
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->in_c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            for (int32_t ox = 0; ox < p->out_w; ++ox) {
                for (int32_t c = 0; c < p->out_c; ++c) {
                    const int32_t acc = bias[c] + sec_transpose_conv_s8_at(p, input, weights + c * filter, oy, ox);
                    const int32_t v = sec_requantize(acc, multiplier[c], shift[c]);
                    *output++ = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
                }
            }
        }
    }
}

#endif
