/* CONV_2D, int8, per-channel requantization; strides, dilation, padding and groups.
 *
 * input   (in_h, in_w, in_c)   NHWC
 * weights (out_c, k_h, k_w, in_c / groups)   OHWI
 * bias    (out_c)  with input_offset * sum(weights) folded in, so that the inner loop is a plain dot product
 * output  (out_h, out_w, out_c)
 *
 * A tap outside the input counts as the input's zero point (-input_offset), as in TFLite.
 * Writes block of four channels by block, from the first to the last or, with `step` -1, from the last to the first; of a
 * pixel's window everything is read again for every block.
 */
#ifndef SEC_CONV2D_S8_H
#define SEC_CONV2D_S8_H

#include "sec_common.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t groups, step;
    int32_t input_offset, output_offset, low, high;
} sec_conv2d_s8_params;

/* acc[0..rows) += dot products of `lines` runs of n elements of x, x_step apart, with as many weights in one piece;
 * the weights of the next row are row_stride further. Not inline: its own frame keeps all in registers. */
static void sec_conv2d_s8_dot(const int8_t *x, int32_t x_step, int lines, int n, const int8_t *weights,
                              int32_t row_stride, int rows, int32_t *acc) {
    x_step -= n;
    if (rows == 4) {
        const int8_t *w0 = weights, *w1 = w0 + row_stride, *w2 = w1 + row_stride, *w3 = w2 + row_stride;
        int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
        for (; lines > 0; --lines) {
            for (int i = n; i > 0; --i) {
                const int32_t v = *x++;
                a0 += v * *w0++;
                a1 += v * *w1++;
                a2 += v * *w2++;
                a3 += v * *w3++;
            }
            x = lines > 1 ? x + x_step : x; /* no address beyond the last run is formed */
        }
        acc[0] = a0;
        acc[1] = a1;
        acc[2] = a2;
        acc[3] = a3;
        return;
    }
    for (int r = 0; r < rows; ++r) {
        const int8_t *w = weights + r * row_stride, *run = x;
        int32_t a = acc[r];
        for (int line = 0; line < lines; ++line) {
            for (int i = 0; i < n; ++i) {
                a += *run++ * *w++;
            }
            run = line + 1 < lines ? run + x_step : run;
        }
        acc[r] = a;
    }
}

/* acc[0..rows) += value * sum(weights of the row), over n elements */
static inline void sec_conv2d_s8_outside(int32_t value, const int8_t *weights, int32_t row_stride, int rows, int n,
                                         int32_t *acc) {
    for (int r = 0; n > 0 && r < rows; ++r) {
        const int8_t *w = weights + r * row_stride;
        int32_t sum = 0;
        for (int i = 0; i < n; ++i) {
            sum += w[i];
        }
        acc[r] += value * sum;
    }
}

static inline void sec_conv2d_s8(const sec_conv2d_s8_params *p, const int8_t *input, const int8_t *weights,
                                 const int32_t *bias, const int32_t *multiplier, const int8_t *shift,
                                 int8_t *output) {
    const int group_in = p->in_c / p->groups;
    const int group_out = p->out_c / p->groups;
    const int32_t filter = (int32_t)p->k_h * p->k_w * group_in;
    const int32_t output_offset = p->output_offset, low = p->low, high = p->high;
    const int whole_rows = p->groups == 1 && p->dilation_w == 1;
    const int step = p->step;
    int32_t pixel = sec_begin((int32_t)p->out_h * p->out_w, step) * p->out_c; /* of the pixel's first output */
    for (int oy = sec_begin(p->out_h, step); oy >= 0 && oy < p->out_h; oy += step) {
        const int y0 = oy * p->stride_h - p->pad_top;
        for (int ox = sec_begin(p->out_w, step); ox >= 0 && ox < p->out_w; ox += step, pixel += step * p->out_c) {
            const int x0 = ox * p->stride_w - p->pad_left;
            const int inside = x0 >= 0 && x0 + (p->k_w - 1) * p->dilation_w < p->in_w;
            /* columns of an undilated window inside the input: [first, last) */
            const int left = x0 < 0 ? -x0 : 0, right = p->in_w - x0 < p->k_w ? p->in_w - x0 : p->k_w;
            const int first = left < p->k_w ? left : p->k_w, last = right > first ? right : first;
            for (int g = sec_begin(p->groups, step); g >= 0 && g < p->groups; g += step) {
                for (int c = sec_begin(group_out, step) & ~3; c >= 0 && c < group_out; c += 4 * step) {
                    const int rows = group_out - c < 4 ? group_out - c : 4;
                    const int channel = g * group_out + c;
                    const int8_t *w = weights + channel * filter;
                    int8_t *to = output + pixel + channel;
                    int32_t acc[4];
                    for (int r = 0; r < rows; ++r) {
                        acc[r] = bias[channel + r];
                    }
                    for (int ky = 0; ky < p->k_h; ++ky) {
                        const int iy = y0 + ky * p->dilation_h;
                        const int8_t *wk = w + ky * p->k_w * group_in;
                        if (iy < 0 || iy >= p->in_h) {
                            sec_conv2d_s8_outside(-p->input_offset, wk, filter, rows, p->k_w * group_in, acc);
                            continue;
                        }
                        const int8_t *row = input + (int32_t)iy * p->in_w * p->in_c + g * group_in;
                        if (inside && whole_rows) {
                            /* this and all further lines inside the input at once */
                            int lines = 1;
                            while (ky + lines < p->k_h && iy + lines * p->dilation_h < p->in_h) {
                                ++lines;
                            }
                            sec_conv2d_s8_dot(row + x0 * p->in_c, (int32_t)p->dilation_h * p->in_w * p->in_c, lines,
                                              p->k_w * group_in, wk, filter, rows, acc);
                            ky += lines - 1;
                            continue;
                        }
                        if (whole_rows) {
                            const int n = (last - first) * group_in;
                            sec_conv2d_s8_outside(-p->input_offset, wk, filter, rows, first * group_in, acc);
                            if (n > 0) {
                                sec_conv2d_s8_dot(row + (x0 + first) * p->in_c, 0, 1, n, wk + first * group_in, filter,
                                                  rows, acc);
                            }
                            sec_conv2d_s8_outside(-p->input_offset, wk + last * group_in, filter, rows,
                                                  (p->k_w - last) * group_in, acc);
                            continue;
                        }
                        for (int kx = 0; kx < p->k_w; ++kx) {
                            const int ix = x0 + kx * p->dilation_w;
                            if (ix < 0 || ix >= p->in_w) {
                                sec_conv2d_s8_outside(-p->input_offset, wk + kx * group_in, filter, rows, group_in,
                                                      acc);
                            } else {
                                sec_conv2d_s8_dot(row + ix * p->in_c, 0, 1, group_in, wk + kx * group_in, filter, rows,
                                                  acc);
                            }
                        }
                    }
                    for (int r = 0; r < rows; ++r) {
                        const int32_t v = sec_requantize(acc[r], multiplier[channel + r], shift[channel + r]);
                        to[r] = (int8_t)sec_clamp(v + output_offset, low, high);
                    }
                }
            }
        }
    }
}

#endif
