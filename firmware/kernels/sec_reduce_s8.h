/* SUM, MEAN, REDUCE_MAX, REDUCE_MIN over any axes, int8.
 *
 * Neighbouring axes of one kind are one: up to three kept and three reduced ones, each with the elements from one
 * position to the next in the input. Output in the order of the kept axes, written in ascending order, each element
 * after all that it is made of is read.
 */
#ifndef SEC_REDUCE_S8_H
#define SEC_REDUCE_S8_H

#include "sec_common.h"

typedef struct {
    int32_t out[3], out_step[3]; /* kept axes */
    int32_t in[3], in_step[3];   /* reduced axes */
    int32_t first;               /* what a reduction begins with: of a sum, the zero points of its elements */
    int32_t multiplier, output_offset; /* sums; a mean's multiplier carries 1 / count */
    int8_t shift;
} sec_reduce_s8_params;

/* One function a kind: the loops are the same, `step` is the next value of `v` with an element `x`. */
#define SEC_REDUCE_S8(name, step)                                                                                     \
    static inline int32_t name(const sec_reduce_s8_params *p, const int8_t *input) {                                  \
        int32_t v = p->first;                                                                                         \
        for (int32_t i = 0; i < p->in[0]; ++i) {                                                                      \
            for (int32_t j = 0; j < p->in[1]; ++j) {                                                                  \
                const int8_t *line = input + i * p->in_step[0] + j * p->in_step[1];                                   \
                for (int32_t k = 0; k < p->in[2]; ++k) {                                                              \
                    const int32_t x = line[k * p->in_step[2]];                                                        \
                    v = (step);                                                                                       \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        return v;                                                                                                     \
    }

SEC_REDUCE_S8(sec_reduce_sum_of, v + x)
SEC_REDUCE_S8(sec_reduce_max_of, x > v ? x : v)
SEC_REDUCE_S8(sec_reduce_min_of, x < v ? x : v)

#define SEC_REDUCE_ALL_S8(name, result)                                                                               \
    static inline void name(const sec_reduce_s8_params *p, const int8_t *input, int8_t *output) {                     \
        for (int32_t i = 0; i < p->out[0]; ++i) {                                                                     \
            for (int32_t j = 0; j < p->out[1]; ++j) {                                                                 \
                const int8_t *at = input + i * p->out_step[0] + j * p->out_step[1];                                   \
                for (int32_t k = 0; k < p->out[2]; ++k, at += p->out_step[2]) {                                       \
                    *output++ = (int8_t)(result);                                                                     \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

static inline int32_t sec_reduce_rescaled(const sec_reduce_s8_params *p, int32_t sum) {
    return sec_clamp(sec_requantize(sum, p->multiplier, p->shift) + p->output_offset, -128, 127);
}

SEC_REDUCE_ALL_S8(sec_reduce_sum_s8, sec_reduce_rescaled(p, sec_reduce_sum_of(p, at)))
SEC_REDUCE_ALL_S8(sec_reduce_max_s8, sec_reduce_max_of(p, at))
SEC_REDUCE_ALL_S8(sec_reduce_min_s8, sec_reduce_min_of(p, at))

#endif
