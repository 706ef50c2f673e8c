/* Each channel of a window less its mean or its least-squares line, rounded half up, in place; rows, then channels.
   The line at row i is (first + i * step) / divisor: two divisions a channel, then additions. */
#ifndef SEC_DETREND_H
#define SEC_DETREND_H

#include <stdint.h>

typedef struct {
    int32_t rows, width; /* at most 4096 rows: twice the numerator stays below 2^55 */
    int32_t linear;
} sec_detrend_params;

/* floor(a / b), what is left over in *rest; b above 0 */
static inline int64_t sec_detrend_divide(int64_t a, int64_t b, int64_t *rest) {
    const int64_t left = a % b;
    *rest = left < 0 ? left + b : left;
    return a / b - (left < 0);
}

static inline void sec_detrend_channel(const sec_detrend_params *p, int16_t *x) {
    const int64_t rows = p->rows;
    int32_t total = 0;
    int64_t moment = 0, first, step, divisor;
    if (p->linear) {
        for (int32_t i = 0, t = 1 - p->rows; i < p->rows; ++i, t += 2) {
            total += x[i * p->width];
            moment += x[i * p->width] * t;
        }
        first = (rows * rows - 1) * total - 3 * (rows - 1) * moment;
        step = 6 * moment;
        divisor = rows * (rows * rows - 1);
    } else {
        for (int32_t i = 0; i < p->rows; ++i) {
            total += x[i * p->width];
        }
        first = total;
        step = 0;
        divisor = rows;
    }
    int64_t rest, more_rest;
    int32_t line = (int32_t)sec_detrend_divide(2 * first + divisor, 2 * divisor, &rest);
    const int32_t more = (int32_t)sec_detrend_divide(step, divisor, &more_rest);
    more_rest *= 2;
    for (int32_t i = 0; i < p->rows; ++i, x += p->width) {
        const int32_t y = *x - line;
        *x = (int16_t)(y < -32768 ? -32768 : y > 32767 ? 32767 : y);
        rest += more_rest;
        line += more;
        if (rest >= 2 * divisor) {
            rest -= 2 * divisor;
            ++line;
        }
    }
}

static inline void sec_detrend_window(const sec_detrend_params *p, void *scratch, int16_t *window) {
    (void)scratch;
    for (int32_t c = 0; c < p->width; ++c) {
        sec_detrend_channel(p, window + c);
    }
}

#endif
