/* CONV_2D, int8 activations and int4 weights, per-channel requantization; strides, dilation, padding and groups.
 *
 * input   (in_h, in_w, in_c)   NHWC
 * weights of one group after the other: its rows of (k_h, k_w, in_c / groups), two a byte, see sec_dot_s4.h
 * bias    (out_c)  with input_offset * sum(weights) folded in, so that the inner loop is a plain dot product
 * output  (out_h, out_w, out_c)
 *
 * A tap outside the input counts as the input's zero point (-input_offset), as in TFLite.
 * Writes block of four channels by block, from the first to the last or, with `step` -1, from the last to the first; of a
 * pixel's window everything is read again for every block.
 */
#ifndef SEC_CONV2D_S4_H
#define SEC_CONV2D_S4_H

#include "sec_dot_s4.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t groups, step;
    int32_t input_offset, output_offset, low, high;
} sec_conv2d_s4_params;

/* acc += the window's products, its tap 0 at (y0, x0) of the group's `input`, for the `rows` rows of a block */
static inline void sec_conv2d_s4_window(const sec_conv2d_s4_params *p, const int8_t *input, const int8_t *block, int y0,
                                        int x0, int rows, int32_t *acc) {
    const int32_t group_in = p->in_c / p->groups, filter = p->k_h * p->k_w * group_in;
    const int whole_rows = p->groups == 1 && p->dilation_w == 1;
    const int inside = x0 >= 0 && x0 + (p->k_w - 1) * p->dilation_w < p->in_w;
    /* columns of an undilated window inside the input: [first, last) */
    const int left = x0 < 0 ? -x0 : 0, right = p->in_w - x0 < p->k_w ? p->in_w - x0 : p->k_w;
    const int first = left < p->k_w ? left : p->k_w, last = right > first ? right : first;
    const int8_t zero = (int8_t)-p->input_offset;
    for (int ky = 0; ky < p->k_h; ++ky) {
        const int iy = y0 + ky * p->dilation_h;
        const int32_t at = ky * p->k_w * group_in;
        if (iy < 0 || iy >= p->in_h) {
            sec_dot_s4(&zero, 0, 0, 1, p->k_w * group_in, block, filter, at, rows, acc);
            continue;
        }
        const int8_t *row = input + (int32_t)iy * p->in_w * p->in_c;
        if (inside && whole_rows) {
            /* this and all further lines inside the input at once */
            int lines = 1;
            while (ky + lines < p->k_h && iy + lines * p->dilation_h < p->in_h) {
                ++lines;
            }
            sec_dot_s4(row + x0 * p->in_c, 1, p->dilation_h * p->in_w * p->in_c, lines, p->k_w * group_in, block, filter,
                       at, rows, acc);
            ky += lines - 1;
            continue;
        }
        if (whole_rows) {
            sec_dot_s4(&zero, 0, 0, 1, first * group_in, block, filter, at, rows, acc);
            if (last > first) {
                sec_dot_s4(row + (x0 + first) * p->in_c, 1, 0, 1, (last - first) * group_in, block, filter,
                           at + first * group_in, rows, acc);
            }
            sec_dot_s4(&zero, 0, 0, 1, (p->k_w - last) * group_in, block, filter, at + last * group_in, rows, acc);
            continue;
        }
        for (int kx = 0; kx < p->k_w; ++kx) {
            const int ix = x0 + kx * p->dilation_w;
            const int within = ix >= 0 && ix < p->in_w;
            sec_dot_s4(within ? row + ix * p->in_c : &zero, within, 0, 1, group_in, block, filter, at + kx * group_in,
                       rows, acc);
        }
    }
}

static inline void sec_conv2d_s4(const sec_conv2d_s4_params *p, const int8_t *input, const int8_t *weights,
                                 const int32_t *bias, const int32_t *multiplier, const int8_t *shift, int8_t *output) {
    const int group_in = p->in_c / p->groups, group_out = p->out_c / p->groups, step = p->step;
    const int32_t filter = (int32_t)p->k_h * p->k_w * group_in;
    const int32_t group_bytes = sec_rows_bytes_s4(group_out, filter);
    int32_t pixel = sec_begin((int32_t)p->out_h * p->out_w, step) * p->out_c; /* of the pixel's first output */
    for (int oy = sec_begin(p->out_h, step); oy >= 0 && oy < p->out_h; oy += step) {
        const int y0 = oy * p->stride_h - p->pad_top;
        for (int ox = sec_begin(p->out_w, step); ox >= 0 && ox < p->out_w; ox += step, pixel += step * p->out_c) {
            const int x0 = ox * p->stride_w - p->pad_left;
            for (int g = sec_begin(p->groups, step); g >= 0 && g < p->groups; g += step) {
                for (int c = sec_begin(group_out, step) & ~3; c >= 0 && c < group_out; c += 4 * step) {
                    const int rows = group_out - c < 4 ? group_out - c : 4;
                    const int channel = g * group_out + c;
                    int8_t *to = output + pixel + channel;
                    int32_t acc[4];
                    for (int r = 0; r < rows; ++r) {
                        acc[r] = bias[channel + r];
                    }
                    sec_conv2d_s4_window(p, input + g * group_in, sec_block_s4(weights + g * group_bytes, c, filter), y0,
                                         x0, rows, acc);
                    for (int r = 0; r < rows; ++r) {
                        const int32_t v = sec_requantize(acc[r], multiplier[channel + r], shift[channel + r]);
                        to[r] = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
                    }
                }
            }
        }
    }
}

#endif
