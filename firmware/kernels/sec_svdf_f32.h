/* SVDF, float32.
 *
 * input   (batch, inputs)
 * feature (units * rank, inputs)
 * time    (units * rank, memory)
 * bias    (units), which a sum begins with
 * before, after (batch, units * rank, memory): the memory, each row moved on by one and its newest value appended;
 *         both may be one place, or `after` lie below `before`
 * output  (batch, units), written in ascending order, each after its row of the input is read
 */
#ifndef SEC_SVDF_F32_H
#define SEC_SVDF_F32_H

#include "sec_float.h"

typedef struct {
    int32_t batch, inputs, units, rank, memory;
    float low, high;
    int8_t clamped; /* 1: below, 2: above too */
} sec_svdf_f32_params;

static inline float sec_svdf_f32_dot(const float *x, const float *w, int32_t n) {
    float sum = 0.0f;
    for (int32_t i = 0; i < n; ++i) {
        sum += x[i] * w[i];
    }
    return sum;
}

/* what is no number becomes the upper end, or where there is none the lower one */
static inline float sec_svdf_f32_clamp(const sec_svdf_f32_params *p, float x) {
    if (p->clamped > 1 && !(x < p->high)) {
        return p->high;
    }
    return p->clamped && !(p->low < x) ? p->low : x;
}

static inline void sec_svdf_f32(const sec_svdf_f32_params *p, const float *input, const float *feature,
                                const float *time, const float *bias, const float *before, float *after,
                                float *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->inputs) {
        const float *f = feature, *t = time;
        for (int32_t u = 0; u < p->units; ++u) {
            float total = bias[u];
            for (int32_t r = 0; r < p->rank; ++r, f += p->inputs, t += p->memory) {
                const float newest = sec_svdf_f32_dot(input, f, p->inputs);
                for (int32_t i = 0; i + 1 < p->memory; ++i) {
                    after[i] = before[i + 1];
                }
                after[p->memory - 1] = newest;
                total += sec_svdf_f32_dot(t, after, p->memory);
                before += p->memory;
                after += p->memory;
            }
            *output++ = sec_svdf_f32_clamp(p, total);
        }
    }
}

#endif
