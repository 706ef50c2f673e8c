/* RESIZE_BILINEAR, float32, in the order of TFLite's reference.
 *
 * input (n, in_h, in_w, c), output (n, out_h, out_w, c), written in ascending order. Output row y lies at
 * (y + shift) * y_scale - shift of the input: shift 0.5 with half-pixel centers, else 0.
 */
#ifndef SEC_RESIZE_BILINEAR_F32_H
#define SEC_RESIZE_BILINEAR_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, in_h, in_w, c, out_h, out_w;
    float y_scale, x_scale, shift;
} sec_resize_bilinear_f32_params;

/* the two positions that one output lies between, and how far it is from the first */
typedef struct {
    int32_t low, high;
    float from_low;
} sec_resize_bilinear_f32_between;

static inline sec_resize_bilinear_f32_between sec_resize_bilinear_f32_at(int32_t i, float scale, float shift,
                                                                         int32_t size) {
    sec_resize_bilinear_f32_between b;
    const float position = ((float)i + shift) * scale - shift;
    const int32_t whole = (int32_t)position; /* towards zero: of -0.5 to 0 that is 0, as the clamp would make it */
    b.low = whole;
    b.high = position > (float)whole ? whole + 1 : whole;
    b.high = b.high < size - 1 ? b.high : size - 1;
    b.from_low = position - (float)b.low;
    return b;
}

static inline void sec_resize_bilinear_f32(const sec_resize_bilinear_f32_params *p, const float *input,
                                           float *output) {
    for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->c) {
        for (int32_t oy = 0; oy < p->out_h; ++oy) {
            const sec_resize_bilinear_f32_between y =
                sec_resize_bilinear_f32_at(oy, p->y_scale, p->shift, p->in_h);
            const float *upper = input + y.low * p->in_w * p->c, *lower = input + y.high * p->in_w * p->c;
            for (int32_t ox = 0; ox < p->out_w; ++ox) {
                const sec_resize_bilinear_f32_between x =
                    sec_resize_bilinear_f32_at(ox, p->x_scale, p->shift, p->in_w);
                const int32_t left = x.low * p->c, right = x.high * p->c;
                for (int32_t c = 0; c < p->c; ++c) {
                    float v = upper[left + c] * (1.0f - y.from_low) * (1.0f - x.from_low);
                    v += lower[left + c] * y.from_low * (1.0f - x.from_low);
                    v += upper[right + c] * (1.0f - y.from_low) * x.from_low;
                    v += lower[right + c] * y.from_low * x.from_low;
                    *output++ = v + 0.0f;
                }
            }
        }
    }
}

#endif
