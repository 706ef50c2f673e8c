/* QUANTIZE int8 to int8, RELU and RELU6 as operators of their own: requantize and clamp, element by element.
 *
 * With `step` -1 input and output point at their last elements, and everything goes backwards.
 */
#ifndef SEC_REQUANTIZE_S8_H
#define SEC_REQUANTIZE_S8_H

#include "sec_common.h"

typedef struct {
    int32_t elements;
    int32_t input_zero_point, output_offset, multiplier, low, high;
    int8_t shift, step;
} sec_requantize_s8_params;

static inline void sec_requantize_s8(const sec_requantize_s8_params *p, const int8_t *input, int8_t *output) {
    for (int32_t i = 0, left = p->elements; left > 0; --left, i += p->step) {
        const int32_t v = sec_requantize(input[i] - p->input_zero_point, p->multiplier, p->shift);
        output[i] = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
    }
}

#endif
