/* Integer routines that Debian's libgcc for lx106 leaves to the ESP8266's ROM.
   Kernels avoid division; the 64-bit product is on their path (requantization) and is built from 16-bit
   partial products, each one MUL16U instruction. */
#include <stdint.h>

uint32_t __udivsi3(uint32_t a, uint32_t b);
uint32_t __umodsi3(uint32_t a, uint32_t b);
int32_t __divsi3(int32_t a, int32_t b);
uint64_t __muldi3(uint64_t a, uint64_t b);
uint64_t __udivdi3(uint64_t a, uint64_t b);
uint64_t __umoddi3(uint64_t a, uint64_t b);
int64_t __divdi3(int64_t a, int64_t b);

uint64_t __muldi3(uint64_t a, uint64_t b) {
    const uint32_t a_low = (uint32_t)a, b_low = (uint32_t)b;
    const uint32_t a0 = a_low & 0xFFFFu, a1 = a_low >> 16, b0 = b_low & 0xFFFFu, b1 = b_low >> 16;
    const uint32_t low = a0 * b0;
    const uint32_t middle = a1 * b0 + (low >> 16); /* at most (2^16-1)^2 + 2^16-1: no carry out */
    const uint32_t cross = a0 * b1 + (middle & 0xFFFFu);
    uint32_t high = a1 * b1 + (middle >> 16) + (cross >> 16);
    high += a_low * (uint32_t)(b >> 32) + (uint32_t)(a >> 32) * b_low;
    return ((uint64_t)high << 32) | (cross << 16) | (low & 0xFFFFu);
}

static uint32_t divide(uint32_t a, uint32_t b, uint32_t *remainder) {
    uint32_t quotient = 0, rest = 0;
    for (int i = 31; i >= 0; i--) {
        const uint32_t carry = rest >> 31;
        rest = (rest << 1) | ((a >> i) & 1u);
        if (carry != 0 || rest >= b) {
            rest -= b;
            quotient |= 1u << i;
        }
    }
    *remainder = rest;
    return quotient;
}

uint32_t __udivsi3(uint32_t a, uint32_t b) {
    uint32_t rest;
    return divide(a, b, &rest);
}

uint32_t __umodsi3(uint32_t a, uint32_t b) {
    uint32_t rest;
    (void)divide(a, b, &rest);
    return rest;
}

int32_t __divsi3(int32_t a, int32_t b) {
    uint32_t rest;
    const uint32_t quotient = divide(a < 0 ? 0u - (uint32_t)a : (uint32_t)a, b < 0 ? 0u - (uint32_t)b : (uint32_t)b, &rest);
    return (int32_t)((a < 0) != (b < 0) ? 0u - quotient : quotient);
}

static uint64_t divide_wide(uint64_t a, uint64_t b, uint64_t *remainder) {
    uint64_t quotient = 0, rest = 0;
    for (int i = 63; i >= 0; i--) {
        const uint32_t carry = (uint32_t)(rest >> 63);
        rest = (rest << 1) | ((a >> i) & 1u);
        if (carry != 0 || rest >= b) {
            rest -= b;
            quotient |= (uint64_t)1 << i;
        }
    }
    *remainder = rest;
    return quotient;
}

uint64_t __udivdi3(uint64_t a, uint64_t b) {
    uint64_t rest;
    return divide_wide(a, b, &rest);
}

uint64_t __umoddi3(uint64_t a, uint64_t b) {
    uint64_t rest;
    (void)divide_wide(a, b, &rest);
    return rest;
}

int64_t __divdi3(int64_t a, int64_t b) {
    uint64_t rest;
    const uint64_t quotient = divide_wide(a < 0 ? 0u - (uint64_t)a : (uint64_t)a, b < 0 ? 0u - (uint64_t)b : (uint64_t)b, &rest);
    return (int64_t)((a < 0) != (b < 0) ? 0u - quotient : quotient);
}
