/* MEAN over height and width, int8. input (h * w, c), output (c), written in ascending order. */
#ifndef SEC_MEAN_S8_H
#define SEC_MEAN_S8_H

#include "sec_common.h"

typedef struct {
    int32_t positions, c;
    int32_t input_zero_point, output_offset, multiplier; /* the multiplier carries 1 / positions */
    int8_t shift;
} sec_mean_s8_params;

static inline void sec_mean_s8(const sec_mean_s8_params *p, const int8_t *input, int8_t *output) {
    for (int32_t c = 0; c < p->c; ++c) {
        int32_t sum = -p->input_zero_point * p->positions;
        const int8_t *x = input + c;
        for (int32_t i = 0; i < p->positions; ++i, x += p->c) {
            sum += *x;
        }
        const int32_t v = sec_requantize(sum, p->multiplier, p->shift);
        *output++ = (int8_t)sec_clamp(v + p->output_offset, -128, 127);
    }
}

#endif
