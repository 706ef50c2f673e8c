/* ARG_MAX and ARG_MIN over one axis, float32 in, indices of int32 or int64 out. The first of equal values wins; what
 * is no number wins where it comes first, and never elsewhere.
 *
 * input (outer, size, inner), output (outer, inner), written in ascending order, each after its values are read.
 */
#ifndef SEC_ARG_F32_H
#define SEC_ARG_F32_H

#include "sec_float.h"

typedef struct {
    int32_t outer, size, inner;
    int8_t wide;    /* 1: indices of 64 bits */
    int8_t largest; /* 1: ARG_MAX */
} sec_arg_f32_params;

static inline int32_t sec_arg_f32_of(const sec_arg_f32_params *p, const float *x) {
    float best = x[0];
    int32_t index = 0;
    for (int32_t i = 1; i < p->size; ++i) {
        const float v = x[i * p->inner];
        if (p->largest ? v > best : v < best) {
            best = v;
            index = i;
        }
    }
    return index;
}

static inline void sec_arg_f32(const sec_arg_f32_params *p, const float *input, void *output) {
    unsigned char *to = (unsigned char *)output;
    for (int32_t o = 0; o < p->outer; ++o) {
        for (int32_t i = 0; i < p->inner; ++i) {
            const int32_t index = sec_arg_f32_of(p, input + o * p->size * p->inner + i);
            const int64_t wide = index;
            /* the arena aligns to 4 bytes, so 64 bits are not written as one */
            if (p->wide) {
                memcpy(to, &wide, sizeof wide);
                to += sizeof wide;
            } else {
                memcpy(to, &index, sizeof index);
                to += sizeof index;
            }
        }
    }
}

#endif
