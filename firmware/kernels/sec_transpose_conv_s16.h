/* TRANSPOSE_CONV, int16 activations and int8 weights.
 *
 * input   (n, in_h, in_w, in_c)
 * weights (out_c, k_h, k_w, in_c)
 * bias    (out_c), see sec_bias_s16
 * output  (n, out_h, out_w, out_c), written in ascending order
 *
 * Every output pixel gathers the input pixels that reach it: input row y reaches output row y * stride - pad + ky.
 */
#ifndef SEC_TRANSPOSE_CONV_S16_H
#define SEC_TRANSPOSE_CONV_S16_H

#include "sec_dot_s16.h"

typedef struct {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t k_h, k_w, stride_h, stride_w, pad_top, pad_left;
    int32_t low, high;
    int8_t sum_wraps, wide_bias;
} sec_transpose_conv_s16_params;

/* *acc += all products that reach output pixel (oy, ox) of one channel, whose weights are (k_h, k_w, in_c) */
static inline void sec_transpose_conv_s16_at(const sec_transpose_conv_s16_params *p, const int16_t *input,
                                             const int8_t *weights, int32_t oy, int32_t ox, int64_t *acc) {
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
            sec_dot_s16(input + (y / p->stride_h * p->in_w + x / p->stride_w) * p->in_c, 0, 1, p->in_c,
                        weights + (ky * p->k_w + kx) * p->in_c, 0, 1, acc);
        }
    }
}

static inline void sec_transpose_conv_s16(const sec_transpose_conv_s16_params *p, const int16_t *input,
                                          const int8_t *weights, const void *bias, const int32_t *multiplier,
                                          const int8_t *shift, int16_t *output) {
    const int32_t filter = p->k_h * p->k_w * p->in_c;
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->in_c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            for (int32_t ox = 0; ox < p->out_w; ++ox) {
                for (int32_t c = 0; c < p->out_c; ++c) {
                    int64_t acc = sec_bias_s16(bias, p->wide_bias, c);
                    sec_transpose_conv_s16_at(p, input, weights + c * filter, oy, ox, &acc);
                    const int32_t v = sec_requantize_sum_s16(acc, p->sum_wraps, multiplier[c], shift[c]);
                    *output++ = (int16_t)sec_clamp(v, p->low, p->high);
                }
            }
        }
    }
}

#endif
