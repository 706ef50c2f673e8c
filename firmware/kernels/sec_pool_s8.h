/* MAX_POOL_2D and AVERAGE_POOL_2D, int8. Taps outside the input do not count, as in TFLite.
 *
 * input (in_h, in_w, c), output (out_h, out_w, c), written byte by byte. With `step` -1 everything goes backwards: the
 * pointers are at the last bytes, and pad_top and pad_left count from the other end.
 */
#ifndef SEC_POOL_S8_H
#define SEC_POOL_S8_H

#include "sec_common.h"

typedef struct {
    int16_t in_h, in_w, c;
    int16_t out_h, out_w;
    int16_t k_h, k_w, stride_h, stride_w, pad_top, pad_left, step;
    int32_t low, high;
} sec_pool_s8_params;

typedef struct {
    int y0, y1, x0, x1;
} sec_pool_s8_window;

static inline sec_pool_s8_window sec_pool_s8_window_at(const sec_pool_s8_params *p, int oy, int ox) {
    const int y = oy * p->stride_h - p->pad_top;
    const int x = ox * p->stride_w - p->pad_left;
    sec_pool_s8_window w;
    w.y0 = y < 0 ? 0 : y;
    w.y1 = y + p->k_h > p->in_h ? p->in_h : y + p->k_h;
    w.x0 = x < 0 ? 0 : x;
    w.x1 = x + p->k_w > p->in_w ? p->in_w : x + p->k_w;
    return w;
}

static inline void sec_max_pool_s8(const sec_pool_s8_params *p, const int8_t *input, int8_t *output) {
    int32_t at = 0;
    for (int oy = 0; oy < p->out_h; ++oy) {
        for (int ox = 0; ox < p->out_w; ++ox) {
            const sec_pool_s8_window w = sec_pool_s8_window_at(p, oy, ox);
            for (int c = 0; c < p->c; ++c, at += p->step) {
                int32_t best = -128;
                for (int y = w.y0; y < w.y1; ++y) {
                    const int8_t *row = input + ((int32_t)y * p->in_w * p->c + c) * p->step;
                    for (int x = w.x0; x < w.x1; ++x) {
                        const int32_t v = row[x * p->c * p->step];
                        best = v > best ? v : best;
                    }
                }
                output[at] = (int8_t)sec_clamp(best, p->low, p->high);
            }
        }
    }
}

static inline void sec_average_pool_s8(const sec_pool_s8_params *p, const int8_t *input, int8_t *output) {
    int32_t at = 0;
    for (int oy = 0; oy < p->out_h; ++oy) {
        for (int ox = 0; ox < p->out_w; ++ox) {
            const sec_pool_s8_window w = sec_pool_s8_window_at(p, oy, ox);
            const int32_t count = (w.y1 - w.y0) * (w.x1 - w.x0);
            for (int c = 0; c < p->c; ++c, at += p->step) {
                int32_t sum = 0;
                for (int y = w.y0; y < w.y1; ++y) {
                    const int8_t *row = input + ((int32_t)y * p->in_w * p->c + c) * p->step;
                    for (int x = w.x0; x < w.x1; ++x) {
                        sum += row[x * p->c * p->step];
                    }
                }
                sum = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
                output[at] = (int8_t)sec_clamp(sum, p->low, p->high);
            }
        }
    }
}

#endif
