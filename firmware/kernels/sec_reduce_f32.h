/* SUM, MEAN, REDUCE_MAX, REDUCE_MIN over any axes, float32.
 *
 * Neighbouring axes of one kind are one: up to three kept and three reduced ones, each with the elements from one
 * position to the next in the input. Output in the order of the kept axes, written in ascending order, each element
 * after all that it is made of is read, in the order of the input.
 */
#ifndef SEC_REDUCE_F32_H
#define SEC_REDUCE_F32_H

#include "sec_float.h"

typedef struct {
    int32_t out[3], out_step[3]; /* kept axes */
    int32_t in[3], in_step[3];   /* reduced axes */
    float first;                 /* what a reduction begins with */
    float count;                 /* what a sum is divided by: 1 but for MEAN */
} sec_reduce_f32_params;

/* One function a kind: `step` is the next value of `v` with an element `x`, `result` ends. */
#define SEC_REDUCE_F32(name, step, result)                                                                            \
    static inline float name##_at(const sec_reduce_f32_params *p, const float *input) {                               \
        float v = p->first;                                                                                           \
        for (int32_t i = 0; i < p->in[0]; ++i) {                                                                      \
            for (int32_t j = 0; j < p->in[1]; ++j) {                                                                  \
                const float *line = input + i * p->in_step[0] + j * p->in_step[1];                                    \
                for (int32_t k = 0; k < p->in[2]; ++k) {                                                              \
                    const float x = line[k * p->in_step[2]];                                                          \
                    v = (step);                                                                                       \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        return (result);                                                                                              \
    }                                                                                                                 \
                                                                                                                      \
    static inline void name(const sec_reduce_f32_params *p, const float *input, float *output) {                      \
        for (int32_t i = 0; i < p->out[0]; ++i) {                                                                     \
            for (int32_t j = 0; j < p->out[1]; ++j) {                                                                 \
                for (int32_t k = 0; k < p->out[2]; ++k) {                                                             \
                    *output++ = name##_at(p, input + i * p->out_step[0] + j * p->out_step[1] + k * p->out_step[2]);   \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_REDUCE_F32(sec_reduce_sum_f32, v + x, v / p->count)
SEC_REDUCE_F32(sec_reduce_max_f32, x > v ? x : v, v)
SEC_REDUCE_F32(sec_reduce_min_f32, x < v ? x : v, v)

#endif
