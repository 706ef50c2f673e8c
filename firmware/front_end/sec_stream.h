/* What every generated front end uses: counts to int8, rows in a ring, the confidence as a float's bits. */
#ifndef SEC_STREAM_H
#define SEC_STREAM_H

#include <stdint.h>
#include <string.h>

/* One row of counts, quantized: floor((count * multiplier + bias) / 2^shift), clamped. `per_column`: 0 where one
   multiplier and bias serve all columns, else 1. */
static inline void sec_quantize_row(
    const int16_t *counts, int width, const int32_t *multiplier, const int64_t *bias, int per_column, int shift,
    int low, int high, int8_t *out
) {
    for (int i = 0; i < width; i++) {
        const int column = per_column ? i : 0;
        const int64_t q = ((int64_t)counts[i] * multiplier[column] + bias[column]) >> shift;
        const int32_t value = q < low ? low : q > high ? high : (int32_t)q;
        out[i] = (int8_t)(uint8_t)((uint32_t)value & 255u);
    }
}

/* value * mantissa * 2^exponent as IEEE single precision, ties to even, without float arithmetic: mantissa has 24 bits,
   the top one set (or is 0), |value| < 2^24, and the product is a normal number or 0. */
static inline float sec_scaled(int32_t value, uint32_t mantissa, int exponent) {
    const uint32_t size = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    uint64_t product = (uint64_t)size * mantissa;
    uint32_t bits = value < 0 ? 0x80000000u : 0u;
    float real;
    if (product != 0) {
        int shift = 0;
        uint64_t rest = product;
        while (rest >> 24) {
            rest >>= 1;
            shift++;
        }
        if (shift > 0) {
            const uint64_t cut = product & (((uint64_t)1 << shift) - 1u);
            const uint64_t half = (uint64_t)1 << (shift - 1);
            rest += cut > half || (cut == half && (rest & 1u));
            if (rest >> 24) {
                rest >>= 1;
                shift++;
            }
        }
        bits |= ((uint32_t)(shift + exponent + 150) << 23) | ((uint32_t)rest & 0x7FFFFFu);
    }
    memcpy(&real, &bits, sizeof real);
    return real;
}

#endif
