/* Functions of one float32: element by element, in ascending order, each read before it is written.
 *
 * low, high: of the clamps, which RELU and its like are. alpha: of LEAKY_RELU.
 */
#ifndef SEC_UNARY_F32_H
#define SEC_UNARY_F32_H

#include "sec_float.h"

typedef struct {
    int32_t elements;
    float low, high, alpha;
} sec_unary_f32_params;

#define SEC_UNARY_F32(name, result)                                                                                   \
    static inline void name(const sec_unary_f32_params *p, const float *input, float *output) {                       \
        for (int32_t i = 0; i < p->elements; ++i) {                                                                   \
            const float x = input[i];                                                                                 \
            output[i] = (result);                                                                                     \
        }                                                                                                             \
    }

static inline float sec_hard_swish(float x) {
    const float above = x + 3.0f;
    float gate = 0.0f < above ? above : 0.0f; /* what is no number closes the gate, and is multiplied by it */
    gate = gate < 6.0f ? gate : 6.0f;
    return x * gate / 6.0f;
}

SEC_UNARY_F32(sec_relu_f32, x < p->low ? p->low : x)
SEC_UNARY_F32(sec_clamped_f32, sec_clamp_f32(x, p->low, p->high))
SEC_UNARY_F32(sec_leaky_relu_f32, x > 0.0f ? x : x * p->alpha)
SEC_UNARY_F32(sec_abs_f32, sec_float_of(sec_bits_of(x) & 0x7fffffffu))
SEC_UNARY_F32(sec_neg_f32, sec_float_of(sec_bits_of(x) ^ 0x80000000u))
SEC_UNARY_F32(sec_square_f32, x * x)
SEC_UNARY_F32(sec_hard_swish_f32, sec_hard_swish(x))
SEC_UNARY_F32(sec_elu_f32, x < 0.0f ? sec_exp_less_one(x) : x)
SEC_UNARY_F32(sec_logistic_f32, sec_logistic(x))
SEC_UNARY_F32(sec_tanh_f32, sec_tanh(x))
SEC_UNARY_F32(sec_exp_f32, sec_exp(x))
SEC_UNARY_F32(sec_log_f32, sec_log(x))
SEC_UNARY_F32(sec_sqrt_f32, sec_sqrt(x))
SEC_UNARY_F32(sec_rsqrt_f32, 1.0f / sec_sqrt(x))
SEC_UNARY_F32(sec_gelu_f32, sec_gelu(x))
SEC_UNARY_F32(sec_gelu_tanh_f32, sec_gelu_tanh(x))

#endif
