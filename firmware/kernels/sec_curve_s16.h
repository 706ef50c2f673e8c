/* LOGISTIC and TANH, int16 in and Q0.15 out: sigmoid(i / 24) of the table (256) in 0.16 fixed point, linear in between.
 *
 * x * multiplier / 2^shift is the input in 1/3 * 2^-12. Reads each element before it writes it, in ascending order.
 */
#ifndef SEC_CURVE_S16_H
#define SEC_CURVE_S16_H

#include "sec_common.h"

typedef struct {
    int32_t elements, multiplier;
    int8_t shift; /* to the right */
} sec_curve_s16_params;

static inline int32_t sec_curve_s16_scaled(const sec_curve_s16_params *p, int32_t x) {
    return (x * p->multiplier + (p->shift > 0 ? 1 << (p->shift - 1) : 0)) >> p->shift;
}

static inline void sec_logistic_s16(const sec_curve_s16_params *p, const int16_t *input, const uint16_t *table,
                                    int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        const int32_t x = sec_curve_s16_scaled(p, input[i]);
        const uint32_t a = (uint32_t)(x < 0 ? -x : x), at = a >> 9;
        uint32_t result = (uint32_t)0x7FFF << 10;
        if (at < 255) {
            result = ((uint32_t)table[at] << 9) + (a & 0x1ff) * ((uint32_t)table[at + 1] - table[at]);
        }
        result = x >= 0 ? result + (1u << 9) : (1u << 25) - result + (1u << 9) - 1u;
        output[i] = (int16_t)(result >> 10);
    }
}

static inline void sec_tanh_s16(const sec_curve_s16_params *p, const int16_t *input, const uint16_t *table,
                                int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        const int32_t x = sec_curve_s16_scaled(p, input[i]);
        const int32_t a = x < 0 ? -x : x, at = a >> 8;
        int32_t result = 0xFFFF * 256;
        if (at < 255) {
            result = table[at] * 256 + (a & 0xff) * (table[at + 1] - table[at]);
        }
        result = x >= 0 ? result - (1 << 23) + (1 << 7) : -result + (1 << 23) + (1 << 7) - 1;
        output[i] = (int16_t)(result >> 8);
    }
}

#endif
