/* MAX_POOL_2D and AVERAGE_POOL_2D, float32. Taps outside the input do not count.
 *
 * input (n, in_h, in_w, c), output (n, out_h, out_w, c), written element by element in ascending order.
 */
#ifndef SEC_POOL_F32_H
#define SEC_POOL_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, in_h, in_w, c, out_h, out_w;
    int32_t k_h, k_w, stride_h, stride_w, pad_top, pad_left;
    float low, high;
} sec_pool_f32_params;

/* One function a kind: `first` begins, `step` is the next value of `v` with a tap `x`, `result` ends, after `count`. */
#define SEC_POOL_F32(name, first, step, result)                                                                       \
    static inline float name##_at(const sec_pool_f32_params *p, const float *input, int32_t y0, int32_t x0) {         \
        float v = (first), count = 0.0f;                                                                              \
        for (int32_t y = y0 < 0 ? 0 : y0; y < y0 + p->k_h && y < p->in_h; ++y) {                                      \
            for (int32_t at = x0 < 0 ? 0 : x0; at < x0 + p->k_w && at < p->in_w; ++at) {                              \
                const float x = input[(y * p->in_w + at) * p->c];                                                     \
                v = (step);                                                                                           \
                count += 1.0f;                                                                                        \
            }                                                                                                         \
        }                                                                                                             \
        (void)count;                                                                                                  \
        return sec_clamp_f32((result), p->low, p->high);                                                              \
    }                                                                                                                 \
                                                                                                                      \
    static inline void name(const sec_pool_f32_params *p, const float *input, float *output) {                        \
        for (int32_t n = 0; n < p->n; ++n, input += p->in_h * p->in_w * p->c) {                                       \
            for (int32_t y = 0; y < p->out_h; ++y) {                                                                  \
                for (int32_t x = 0; x < p->out_w; ++x) {                                                              \
                    for (int32_t c = 0; c < p->c; ++c) {                                                              \
                        *output++ = name##_at(p, input + c, y * p->stride_h - p->pad_top,                             \
                                              x * p->stride_w - p->pad_left);                                         \
                    }                                                                                                 \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_POOL_F32(sec_max_pool_f32, -SEC_FLOAT_LARGEST, v < x ? x : v, v)
SEC_POOL_F32(sec_average_pool_f32, 0.0f, v + x, v / count)

#endif
