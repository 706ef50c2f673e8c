/* QUANTIZE and DEQUANTIZE at a network's borders, float32 and integers of other widths.
 *
 * Element by element, in ascending order, each read before it is written. Float arithmetic is a division or a
 * multiplication alone, rounded once: the same bits on every processor, with hardware or in software.
 */
#ifndef SEC_QUANTIZE_H
#define SEC_QUANTIZE_H

#include "sec_common.h"

typedef struct {
    int32_t elements;
    float scale;
    int32_t zero_point, low, high;
} sec_quantize_f32_params;

/* round(x / scale) + zero_point, ties away from zero, saturating; what is no number gives the lowest value */
static inline int32_t sec_quantized(const sec_quantize_f32_params *p, float x) {
    const float q = x / p->scale, limit = 8388608.0f; /* 2^23: beyond, everything saturates */
    if (!(q > -limit)) {
        return p->low;
    }
    if (q > limit) {
        return p->high;
    }
    int32_t whole = (int32_t)q; /* towards zero, so that the rest is exact */
    const float rest = q - (float)whole;
    whole += rest >= 0.5f;
    whole -= rest <= -0.5f;
    return sec_clamp(whole + p->zero_point, p->low, p->high);
}

static inline void sec_quantize_f32_s8(const sec_quantize_f32_params *p, const float *input, int8_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = (int8_t)sec_quantized(p, input[i]);
    }
}

static inline void sec_quantize_f32_s16(const sec_quantize_f32_params *p, const float *input, int16_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = (int16_t)sec_quantized(p, input[i]);
    }
}

typedef struct {
    int32_t elements;
    float scale;
    int32_t zero_point;
} sec_dequantize_params;

static inline void sec_dequantize_s8_f32(const sec_dequantize_params *p, const int8_t *input, float *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = p->scale * (float)(input[i] - p->zero_point);
    }
}

/* input: bytes of uint8 */
static inline void sec_dequantize_u8_f32(const sec_dequantize_params *p, const int8_t *input, float *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = p->scale * (float)((uint8_t)input[i] - p->zero_point);
    }
}

static inline void sec_dequantize_s16_f32(const sec_dequantize_params *p, const int16_t *input, float *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = p->scale * (float)(input[i] - p->zero_point);
    }
}

typedef struct {
    int32_t elements;
    int32_t input_zero_point, output_offset, multiplier, low, high;
    int8_t shift;
} sec_rescale_params;

#define SEC_RESCALE(name, from, to)                                                                                   \
    static inline void name(const sec_rescale_params *p, const from *input, to *output) {                             \
        for (int32_t i = 0; i < p->elements; ++i) {                                                                   \
            const int32_t v = sec_requantize(input[i] - p->input_zero_point, p->multiplier, p->shift);                \
            output[i] = (to)sec_clamp(v + p->output_offset, p->low, p->high);                                         \
        }                                                                                                             \
    }

SEC_RESCALE(sec_rescale_s16_s8, int16_t, int8_t)
SEC_RESCALE(sec_rescale_s16_s16, int16_t, int16_t)
SEC_RESCALE(sec_rescale_s8_s16, int8_t, int16_t)

#endif
