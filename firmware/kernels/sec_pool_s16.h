/* MAX_POOL_2D and AVERAGE_POOL_2D, int16. Taps outside the input do not count, as in TFLite.
 *
 * input (in_h, in_w, c), output (out_h, out_w, c), written value by value. With `step` -1 everything goes backwards: the
 * pointers are at the last values, and pad_top and pad_left count from the other end.
 */
#ifndef SEC_POOL_S16_H
#define SEC_POOL_S16_H

#include "sec_pool_s8.h"

typedef sec_pool_s8_params sec_pool_s16_params;

/* One function a kind: `begin` is what a window's value begins with, `next` the value with an input `x`, `result` the
 * output of value `v` and `count` taps. */
#define SEC_POOL_S16(name, begin, next, result)                                                                       \
    static inline void name(const sec_pool_s16_params *p, const int16_t *input, int16_t *output) {                    \
        int32_t at = 0;                                                                                               \
        for (int oy = 0; oy < p->out_h; ++oy) {                                                                       \
            for (int ox = 0; ox < p->out_w; ++ox) {                                                                   \
                const sec_pool_s8_window w = sec_pool_s8_window_at(p, oy, ox);                                        \
                const int32_t count = (w.y1 - w.y0) * (w.x1 - w.x0);                                                  \
                (void)count;                                                                                          \
                for (int c = 0; c < p->c; ++c, at += p->step) {                                                       \
                    int32_t v = (begin);                                                                              \
                    for (int y = w.y0; y < w.y1; ++y) {                                                               \
                        const int16_t *row = input + ((int32_t)y * p->in_w * p->c + c) * p->step;                     \
                        for (int i = w.x0; i < w.x1; ++i) {                                                           \
                            const int32_t x = row[i * p->c * p->step];                                                \
                            v = (next);                                                                               \
                        }                                                                                             \
                    }                                                                                                 \
                    output[at] = (int16_t)sec_clamp((result), p->low, p->high);                                       \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_POOL_S16(sec_max_pool_s16, INT16_MIN, x > v ? x : v, v)
SEC_POOL_S16(sec_average_pool_s16, 0, v + x, v > 0 ? (v + count / 2) / count : (v - count / 2) / count)

#endif
