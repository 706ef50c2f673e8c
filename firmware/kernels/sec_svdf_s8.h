/* SVDF, int8 in and out, its memory and time weights int8 or int16.
 *
 * input   (batch, inputs)
 * feature (units * rank, inputs)
 * time    (units * rank, memory)
 * bias    (units)
 * before, after (batch, units * rank, memory): the memory, each row moved on by one and its newest value appended;
 *         both may be one place, or `after` lie below `before`
 * output  (batch, units), written in ascending order, each after its row of the input is read
 */
#ifndef SEC_SVDF_S8_H
#define SEC_SVDF_S8_H

#include "sec_common.h"

typedef struct {
    int32_t batch, inputs, units, rank, memory;
    int32_t input_zero_point, state_zero_point, output_offset;
    int32_t feature_multiplier, time_multiplier;
    int8_t feature_shift, time_shift;
} sec_svdf_s8_params;

/* the newest value of one row of the memory, without its zero point */
static inline int32_t sec_svdf_feature(const sec_svdf_s8_params *p, const int8_t *input, const int8_t *feature) {
    int32_t acc = 0;
    for (int32_t i = 0; i < p->inputs; ++i) {
        acc += feature[i] * (input[i] - p->input_zero_point);
    }
    return sec_requantize(acc, p->feature_multiplier, p->feature_shift);
}

/* One function a type of the memory. Sums wrap, as TFLite's do: unsigned, so that this is defined. */
#define SEC_SVDF(name, type, lowest, highest)                                                                         \
    static inline void name(const sec_svdf_s8_params *p, const int8_t *input, const int8_t *feature,                  \
                            const type *time, const int32_t *bias, const type *before, type *after,                   \
                            int8_t *output) {                                                                         \
        for (int32_t b = 0; b < p->batch; ++b, input += p->inputs) {                                                  \
            const int8_t *f = feature;                                                                                \
            const type *t = time;                                                                                     \
            for (int32_t u = 0; u < p->units; ++u) {                                                                  \
                uint32_t acc = (uint32_t)bias[u];                                                                     \
                for (int32_t r = 0; r < p->rank; ++r, f += p->inputs, t += p->memory) {                               \
                    const int32_t newest = sec_clamp(sec_svdf_feature(p, input, f), lowest, highest);                 \
                    for (int32_t i = 0; i + 1 < p->memory; ++i) {                                                     \
                        after[i] = before[i + 1];                                                                     \
                    }                                                                                                 \
                    after[p->memory - 1] = (type)(p->state_zero_point + newest);                                      \
                    for (int32_t i = 0; i < p->memory; ++i) {                                                         \
                        acc += (uint32_t)(t[i] * (after[i] - p->state_zero_point));                                   \
                    }                                                                                                 \
                    before += p->memory;                                                                              \
                    after += p->memory;                                                                               \
                }                                                                                                     \
                const int32_t v = sec_requantize((int32_t)acc, p->time_multiplier, p->time_shift);                    \
                *output++ = (int8_t)sec_clamp(v + p->output_offset, -128, 127);                                       \
            }                                                                                                         \
        }                                                                                                             \
    }

SEC_SVDF(sec_svdf_s8, int8_t, INT8_MIN, INT8_MAX)
SEC_SVDF(sec_svdf_s16, int16_t, INT16_MIN, INT16_MAX)

#endif
