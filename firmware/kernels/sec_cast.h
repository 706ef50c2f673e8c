/* CAST between integers, float32 and bool (a byte of 0 or 1). Element by element, in ascending order.
 *
 * Integers that do not fit wrap, as TFLite's do; floats that do not fit saturate, and what is no number gives 0:
 * what a C cast makes of those differs between processors.
 */
#ifndef SEC_CAST_H
#define SEC_CAST_H

#include "sec_common.h"

typedef struct {
    int32_t elements;
} sec_cast_params;

#define SEC_WHOLE_S8(x) sec_clamp(sec_whole(x), INT8_MIN, INT8_MAX)
#define SEC_WHOLE_S16(x) sec_clamp(sec_whole(x), INT16_MIN, INT16_MAX)

static inline int32_t sec_whole(float x) {
    if (x >= 2147483648.0f) {
        return INT32_MAX;
    }
    if (x <= -2147483648.0f) {
        return INT32_MIN;
    }
    return x > -2147483648.0f ? (int32_t)x : 0;
}

#define SEC_CAST(name, from, to, through)                                                                             \
    static inline void name(const sec_cast_params *p, const from *input, to *output) {                                \
        for (int32_t i = 0; i < p->elements; ++i) {                                                                   \
            output[i] = (to)through(input[i]);                                                                        \
        }                                                                                                             \
    }

SEC_CAST(sec_cast_s8_s8, int8_t, int8_t, )
SEC_CAST(sec_cast_s8_s16, int8_t, int16_t, )
SEC_CAST(sec_cast_s8_s32, int8_t, int32_t, )
SEC_CAST(sec_cast_s8_f32, int8_t, float, )
SEC_CAST(sec_cast_s16_s8, int16_t, int8_t, )
SEC_CAST(sec_cast_s16_s32, int16_t, int32_t, )
SEC_CAST(sec_cast_s16_f32, int16_t, float, )
SEC_CAST(sec_cast_s32_s8, int32_t, int8_t, )
SEC_CAST(sec_cast_s32_s16, int32_t, int16_t, )
SEC_CAST(sec_cast_s32_f32, int32_t, float, )
SEC_CAST(sec_cast_f32_s8, float, int8_t, SEC_WHOLE_S8)
SEC_CAST(sec_cast_f32_s16, float, int16_t, SEC_WHOLE_S16)
SEC_CAST(sec_cast_f32_s32, float, int32_t, sec_whole)

#endif
