/* SUM, MEAN, REDUCE_MAX, REDUCE_MIN over any axes, int16.
 *
 * Neighbouring axes of one kind are one: up to three kept and three reduced ones, each with the elements from one
 * position to the next in the input. Output in the order of the kept axes, written in ascending order, each element
 * after all that it is made of is read.
 */
#ifndef SEC_REDUCE_S16_H
#define SEC_REDUCE_S16_H

#include "sec_common.h"

typedef struct {
    int32_t out[3], out_step[3]; /* kept axes */
    int32_t in[3], in_step[3];   /* reduced axes */
    int32_t first;               /* what a reduction begins with */
    int32_t multiplier;          /* sums; a mean's multiplier carries 1 / count */
    int8_t shift;
} sec_reduce_s16_params;

/* One function a kind: the loops are the same, `next` is the next value of `v` with an element `x`, `result` the output
 * of the last one. */
#define SEC_REDUCE_S16(name, next, result)                                                                            \
    static inline int32_t name##_of(const sec_reduce_s16_params *p, const int16_t *input) {                           \
        int32_t v = p->first;                                                                                         \
        for (int32_t i = 0; i < p->in[0]; ++i) {                                                                      \
            for (int32_t j = 0; j < p->in[1]; ++j) {                                                                  \
                const int16_t *line = input + i * p->in_step[0] + j * p->in_step[1];                                  \
                for (int32_t k = 0; k < p->in[2]; ++k) {                                                              \
                    const int32_t x = line[k * p->in_step[2]];                                                        \
                    v = (next);                                                                                       \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        return (result);                                                                                              \
    }                                                                                                                 \
    static inline void name(const sec_reduce_s16_params *p, const int16_t *input, int16_t *output) {                  \
        for (int32_t i = 0; i < p->out[0]; ++i) {                                                                     \
            for (int32_t j = 0; j < p->out[1]; ++j) {                                                                 \
                for (int32_t k = 0; k < p->out[2]; ++k) {                                                             \
                    const int32_t at = i * p->out_step[0] + j * p->out_step[1] + k * p->out_step[2];                  \
                    *output++ = (int16_t)name##_of(p, input + at);                                                    \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_REDUCE_S16(sec_reduce_sum_s16, v + x, sec_clamp(sec_requantize(v, p->multiplier, p->shift), INT16_MIN, INT16_MAX))
SEC_REDUCE_S16(sec_reduce_max_s16, x > v ? x : v, v)
SEC_REDUCE_S16(sec_reduce_min_s16, x < v ? x : v, v)

#endif
