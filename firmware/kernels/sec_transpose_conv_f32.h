/* TRANSPOSE_CONV, float32.
 *
 * input   (n, in_h, in_w, in_c)
 * weights (out_c, k_h, k_w, in_c)
 * output  (n, out_h, out_w, out_c), written in ascending order
 *
 * TFLite scatters input pixels over the output; here every output pixel gathers those that reach it, in their order:
 * from the last tap to the first. Sums begin with 0, the bias comes last.
 */
#ifndef SEC_TRANSPOSE_CONV_F32_H
#define SEC_TRANSPOSE_CONV_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t k_h, k_w, stride_h, stride_w, pad_top, pad_left;
    float low, high;
} sec_transpose_conv_f32_params;

/* the sum of all products that reach output pixel (oy, ox) of one channel, whose weights are (k_h, k_w, in_c) */
static inline float sec_transpose_conv_f32_at(const sec_transpose_conv_f32_params *p, const float *input,
                                              const float *weights, int32_t oy, int32_t ox) {
    float sum = 0.0f;
    for (int32_t ky = p->k_h - 1; ky >= 0; --ky) {
        const int32_t y = oy + p->pad_top - ky;
        if (y < 0 || y % p->stride_h || y / p->stride_h >= p->in_h) {
            continue;
        }
        for (int32_t kx = p->k_w - 1; kx >= 0; --kx) {
            const int32_t x = ox + p->pad_left - kx;
            if (x < 0 || x % p->stride_w || x / p->stride_w >= p->in_w) {
                continue;
            }
            const float *in = input + (y / p->stride_h * p->in_w + x / p->stride_w) * p->in_c;
            const float *w = weights + (ky * p->k_w + kx) * p->in_c;
            for (int32_t c = 0; c < p->in_c; ++c) {
                sum += in[c] * w[c];
            }
        }
    }
    return sum;
}

static inline void sec_transpose_conv_f32(const sec_transpose_conv_f32_params *p, const float *input,
                                          const float *weights, const float *bias, float *output) {
    const int32_t filter = p->k_h * p->k_w * p->in_c;
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->in_c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            for (int32_t ox = 0; ox < p->out_w; ++ox) {
                for (int32_t c = 0; c < p->out_c; ++c) {
                    const float sum = sec_transpose_conv_f32_at(p, input, weights + c * filter, oy, ox);
                    *output++ = sec_clamp_f32(sum + bias[c], p->low, p->high);
                }
            }
        }
    }
}

#endif
