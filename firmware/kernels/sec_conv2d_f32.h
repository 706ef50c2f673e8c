/* CONV_2D, float32; batches, strides, dilation, padding and groups.
 *
 * input   (n, in_h, in_w, in_c)   NHWC
 * weights (out_c, k_h, k_w, in_c / groups)   OHWI
 * output  (n, out_h, out_w, out_c)
 *
 * Every sum begins with 0 and takes its products in the order of the weights, the bias last; taps outside the input are
 * left out: the order of TFLite's reference kernel, so the same bits. Four output channels at a time: their windows are
 * read, then their outputs are written, in ascending order.
 */
#ifndef SEC_CONV2D_F32_H
#define SEC_CONV2D_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c;
    int32_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int32_t groups;
    float low, high;
} sec_conv2d_f32_params;

/* sums[0..rows) += products of n elements of x with as many weights; those of the next row are row_stride further */
static inline void sec_conv2d_f32_dot(const float *x, int32_t n, const float *weights, int32_t row_stride, int32_t rows,
                                      float *sums) {
    if (rows == 4) {
        const float *w0 = weights, *w1 = w0 + row_stride, *w2 = w1 + row_stride, *w3 = w2 + row_stride;
        float a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3];
        for (int32_t i = 0; i < n; ++i) {
            const float v = x[i];
            a0 += v * w0[i];
            a1 += v * w1[i];
            a2 += v * w2[i];
            a3 += v * w3[i];
        }
        sums[0] = a0;
        sums[1] = a1;
        sums[2] = a2;
        sums[3] = a3;
        return;
    }
    for (int32_t r = 0; r < rows; ++r) {
        const float *w = weights + r * row_stride;
        float a = sums[r];
        for (int32_t i = 0; i < n; ++i) {
            a += x[i] * w[i];
        }
        sums[r] = a;
    }
}

/* the window at (y0, x0) of `input`, whose first channel it points to, for `rows` output channels */
static inline void sec_conv2d_f32_window(const sec_conv2d_f32_params *p, const float *input, int32_t y0, int32_t x0,
                                         const float *weights, int32_t rows, float *sums) {
    const int32_t depth = p->in_c / p->groups, filter = p->k_h * p->k_w * depth;
    for (int32_t ky = 0; ky < p->k_h; ++ky) {
        const int32_t y = y0 + ky * p->dilation_h;
        if (y < 0 || y >= p->in_h) {
            continue;
        }
        const float *line = weights + ky * p->k_w * depth;
        if (p->groups == 1 && p->dilation_w == 1) { /* all columns inside the input are one run */
            const int32_t first = x0 < 0 ? -x0 : 0;
            const int32_t end = p->in_w - x0 < p->k_w ? p->in_w - x0 : p->k_w;
            if (first < end) {
                sec_conv2d_f32_dot(input + (y * p->in_w + x0 + first) * depth, (end - first) * depth,
                                   line + first * depth, filter, rows, sums);
            }
            continue;
        }
        for (int32_t kx = 0; kx < p->k_w; ++kx) {
            const int32_t x = x0 + kx * p->dilation_w;
            if (x >= 0 && x < p->in_w) {
                sec_conv2d_f32_dot(input + (y * p->in_w + x) * p->in_c, depth, line + kx * depth, filter, rows, sums);
            }
        }
    }
}

static inline void sec_conv2d_f32(const sec_conv2d_f32_params *p, const float *input, const float *weights,
                                  const float *bias, float *output) {
    const int32_t group_in = p->in_c / p->groups, group_out = p->out_c / p->groups;
    const int32_t filter = p->k_h * p->k_w * group_in;
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->in_c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            for (int32_t ox = 0; ox < p->out_w; ++ox, output += p->out_c) {
                for (int32_t g = 0; g < p->groups; ++g) {
                    for (int32_t c = 0; c < group_out; c += 4) {
                        const int32_t rows = group_out - c < 4 ? group_out - c : 4, channel = g * group_out + c;
                        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
                        sec_conv2d_f32_window(p, input + g * group_in, oy * p->stride_h - p->pad_top,
                                              ox * p->stride_w - p->pad_left, weights + channel * filter, rows, sums);
                        for (int32_t r = 0; r < rows; ++r) {
                            output[channel + r] = sec_clamp_f32(sums[r] + bias[channel + r], p->low, p->high);
                        }
                    }
                }
            }
        }
    }
}

#endif
