/* CONV_2D, int16 activations and int8 weights; strides, dilation, padding and groups.
 *
 * input   (in_h, in_w, in_c)   NHWC
 * weights (out_c, k_h, k_w, in_c / groups)   OHWI
 * bias    (out_c), see sec_bias_s16
 * output  (out_h, out_w, out_c)
 *
 * Writes block of four channels by block, from the first to the last or, with `step` -1, from the last to the first; of a
 * pixel's window everything is read again for every block. Taps outside the input count as 0.
 */
#ifndef SEC_CONV2D_S16_H
#define SEC_CONV2D_S16_H

#include "sec_dot_s16.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t groups, step;
    int32_t low, high;
    int8_t sum_wraps, wide_bias;
} sec_conv2d_s16_params;

/* acc += the window's products, its tap 0 at (y0, x0) of the input, for `rows` channels of group `g` with weights `w` */
static inline void sec_conv2d_s16_window(const sec_conv2d_s16_params *p, const int16_t *input, const int8_t *w, int g,
                                         int y0, int x0, int rows, int64_t *acc) {
    const int32_t group_in = p->in_c / p->groups, filter = p->k_h * p->k_w * group_in;
    const int whole_rows = p->groups == 1 && p->dilation_w == 1;
    const int inside = x0 >= 0 && x0 + (p->k_w - 1) * p->dilation_w < p->in_w;
    for (int ky = 0; ky < p->k_h; ++ky) {
        const int iy = y0 + ky * p->dilation_h;
        if (iy < 0 || iy >= p->in_h) {
            continue;
        }
        const int16_t *row = input + iy * p->in_w * p->in_c + g * group_in;
        const int8_t *wk = w + ky * p->k_w * group_in;
        if (inside && whole_rows) {
            /* this and all further lines inside the input at once */
            int lines = 1;
            while (ky + lines < p->k_h && iy + lines * p->dilation_h < p->in_h) {
                ++lines;
            }
            sec_dot_s16(row + x0 * p->in_c, p->dilation_h * p->in_w * p->in_c, lines, p->k_w * group_in, wk, filter,
                        rows, acc);
            return;
        }
        if (whole_rows) {
            /* columns of an undilated window inside the input: [first, last) */
            const int first = x0 < 0 ? -x0 : 0, last = p->in_w - x0 < p->k_w ? p->in_w - x0 : p->k_w;
            if (last > first) {
                sec_dot_s16(row + (x0 + first) * p->in_c, 0, 1, (last - first) * group_in, wk + first * group_in,
                            filter, rows, acc);
            }
            continue;
        }
        for (int kx = 0; kx < p->k_w; ++kx) {
            const int ix = x0 + kx * p->dilation_w;
            if (ix >= 0 && ix < p->in_w) {
                sec_dot_s16(row + ix * p->in_c, 0, 1, group_in, wk + kx * group_in, filter, rows, acc);
            }
        }
    }
}

static inline void sec_conv2d_s16(const sec_conv2d_s16_params *p, const int16_t *input, const int8_t *weights,
                                  const void *bias, const int32_t *multiplier, const int8_t *shift, int16_t *output) {
    const int group_out = p->out_c / p->groups, step = p->step;
    const int32_t filter = p->k_h * p->k_w * (p->in_c / p->groups);
    int32_t pixel = sec_begin(p->out_h * p->out_w, step) * p->out_c; /* of the pixel's first output */
    for (int oy = sec_begin(p->out_h, step); oy >= 0 && oy < p->out_h; oy += step) {
        const int y0 = oy * p->stride_h - p->pad_top;
        for (int ox = sec_begin(p->out_w, step); ox >= 0 && ox < p->out_w; ox += step, pixel += step * p->out_c) {
            const int x0 = ox * p->stride_w - p->pad_left;
            for (int g = sec_begin(p->groups, step); g >= 0 && g < p->groups; g += step) {
                for (int c = sec_begin(group_out, step) & ~3; c >= 0 && c < group_out; c += 4 * step) {
                    const int rows = group_out - c < 4 ? group_out - c : 4;
                    const int channel = g * group_out + c;
                    int16_t *to = output + pixel + channel;
                    int64_t acc[4];
                    for (int r = 0; r < rows; ++r) {
                        acc[r] = sec_bias_s16(bias, p->wide_bias, channel + r);
                    }
                    sec_conv2d_s16_window(p, input, weights + channel * filter, g, y0, x0, rows, acc);
                    for (int r = 0; r < rows; ++r) {
                        const int32_t v = sec_requantize_sum_s16(acc[r], p->sum_wraps, multiplier[channel + r],
                                                                 shift[channel + r]);
                        to[r] = (int16_t)sec_clamp(v, p->low, p->high);
                    }
                }
            }
        }
    }
}

#endif
