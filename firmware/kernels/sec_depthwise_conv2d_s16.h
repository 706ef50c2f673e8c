/* DEPTHWISE_CONV_2D, int16 activations and int8 weights, any depth multiplier.
 *
 * input   (in_h, in_w, in_c)
 * weights (k_h, k_w, in_c * multiplier)
 * bias    (in_c * multiplier), see sec_bias_s16
 * output  (out_h, out_w, in_c * multiplier)
 *
 * Four output channels at a time: their windows are read, then their four values are written; blocks from the first to
 * the last or, with `step` -1, from the last to the first. Taps outside the input count as 0.
 */
#ifndef SEC_DEPTHWISE_CONV2D_S16_H
#define SEC_DEPTHWISE_CONV2D_S16_H

#include "sec_common_s16.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t depth_multiplier, step;
    int32_t low, high;
    int8_t sum_wraps, wide_bias;
} sec_depthwise_conv2d_s16_params;

/* Taps of a window that are inside the input: [first, end) along one axis; none where first >= end. */
typedef struct {
    int32_t first, end;
} sec_depthwise_conv2d_s16_span;

static inline sec_depthwise_conv2d_s16_span sec_depthwise_conv2d_s16_inside(int32_t start, int32_t step, int32_t taps,
                                                                           int32_t size) {
    sec_depthwise_conv2d_s16_span s;
    s.first = start < 0 ? (-start + step - 1) / step : 0;
    s.end = start < size ? (size - start + step - 1) / step : 0;
    s.end = s.end < taps ? s.end : taps;
    return s;
}

/* acc[r] += the sum over rows x columns taps of x[r] * w[r], four neighbouring channels; x moves by x_step from tap to
 * tap and by x_row from row to row, w likewise. */
static void sec_depthwise_conv2d_s16_taps4(const int16_t *x, int32_t x_row, int32_t x_step, const int8_t *w,
                                           int32_t w_row, int32_t w_step, int32_t rows, int32_t columns, int64_t *acc) {
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, room = SEC_S16_RUN;
    int32_t x_at = 0, w_at = 0; /* offsets, so that no address outside the tables is formed after the last tap */
    for (int32_t y = 0; y < rows; ++y, x_at += x_row, w_at += w_row) {
        int32_t i = x_at, j = w_at;
        for (int32_t left = columns; left > 0;) {
            const int32_t run = left < room ? left : room;
            for (int32_t n = run; n > 0; --n, i += x_step, j += w_step) {
                const int16_t *xi = x + i;
                const int8_t *wj = w + j;
                a0 += xi[0] * wj[0];
                a1 += xi[1] * wj[1];
                a2 += xi[2] * wj[2];
                a3 += xi[3] * wj[3];
            }
            left -= run;
            room -= run;
            if (room == 0) {
                acc[0] += a0;
                acc[1] += a1;
                acc[2] += a2;
                acc[3] += a3;
                a0 = a1 = a2 = a3 = 0;
                room = SEC_S16_RUN;
            }
        }
    }
    acc[0] += a0;
    acc[1] += a1;
    acc[2] += a2;
    acc[3] += a3;
}

/* the same of one channel */
static inline int64_t sec_depthwise_conv2d_s16_taps(const int16_t *x, int32_t x_row, int32_t x_step, const int8_t *w,
                                                    int32_t w_row, int32_t w_step, int32_t rows, int32_t columns) {
    int64_t acc = 0;
    for (int32_t y = 0; y < rows; ++y) {
        for (int32_t k = 0; k < columns; ++k) {
            acc += x[y * x_row + k * x_step] * w[y * w_row + k * w_step];
        }
    }
    return acc;
}

static inline void sec_depthwise_conv2d_s16(const sec_depthwise_conv2d_s16_params *p, const int16_t *input,
                                            const int8_t *weights, const void *bias, const int32_t *multiplier,
                                            const int8_t *shift, int16_t *output) {
    const int out_c = p->out_c, depth = p->depth_multiplier, step = p->step;
    const int32_t x_row = p->dilation_h * p->in_w * p->in_c, x_step = p->dilation_w * p->in_c;
    const int32_t w_row = p->k_w * out_c;
    int32_t pixel = sec_begin(p->out_h * p->out_w, step) * out_c; /* of the pixel's first output */
    for (int oy = sec_begin(p->out_h, step); oy >= 0 && oy < p->out_h; oy += step) {
        const int32_t y0 = oy * p->stride_h - p->pad_top;
        const sec_depthwise_conv2d_s16_span y = sec_depthwise_conv2d_s16_inside(y0, p->dilation_h, p->k_h, p->in_h);
        for (int ox = sec_begin(p->out_w, step); ox >= 0 && ox < p->out_w; ox += step, pixel += step * out_c) {
            const int32_t x0 = ox * p->stride_w - p->pad_left;
            const sec_depthwise_conv2d_s16_span x = sec_depthwise_conv2d_s16_inside(x0, p->dilation_w, p->k_w, p->in_w);
            const int32_t rows = y.end - y.first, columns = x.end - x.first;
            const int some = rows > 0 && columns > 0;
            const int32_t x_first =
                some ? ((y0 + y.first * p->dilation_h) * p->in_w + x0 + x.first * p->dilation_w) * p->in_c : 0;
            const int8_t *w = weights + (some ? (y.first * p->k_w + x.first) * out_c : 0);
            for (int channel = sec_begin(out_c, step) & ~3; channel >= 0 && channel < out_c; channel += 4 * step) {
                const int count = out_c - channel < 4 ? out_c - channel : 4;
                int64_t acc[4];
                for (int r = 0; r < count; ++r) {
                    acc[r] = sec_bias_s16(bias, p->wide_bias, channel + r);
                }
                if (some && count == 4 && depth == 1) {
                    sec_depthwise_conv2d_s16_taps4(input + x_first + channel, x_row, x_step, w + channel, w_row, out_c,
                                                   rows, columns, acc);
                } else if (some) {
                    for (int r = 0; r < count; ++r) {
                        const int oc = channel + r;
                        acc[r] += sec_depthwise_conv2d_s16_taps(input + x_first + oc / depth, x_row, x_step, w + oc,
                                                                w_row, out_c, rows, columns);
                    }
                }
                for (int r = 0; r < count; ++r) {
                    const int32_t v =
                        sec_requantize_sum_s16(acc[r], p->sum_wraps, multiplier[channel + r], shift[channel + r]);
                    output[pixel + channel + r] = (int16_t)sec_clamp(v, p->low, p->high);
                }
            }
        }
    }
}

#endif
