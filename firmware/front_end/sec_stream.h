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

/* The top 24 bits of a value, rounded, ties to even; `exponent` grows by what was shifted out. */
static inline uint32_t sec_24_bits(uint64_t value, int *exponent) {
    int shift = 0;
    uint64_t rest = value;
    while (rest >> 24) {
        rest >>= 1;
        shift++;
    }
    if (shift > 0) {
        const uint64_t cut = value & (((uint64_t)1 << shift) - 1u);
        const uint64_t half = (uint64_t)1 << (shift - 1);
        rest += cut > half || (cut == half && (rest & 1u));
        if (rest >> 24) {
            rest >>= 1;
            shift++;
        }
    }
    *exponent += shift;
    return (uint32_t)rest;
}

/* (float)value * (mantissa * 2^exponent) in IEEE single precision, without float arithmetic: mantissa has 24 bits, the
   top one set, and the product is a normal number or 0. */
static inline float sec_scaled(uint64_t value, uint32_t mantissa, int exponent, int negative) {
    uint32_t bits = negative ? 0x80000000u : 0u;
    float real;
    const uint64_t product = (uint64_t)sec_24_bits(value, &exponent) * mantissa;
    if (product != 0) {
        const uint32_t rest = sec_24_bits(product, &exponent);
        bits |= ((uint32_t)(exponent + 150) << 23) | (rest & 0x7FFFFFu);
    }
    memcpy(&real, &bits, sizeof real);
    return real;
}

#endif
