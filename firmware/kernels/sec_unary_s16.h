/* RELU, RELU6, LEAKY_RELU, ABS and PRELU, int16: rescaled, negative values by a multiplier of their own, and clamped.
 *
 * Reads each element before it writes it, in ascending order.
 */
#ifndef SEC_UNARY_S16_H
#define SEC_UNARY_S16_H

#include "sec_common.h"

typedef struct {
    int32_t elements;
    int32_t positive_multiplier, negative_multiplier, low, high;
    int8_t positive_shift, negative_shift;
} sec_unary_s16_params;

static inline void sec_leaky_relu_s16(const sec_unary_s16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        const int32_t v = input[i];
        const int32_t r = v >= 0 ? sec_requantize(v, p->positive_multiplier, p->positive_shift)
                                 : sec_requantize(v, p->negative_multiplier, p->negative_shift);
        output[i] = (int16_t)sec_clamp(r, p->low, p->high);
    }
}

static inline void sec_abs_s16(const sec_unary_s16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        const int32_t v = input[i] < 0 ? -input[i] : input[i];
        output[i] = (int16_t)sec_clamp(sec_requantize(v, p->positive_multiplier, p->positive_shift), p->low, p->high);
    }
}

static inline void sec_clamp_s16(const sec_unary_s16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = (int16_t)sec_clamp(input[i], p->low, p->high);
    }
}

typedef struct {
    int16_t n, h, w, c;
    int32_t alpha_stride[4]; /* 0 broadcasts */
    int32_t alpha_offset, identity_multiplier, alpha_multiplier;
    int8_t identity_shift, alpha_shift;
} sec_prelu_s16_params;

static inline void sec_prelu_s16(const sec_prelu_s16_params *p, const int16_t *input, const int8_t *alpha,
                                 int16_t *output) {
    for (int n = 0; n < p->n; ++n) {
        for (int y = 0; y < p->h; ++y) {
            for (int x = 0; x < p->w; ++x) {
                const int8_t *pa = alpha + n * p->alpha_stride[0] + y * p->alpha_stride[1] + x * p->alpha_stride[2];
                for (int c = 0; c < p->c; ++c) {
                    const int32_t v = *input++, slope = pa[c * p->alpha_stride[3]] + p->alpha_offset;
                    const int32_t r = v >= 0 ? sec_requantize(v, p->identity_multiplier, p->identity_shift)
                                             : sec_requantize(v * slope, p->alpha_multiplier, p->alpha_shift);
                    *output++ = (int16_t)sec_clamp(r, INT16_MIN, INT16_MAX);
                }
            }
        }
    }
}

#endif
