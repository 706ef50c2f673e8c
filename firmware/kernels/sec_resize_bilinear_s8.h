/* RESIZE_BILINEAR, int8: weights of 10 bits an axis, as TFLite's integer reference.
 *
 * input (n, in_h, in_w, c), output (n, out_h, out_w, c), written in ascending order. Positions in the input are in
 * 1/1024: that of output row y is y_start + y * y_step.
 */
#ifndef SEC_RESIZE_BILINEAR_S8_H
#define SEC_RESIZE_BILINEAR_S8_H

#include "sec_common.h"

typedef struct {
    int32_t n, in_h, in_w, c, out_h, out_w;
    int32_t y_start, y_step, x_start, x_step;
} sec_resize_bilinear_s8_params;

/* the two positions that one output lies between, and how far it is from the first, in 1/1024 */
typedef struct {
    int32_t low, high, from_low;
} sec_resize_bilinear_s8_between;

static inline sec_resize_bilinear_s8_between sec_resize_bilinear_s8_at(int32_t position, int32_t size) {
    sec_resize_bilinear_s8_between b;
    /* half-pixel centers begin outside: truncation towards zero and the clamp keep the first position */
    b.low = position / 1024 > 0 ? position / 1024 : 0;
    b.high = (position + 1023) / 1024 < size - 1 ? (position + 1023) / 1024 : size - 1;
    b.from_low = position - 1024 * b.low;
    return b;
}

static inline void sec_resize_bilinear_s8(const sec_resize_bilinear_s8_params *p, const int8_t *input,
                                          int8_t *output) {
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            const sec_resize_bilinear_s8_between y = sec_resize_bilinear_s8_at(p->y_start + oy * p->y_step, p->in_h);
            const int8_t *upper = input + y.low * p->in_w * p->c, *lower = input + y.high * p->in_w * p->c;
            for (int32_t ox = 0; ox < p->out_w; ++ox) {
                const sec_resize_bilinear_s8_between x =
                    sec_resize_bilinear_s8_at(p->x_start + ox * p->x_step, p->in_w);
                const int32_t left = x.low * p->c, right = x.high * p->c;
                for (int32_t c = 0; c < p->c; ++c) {
                    const int32_t above = upper[left + c] * (1024 - x.from_low) + upper[right + c] * x.from_low;
                    const int32_t below = lower[left + c] * (1024 - x.from_low) + lower[right + c] * x.from_low;
                    const int32_t v = above * (1024 - y.from_low) + below * y.from_low;
                    *output++ = (int8_t)((v > 0 ? v + (1 << 19) : v - (1 << 19)) / (1 << 20));
                }
            }
        }
    }
}

#endif
