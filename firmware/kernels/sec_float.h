/* Float32 arithmetic shared by the kernels: + - * / of single precision alone, each rounded once, and moves of bits.
 *
 * No C library is asked, so an image computes the same bits on every processor, in hardware or in software, as long as
 * the compiler neither fuses nor reorders: -ffp-contract=off, and never -ffast-math.
 */
#ifndef SEC_FLOAT_H
#define SEC_FLOAT_H

#include <stdint.h>
#include <string.h>

#define SEC_FLOAT_LARGEST 3.40282347e+38f

static inline float sec_float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t sec_bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float sec_infinity(void) {
    return sec_float_of(0x7f800000u);
}

static inline float sec_no_number(void) {
    return sec_float_of(0x7fc00000u);
}

/* what is no number stays none */
static inline float sec_clamp_f32(float x, float low, float high) {
    x = x < low ? low : x;
    return high < x ? high : x;
}

/* 2^n, n -126..127 */
static inline float sec_power_of_two(int32_t n) {
    return sec_float_of((uint32_t)(n + 127) << 23);
}

/* exp(x) = 2^n * (1 + more), |x| below 2^23 */
typedef struct {
    int32_t n;
    float more;
} sec_exp_parts;

static inline sec_exp_parts sec_exp_split(float x) {
    sec_exp_parts e;
    const float powers = x * 1.44269504f;
    e.n = (int32_t)(powers + (powers < 0.0f ? -0.5f : 0.5f));
    /* ln 2 in two parts, the first so short that its product with n is exact */
    const float r = (x - (float)e.n * 0.693359375f) - (float)e.n * -2.12194440e-4f;
    float tail = 0.00019845958740916103f;
    tail = tail * r + 0.001394165214151144f;
    tail = tail * r + 0.008333391509950161f;
    tail = tail * r + 0.04166634753346443f;
    tail = tail * r + 0.1666666567325592f;
    tail = tail * r + 0.5f;
    e.more = tail * (r * r) + r;
    return e;
}

static inline float sec_exp(float x) {
    if (!(x >= -104.0f)) {
        return x < -104.0f ? 0.0f : x;
    }
    if (x > 89.0f) {
        return sec_infinity();
    }
    const sec_exp_parts e = sec_exp_split(x);
    const int32_t half = e.n / 2; /* two steps: 2^n alone may not be a number */
    return (1.0f + e.more) * sec_power_of_two(half) * sec_power_of_two(e.n - half);
}

/* exp(x) - 1, x below 80 */
static inline float sec_exp_less_one(float x) {
    if (!(x >= -18.0f)) {
        return x < -18.0f ? -1.0f : x;
    }
    if (x > -1e-4f && x < 1e-4f) {
        return x + 0.5f * (x * x);
    }
    const sec_exp_parts e = sec_exp_split(x);
    const float power = sec_power_of_two(e.n);
    return e.more * power + (power - 1.0f);
}

static inline float sec_tanh(float x) {
    const float size = sec_float_of(sec_bits_of(x) & 0x7fffffffu);
    if (!(size < 10.0f)) {
        return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
    }
    if (size < 2e-4f) {
        return x;
    }
    const float e = sec_exp_less_one(2.0f * size);
    const float found = size < 0.5f ? e / (e + 2.0f) : 1.0f - 2.0f / (e + 2.0f);
    return x < 0.0f ? -found : found;
}

/* TensorFlow Lite's three pieces */
static inline float sec_logistic(float x) {
    if (x > 16.6190472f) {
        return 1.0f;
    }
    if (x < -9.0f) {
        return sec_exp(x);
    }
    return 1.0f / (1.0f + sec_exp(-x));
}

static inline float sec_log(float x) {
    if (!(x > 0.0f)) {
        return x == 0.0f ? -sec_infinity() : sec_no_number();
    }
    if (x > SEC_FLOAT_LARGEST) {
        return x;
    }
    int32_t n = 0;
    if (x < 1.17549435e-38f) {
        x = x * 16777216.0f;
        n = -24;
    }
    const uint32_t bits = sec_bits_of(x);
    n += (int32_t)(bits >> 23) - 127;
    float m = sec_float_of((bits & 0x7fffffu) | 0x3f800000u);
    if (m > 1.41421354f) {
        m = m * 0.5f;
        ++n;
    }
    const float f = m - 1.0f, whole = (float)n;
    float tail = 0.0674663856625557f;
    tail = tail * f + -0.11675651371479034f;
    tail = tail * f + 0.11888162791728973f;
    tail = tail * f + -0.1240558922290802f;
    tail = tail * f + 0.14219552278518677f;
    tail = tail * f + -0.1666799634695053f;
    tail = tail * f + 0.2000211924314499f;
    tail = tail * f + -0.25000008940696716f;
    tail = tail * f + 0.3333331346511841f;
    const float square = f * f;
    /* the small parts first: what is added last is rounded once */
    const float small = (tail * f * square - 0.5f * square) + whole * -2.12194440e-4f;
    return (f + small) + whole * 0.693359375f;
}

/* GELU: x / 2 * erfc(-x / sqrt(2)), of which no digits of small outputs are lost */
static inline float sec_gelu(float x) {
    const float size = sec_float_of(sec_bits_of(x) & 0x7fffffffu);
    float p, gate;
    if (!(size >= 1.0f)) {
        const float square = x * x;
        p = -1.5308414731407538e-05f;
        p = p * square + 0.0002269727410748601f;
        p = p * square + -0.0023726599756628275f;
        p = p * square + 0.019946645945310593f;
        p = p * square + -0.13298071920871735f;
        p = p * square + 0.7978845834732056f;
        gate = 1.0f + x * p;
    } else {
        float tail = 0.0f;
        if (size < 14.5f) {
            const float s = (size - 3.0f) / (size + 3.0f);
            p = -0.0007725640316493809f;
            p = p * s + -0.0007079492206685245f;
            p = p * s + 0.005916079971939325f;
            p = p * s + 0.0023263299372047186f;
            p = p * s + -0.04544420912861824f;
            p = p * s + 0.09032703936100006f;
            p = p * s + -0.03286510705947876f;
            p = p * s + -0.1930534988641739f;
            p = p * s + 0.9721115827560425f;
            /* exp(-x^2 / 2) in two parts: the square of the first is exact */
            const float high = sec_float_of(sec_bits_of(size) & 0xfffff000u);
            const float power = sec_exp(-0.5f * (high * high)) * sec_exp(-0.5f * ((size - high) * (size + high)));
            tail = power * (p / (size + 1.0f));
        }
        gate = x < 0.0f ? tail : 2.0f - tail;
    }
    return 0.5f * x * gate;
}

/* GELU with tanh for erf, written with exp */
static inline float sec_gelu_tanh(float x) {
    const float twice = 1.59576917f * (x + 0.044715f * (x * (x * x)));
    const float e = sec_exp(-sec_float_of(sec_bits_of(twice) & 0x7fffffffu));
    return x * ((x < 0.0f ? e : 1.0f) / (1.0f + e));
}

/* the nearest float to the square root, digit by digit: 25 of them, the last one rounds */
static inline float sec_sqrt(float x) {
    if (!(x > 0.0f)) {
        return x == 0.0f ? x : sec_no_number();
    }
    if (x > SEC_FLOAT_LARGEST) {
        return x;
    }
    int32_t n = 0;
    if (x < 1.17549435e-38f) {
        x = x * 16777216.0f;
        n = -24;
    }
    const uint32_t bits = sec_bits_of(x);
    n += (int32_t)(bits >> 23) - 127;
    uint32_t value = ((bits & 0x7fffffu) | 0x800000u) << 1; /* 25 bits and one more: pairs from the top */
    if (n & 1) {
        value <<= 1;
        --n;
    }
    uint32_t root = 0, rest = 0;
    for (int i = 24; i >= -24; i -= 2) {
        rest = rest << 2 | (i >= 0 ? value >> i & 3u : 0u);
        const uint32_t trial = root << 2 | 1u;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1u;
        }
    }
    return sec_float_of(((uint32_t)(n / 2 + 127) << 23) + ((root + 1u) >> 1) - 0x800000u);
}

#endif
