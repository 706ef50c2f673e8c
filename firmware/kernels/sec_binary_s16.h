/* ADD, SUB, MUL, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM, int16, either operand broadcast.
 *
 * Inputs are read through four element strides each (batch, h, w, c); a stride of 0 broadcasts.
 * Output (n, h, w, c), written element by element right after its operands are read. With `step` -1 everything goes
 * backwards: the pointers are at the last elements, and the strides negative.
 */
#ifndef SEC_BINARY_S16_H
#define SEC_BINARY_S16_H

#include "sec_common.h"

typedef struct {
    int16_t n, h, w, c;
    int32_t a_stride[4], b_stride[4];
    int32_t a_multiplier, b_multiplier, output_multiplier, low, high;
    int8_t a_shift, b_shift, output_shift, left_shift, step;
} sec_binary_s16_params;

/* One function a kind: the loops are the same, `result` is the expression of one output from va and vb. */
#define SEC_BINARY_S16(name, result)                                                                                  \
    static inline void name(const sec_binary_s16_params *p, const int16_t *a, const int16_t *b, int16_t *output) {    \
        const int32_t a_step = p->a_stride[3], b_step = p->b_stride[3], step = p->step;                               \
        int32_t at = 0; /* offsets, so that no address outside the tensors is formed after the last element */        \
        for (int n = 0; n < p->n; ++n) {                                                                              \
            for (int y = 0; y < p->h; ++y) {                                                                          \
                for (int x = 0; x < p->w; ++x) {                                                                      \
                    int32_t ia = n * p->a_stride[0] + y * p->a_stride[1] + x * p->a_stride[2];                        \
                    int32_t ib = n * p->b_stride[0] + y * p->b_stride[1] + x * p->b_stride[2];                        \
                    for (int c = p->c; c > 0; --c, ia += a_step, ib += b_step, at += step) {                          \
                        const int32_t va = a[ia], vb = b[ib];                                                         \
                        output[at] = (int16_t)(result);                                                               \
                    }                                                                                                 \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

/* An operand on the scale of both, `left_shift` more bits: at most 2^30, so that a sum of two fits. */
static inline int32_t sec_scaled_a_s16(const sec_binary_s16_params *p, int32_t v) {
    return sec_requantize(v * (1 << p->left_shift), p->a_multiplier, p->a_shift);
}

static inline int32_t sec_scaled_b_s16(const sec_binary_s16_params *p, int32_t v) {
    return sec_requantize(v * (1 << p->left_shift), p->b_multiplier, p->b_shift);
}

static inline int32_t sec_finish_binary_s16(const sec_binary_s16_params *p, int32_t x) {
    return sec_clamp(sec_requantize(x, p->output_multiplier, p->output_shift), p->low, p->high);
}

static inline int32_t sec_squared_s16(const sec_binary_s16_params *p, int32_t difference) {
    return sec_finish_binary_s16(p, difference * difference);
}

SEC_BINARY_S16(sec_add_s16, sec_finish_binary_s16(p, sec_scaled_a_s16(p, va) + sec_scaled_b_s16(p, vb)))
SEC_BINARY_S16(sec_sub_s16, sec_finish_binary_s16(p, sec_scaled_a_s16(p, va) - sec_scaled_b_s16(p, vb)))
SEC_BINARY_S16(sec_mul_s16, sec_finish_binary_s16(p, va * vb))
SEC_BINARY_S16(sec_squared_difference_s16, sec_squared_s16(p, sec_scaled_a_s16(p, va) - sec_scaled_b_s16(p, vb)))
SEC_BINARY_S16(sec_maximum_s16, va > vb ? va : vb)
SEC_BINARY_S16(sec_minimum_s16, va < vb ? va : vb)

#endif
