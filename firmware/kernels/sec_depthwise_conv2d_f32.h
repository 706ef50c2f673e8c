/* DEPTHWISE_CONV_2D, float32; batches, any depth multiplier.
 *
 * input   (n, in_h, in_w, in_c)
 * weights (k_h, k_w, out_c), out_c = in_c * depth_multiplier
 * output  (n, out_h, out_w, out_c), written in ascending order, each after its window is read
 *
 * Sums begin with 0 and take taps in the order of the weights, the bias last; taps outside the input are left out.
 */
#ifndef SEC_DEPTHWISE_CONV2D_F32_H
#define SEC_DEPTHWISE_CONV2D_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t depth_multiplier;
    float low, high;
} sec_depthwise_conv2d_f32_params;

/* the window at (y0, x0), of one channel of input and weights */
static inline float sec_depthwise_conv2d_f32_at(const sec_depthwise_conv2d_f32_params *p, const float *input,
                                                const float *weights, int32_t y0, int32_t x0) {
    float sum = 0.0f;
    for (int32_t ky = 0; ky < p->k_h; ++ky) {
        const int32_t y = y0 + ky * p->dilation_h;
        if (y < 0 || y >= p->in_h) {
            continue;
        }
        for (int32_t kx = 0; kx < p->k_w; ++kx) {
            const int32_t x = x0 + kx * p->dilation_w;
            if (x >= 0 && x < p->in_w) {
                sum += input[(y * p->in_w + x) * p->in_c] * weights[(ky * p->k_w + kx) * p->out_c];
            }
        }
    }
    return sum;
}

static inline void sec_depthwise_conv2d_f32(const sec_depthwise_conv2d_f32_params *p, const float *input,
                                            const float *weights, const float *bias, float *output) {
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->in_c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            const int32_t y0 = oy * p->stride_h - p->pad_top;
            for (int32_t ox = 0; ox < p->out_w; ++ox, output += p->out_c) {
                const int32_t x0 = ox * p->stride_w - p->pad_left;
                for (int32_t c = 0, from = 0; from < p->in_c; ++from) {
                    for (int32_t m = 0; m < p->depth_multiplier; ++m, ++c) {
                        const float sum = sec_depthwise_conv2d_f32_at(p, input + from, weights + c, y0, x0);
                        output[c] = sec_clamp_f32(sum + bias[c], p->low, p->high);
                    }
                }
            }
        }
    }
}

#endif
