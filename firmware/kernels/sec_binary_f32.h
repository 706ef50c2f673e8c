/* ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM and PRELU, float32, with broadcasting.
 *
 * Output (n, h, w, c), written in ascending order; an operand's element is read just before the output that it makes.
 * a_stride, b_stride: elements from one output position to the next along (n, h, w, c); 0 repeats.
 */
#ifndef SEC_BINARY_F32_H
#define SEC_BINARY_F32_H

#include "sec_float.h"

typedef struct {
    int32_t n, h, w, c;
    int32_t a_stride[4], b_stride[4];
    float low, high;
} sec_binary_f32_params;

#define SEC_BINARY_F32(name, result)                                                                                  \
    static inline void name(const sec_binary_f32_params *p, const float *a, const float *b, float *output) {          \
        for (int32_t n = 0; n < p->n; ++n) {                                                                          \
            for (int32_t h = 0; h < p->h; ++h) {                                                                      \
                for (int32_t w = 0; w < p->w; ++w) {                                                                  \
                    const float *pa = a + n * p->a_stride[0] + h * p->a_stride[1] + w * p->a_stride[2];               \
                    const float *pb = b + n * p->b_stride[0] + h * p->b_stride[1] + w * p->b_stride[2];               \
                    for (int32_t c = 0; c < p->c; ++c) {                                                              \
                        const float va = pa[c * p->a_stride[3]], vb = pb[c * p->b_stride[3]];                         \
                        *output++ = (result);                                                                         \
                    }                                                                                                 \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_BINARY_F32(sec_add_f32, sec_clamp_f32(va + vb, p->low, p->high))
SEC_BINARY_F32(sec_sub_f32, sec_clamp_f32(va - vb, p->low, p->high))
SEC_BINARY_F32(sec_mul_f32, sec_clamp_f32(va * vb, p->low, p->high))
SEC_BINARY_F32(sec_div_f32, sec_clamp_f32(va / vb, p->low, p->high))
SEC_BINARY_F32(sec_squared_difference_f32, (va - vb) * (va - vb))
SEC_BINARY_F32(sec_maximum_f32, va > vb ? va : vb)
SEC_BINARY_F32(sec_minimum_f32, va < vb ? va : vb)
SEC_BINARY_F32(sec_prelu_f32, va >= 0.0f ? va : va * vb)

#endif
