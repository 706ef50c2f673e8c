/* DEPTHWISE_CONV_2D, int8 activations and int4 weights, per-channel requantization, any depth multiplier.
 *
 * input   (in_h, in_w, in_c)
 * weights (k_h, k_w, in_c * multiplier), two neighbouring channels a byte, the first in its low bits; a tap begins a byte
 * bias    (in_c * multiplier)  with input_offset * sum(weights) folded in
 * output  (out_h, out_w, in_c * multiplier)
 *
 * Four output channels at a time: their windows are read, then their four bytes are written; blocks from the first to
 * the last or, with `step` -1, from the last to the first.
 * A tap outside the input counts as the input's zero point (-input_offset), as in TFLite.
 */
#ifndef SEC_DEPTHWISE_CONV2D_S4_H
#define SEC_DEPTHWISE_CONV2D_S4_H

#include "sec_nibbles.h"

typedef struct {
    int16_t in_h, in_w, in_c;
    int16_t out_h, out_w, out_c;
    int16_t k_h, k_w;
    int16_t stride_h, stride_w, dilation_h, dilation_w;
    int16_t pad_top, pad_left;
    int16_t depth_multiplier, step;
    int32_t input_offset, output_offset, low, high;
} sec_depthwise_conv2d_s4_params;

/* Taps of a window that are inside the input: [first, end) along one axis; none where first == end. */
typedef struct {
    int first, end;
} sec_depthwise_conv2d_s4_span;

static inline sec_depthwise_conv2d_s4_span sec_depthwise_conv2d_s4_inside(int start, int step, int taps, int size) {
    sec_depthwise_conv2d_s4_span s;
    s.first = 0;
    s.end = taps;
    while (s.first < taps && start + s.first * step < 0) {
        ++s.first;
    }
    while (s.end > s.first && start + (s.end - 1) * step >= size) {
        --s.end;
    }
    return s;
}

/* the window of a pixel, its tap 0 at (y0, x0) of the input */
typedef struct {
    int y0, x0;
    sec_depthwise_conv2d_s4_span rows, columns;
} sec_depthwise_conv2d_s4_window;

/* acc[r] += sum over rows x columns taps of x[r] * w[r], four neighbouring channels; x moves by x_step from tap to
 * tap and by x_row from row to row, w likewise. */
static void sec_depthwise_conv2d_s4_taps4(const int8_t *x, int32_t x_row, int32_t x_step, const int8_t *w,
                                          int32_t w_row, int32_t w_step, int rows, int columns, int32_t *acc) {
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    int32_t x_at = 0, w_at = 0; /* offsets, so that no address outside the tables is formed after the last tap */
    for (int y = 0; y < rows; ++y, x_at += x_row, w_at += w_row) {
        int32_t i = x_at, j = w_at;
        for (int n = columns; n > 0; --n, i += x_step, j += w_step) {
            const int8_t *xi = x + i, first = w[j], second = w[j + 1];
            a0 += xi[0] * sec_low_s4(first);
            a1 += xi[1] * sec_high_s4(first);
            a2 += xi[2] * sec_low_s4(second);
            a3 += xi[3] * sec_high_s4(second);
        }
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* acc += the products of `rows` x `columns` taps from (ky, kx) on, all of them outside the input */
static inline void sec_depthwise_conv2d_s4_outside(const sec_depthwise_conv2d_s4_params *p, const int8_t *outside,
                                                   const int8_t *w, int ky, int kx, int rows, int columns,
                                                   int32_t *acc) {
    if (rows > 0 && columns > 0) {
        const int32_t tap = (p->out_c + 1) / 2; /* bytes */
        sec_depthwise_conv2d_s4_taps4(outside, 0, 0, w + (ky * p->k_w + kx) * tap, p->k_w * tap, tap, rows, columns,
                                      acc);
    }
}

/* acc += the window's products, for four channels whose first weight is at `w` and whose input begins at `x` */
static inline void sec_depthwise_conv2d_s4_block(const sec_depthwise_conv2d_s4_params *p,
                                                 const sec_depthwise_conv2d_s4_window *at, const int8_t *outside,
                                                 const int8_t *x, const int8_t *w, int32_t *acc) {
    const int top = at->rows.first, left = at->columns.first;
    const int rows = at->rows.end - top, columns = at->columns.end - left;
    if (rows > 0 && columns > 0) {
        const int32_t tap = (p->out_c + 1) / 2; /* bytes */
        const int32_t iy = at->y0 + top * p->dilation_h, ix = at->x0 + left * p->dilation_w;
        sec_depthwise_conv2d_s4_taps4(x + (iy * p->in_w + ix) * p->in_c, p->dilation_h * p->in_w * p->in_c,
                                      p->dilation_w * p->in_c, w + (top * p->k_w + left) * tap, p->k_w * tap, tap,
                                      rows, columns, acc);
    }
    if (rows != p->k_h || columns != p->k_w) {
        sec_depthwise_conv2d_s4_outside(p, outside, w, 0, 0, top, p->k_w, acc);
        sec_depthwise_conv2d_s4_outside(p, outside, w, top, 0, rows, left, acc);
        sec_depthwise_conv2d_s4_outside(p, outside, w, top, left + columns, rows, p->k_w - left - columns, acc);
        sec_depthwise_conv2d_s4_outside(p, outside, w, top + rows, 0, p->k_h - top - rows, p->k_w, acc);
    }
}

/* the window's sum for one output channel */
static inline int32_t sec_depthwise_conv2d_s4_one(const sec_depthwise_conv2d_s4_params *p,
                                                  const sec_depthwise_conv2d_s4_window *at, const int8_t *input,
                                                  const int8_t *weights, int channel) {
    const int in_channel = channel / p->depth_multiplier;
    int32_t acc = 0;
    for (int ky = 0; ky < p->k_h; ++ky) {
        const int in_row = ky >= at->rows.first && ky < at->rows.end;
        const int32_t row = (int32_t)(at->y0 + ky * p->dilation_h) * p->in_w;
        for (int kx = 0; kx < p->k_w; ++kx, weights += (p->out_c + 1) / 2) {
            const int inside = in_row && kx >= at->columns.first && kx < at->columns.end;
            const int32_t x =
                inside ? input[(row + at->x0 + kx * p->dilation_w) * p->in_c + in_channel] : -p->input_offset;
            const int8_t byte = weights[channel / 2];
            acc += x * (channel & 1 ? sec_high_s4(byte) : sec_low_s4(byte));
        }
    }
    return acc;
}

static inline void sec_depthwise_conv2d_s4(const sec_depthwise_conv2d_s4_params *p, const int8_t *input,
                                           const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                                           const int8_t *shift, int8_t *output) {
    const int32_t output_offset = p->output_offset, low = p->low, high = p->high;
    const int out_c = p->out_c, depth = p->depth_multiplier;
    const int8_t zero = (int8_t)-p->input_offset;
    const int8_t outside[4] = {zero, zero, zero, zero};
    sec_depthwise_conv2d_s4_window at;
    const int step = p->step;
    int32_t pixel = sec_begin((int32_t)p->out_h * p->out_w, step) * out_c; /* of the pixel's first output */
    for (int oy = sec_begin(p->out_h, step); oy >= 0 && oy < p->out_h; oy += step) {
        at.y0 = oy * p->stride_h - p->pad_top;
        at.rows = sec_depthwise_conv2d_s4_inside(at.y0, p->dilation_h, p->k_h, p->in_h);
        for (int ox = sec_begin(p->out_w, step); ox >= 0 && ox < p->out_w; ox += step, pixel += step * out_c) {
            at.x0 = ox * p->stride_w - p->pad_left;
            at.columns = sec_depthwise_conv2d_s4_inside(at.x0, p->dilation_w, p->k_w, p->in_w);
            for (int channel = sec_begin(out_c, step) & ~3; channel >= 0 && channel < out_c; channel += 4 * step) {
                const int count = out_c - channel < 4 ? out_c - channel : 4;
                int32_t acc[4];
                for (int r = 0; r < count; ++r) {
                    acc[r] = bias[channel + r];
                }
                if (count == 4 && depth == 1) {
                    sec_depthwise_conv2d_s4_block(p, &at, outside, input + channel, weights + channel / 2, acc);
                } else {
                    for (int r = 0; r < count; ++r) {
                        const int oc = channel + r;
                        acc[r] += sec_depthwise_conv2d_s4_one(p, &at, input, weights, oc);
                    }
                }
                for (int r = 0; r < count; ++r) {
                    const int32_t v = sec_requantize(acc[r], multiplier[channel + r], shift[channel + r]);
                    output[pixel + channel + r] = (int8_t)sec_clamp(v + output_offset, low, high);
                }
            }
        }
    }
}

#endif
