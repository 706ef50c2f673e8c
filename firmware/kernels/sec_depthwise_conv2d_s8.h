/* DEPTHWISE_CONV_2D, int8, per-channel requantization, any depth multiplier.
 *
 * input   (in_h, in_w, in_c)
 * weights (k_h, k_w, in_c * multiplier)
 * bias    (in_c * multiplier)  with input_offset * sum(weights) folded in
 * output  (out_h, out_w, in_c * multiplier)
 *
 * Writes in ascending order; of an output channel's window only that channel's input is read.
 */
#ifndef SEC_DEPTHWISE_CONV2D_S8_H
#define SEC_DEPTHWISE_CONV2D_S8_H

#include "sec_common.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t depth_multiplier;
    int32_t input_offset, output_offset, low, high;
} sec_depthwise_conv2d_s8_params;

static inline void sec_depthwise_conv2d_s8(const sec_depthwise_conv2d_s8_params *p, const int8_t *input,
                                           const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                                           const int8_t *shift, int8_t *output) {
    for (int oy = 0; oy < p->out_h; ++oy) {
        const int y0 = oy * p->stride_h - p->pad_top;
        for (int ox = 0; ox < p->out_w; ++ox) {
            const int x0 = ox * p->stride_w - p->pad_left;
            int oc = 0;
            for (int ic = 0; ic < p->in_c; ++ic) {
                for (int m = 0; m < p->depth_multiplier; ++m, ++oc) {
                    const int8_t *w = weights + oc;
                    int32_t acc = bias[oc];
                    for (int ky = 0; ky < p->k_h; ++ky) {
                        const int iy = y0 + ky * p->dilation_h;
                        const int in_row = iy >= 0 && iy < p->in_h;
                        /* the row's address is formed only inside the input: elsewhere it would be undefined */
                        const int8_t *row = in_row ? input + (int32_t)iy * p->in_w * p->in_c + ic : input;
                        for (int kx = 0; kx < p->k_w; ++kx, w += p->out_c) {
                            const int ix = x0 + kx * p->dilation_w;
                            const int32_t x =
                                in_row && ix >= 0 && ix < p->in_w ? row[ix * p->in_c] : -p->input_offset;
                            acc += x * *w;
                        }
                    }
                    const int32_t v = sec_requantize(acc, multiplier[oc], shift[oc]);
                    *output++ = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
                }
            }
        }
    }
}

#endif
