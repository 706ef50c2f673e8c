/* The power spectrum of a real frame in 32-bit fixed point, and square roots and logarithms by table:
   models/front_end/fft.py, bit for bit. */
#ifndef SEC_FFT_H
#define SEC_FFT_H

#include <stdint.h>

typedef struct {
    int32_t re, im;
} sec_fft_pair;

/* Half of (re + i im) (cos - i sin), rounded down: the high words of the products. */
static inline sec_fft_pair sec_fft_turned(int32_t re, int32_t im, int32_t cosine, int32_t sine) {
    const int32_t back = -sine;
    sec_fft_pair turned;
    turned.re = (int32_t)(((int64_t)re * cosine + (int64_t)im * sine) >> 32);
    turned.im = (int32_t)(((int64_t)im * cosine + (int64_t)re * back) >> 32);
    return turned;
}

/* A DFT of four in place: z[0], z[2 * size], ... in bit-reversed order in and natural order out. `terms` are its inputs,
   already turned and halved; the outputs lose `shift` bits more. */
static inline void sec_fft_four(
    int32_t *z, int32_t size, sec_fft_pair a, sec_fft_pair b, sec_fft_pair c, sec_fft_pair d, int shift
) {
    const int32_t half = 1 << (shift - 1);
    const int32_t even_re = a.re + c.re + half, even_im = a.im + c.im + half;
    const int32_t odd_re = b.re + d.re, odd_im = b.im + d.im;
    const int32_t across_re = a.re - c.re + half, across_im = a.im - c.im + half;
    const int32_t turn_re = b.re - d.re, turn_im = b.im - d.im;
    z[0] = (even_re + odd_re) >> shift;
    z[1] = (even_im + odd_im) >> shift;
    z[2 * size] = (across_re + turn_im) >> shift;
    z[2 * size + 1] = (across_im - turn_re) >> shift;
    z[4 * size] = (even_re - odd_re) >> shift;
    z[4 * size + 1] = (even_im - odd_im) >> shift;
    z[6 * size] = (across_re - turn_im) >> shift;
    z[6 * size + 1] = (across_im + turn_re) >> shift;
}

static inline sec_fft_pair sec_fft_halved(const int32_t *z) {
    sec_fft_pair half;
    half.re = z[0] >> 1;
    half.im = z[1] >> 1;
    return half;
}

/* The complex FFT of `half` pairs at z, whose indices have their bits reversed; cosine: 2 * half entries in Q31. */
static inline void sec_fft_complex(int32_t *z, int32_t half, const int32_t *cosine) {
    int32_t *const end = z + 2 * half;
    int32_t size = 4;
    if ((half & 0x55555555) != 0) { /* a power of four */
        for (int32_t *at = z; at < end; at += 8) {
            sec_fft_four(
                at, 1, sec_fft_halved(at), sec_fft_halved(at + 4), sec_fft_halved(at + 2), sec_fft_halved(at + 6), 2
            );
        }
    } else {
        for (int32_t *at = z; at < end; at += 4) {
            const int32_t re = at[0], im = at[1];
            at[0] = (re + at[2] + 2) >> 2;
            at[1] = (im + at[3] + 2) >> 2;
            at[2] = (re - at[2] + 2) >> 2;
            at[3] = (im - at[3] + 2) >> 2;
        }
        size = 2;
    }
    /* The cosine a quarter of a turn on is -sine. */
    for (const int32_t *minus = cosine + half / 2; size < half; size *= 4) {
        const int32_t step = half / (2 * size);
        for (int32_t j = 0, k = 0; j < size; ++j, k += step) {
            const int32_t c1 = cosine[k], s1 = -minus[k], c2 = cosine[2 * k], s2 = -minus[2 * k];
            const int32_t c3 = cosine[3 * k], s3 = -minus[3 * k];
            for (int32_t *at = z + 2 * j; at < end; at += 8 * size) {
                const sec_fft_pair c = sec_fft_turned(at[2 * size], at[2 * size + 1], c2, s2);
                const sec_fft_pair b = sec_fft_turned(at[4 * size], at[4 * size + 1], c1, s1);
                const sec_fft_pair d = sec_fft_turned(at[6 * size], at[6 * size + 1], c3, s3);
                sec_fft_four(at, size, sec_fft_halved(at), b, c, d, 1);
            }
        }
    }
}

static inline void sec_fft_square(int32_t *z, int32_t re, int32_t im) {
    const uint64_t power = (uint64_t)((int64_t)re * re + (int64_t)im * im);
    uint32_t *words = (uint32_t *)z;
    words[0] = (uint32_t)(power & 0xFFFFFFFFu);
    words[1] = (uint32_t)(power >> 32);
}

/* From the spectrum of even samples + i odd ones, `half` pairs, to the power of the real frame's bins 1..half - 1 in
   place, the low word first; bin 0 is left as it is. */
static inline void sec_fft_power(int32_t *z, int32_t half, const int32_t *cosine) {
    const int32_t *minus = cosine + half / 2;
    int32_t *low = z + 2, *high = z + 2 * (half - 1);
    for (int32_t k = 1; low < high; ++k, low += 2, high -= 2) {
        const int32_t re = (low[0] + high[0]) >> 1, im = (low[1] - high[1]) >> 1;
        const sec_fft_pair odd = sec_fft_turned(low[0] - high[0], low[1] + high[1], cosine[k], -minus[k]);
        sec_fft_square(low, re + odd.im, im - odd.re);
        sec_fft_square(high, re - odd.im, im + odd.re);
    }
    sec_fft_square(low, low[0], low[1]);
}

/* The number of bits of x: 0 for 0, 32 at most. */
static inline int sec_fft_bits(uint32_t x) {
#if defined(__GNUC__) && !defined(SEC_FFT_PORTABLE)
    return x ? 32 - __builtin_clz(x) : 0; /* int has 32 bits on all targets */
#else
    int bits = 0;
    for (int by = 16; by > 0; by /= 2) {
        if (x >> by) {
            x >>= by;
            bits += by;
        }
    }
    return bits + (int)x;
#endif
}

static inline int sec_fft_bits64(uint64_t x) {
    const uint32_t high = (uint32_t)(x >> 32);
    return high ? 32 + sec_fft_bits(high) : sec_fft_bits((uint32_t)x);
}

/* x * 2^left, of which 32 bits remain; left -32..32 */
static inline uint32_t sec_fft_moved(uint64_t x, int left) {
    return (uint32_t)((left > 0 ? x << left : x >> -left) & 0xFFFFFFFFu);
}

/* sqrt(x), from a table with straight lines between, rounded down; x below 2^62 */
static inline uint32_t sec_fft_root(uint64_t x) {
    static const uint16_t roots[97] = { /* sqrt(i * 2^25), i = 32..128 */
        32768, 33276, 33776, 34270, 34756, 35235, 35708, 36175, 36636, 37091, 37540, 37985, 38424, 38858, 39287,
        39712, 40132, 40548, 40960, 41368, 41771, 42171, 42567, 42959, 43348, 43733, 44115, 44494, 44869, 45242,
        45611, 45977, 46341, 46702, 47059, 47415, 47767, 48117, 48465, 48809, 49152, 49492, 49830, 50166, 50499,
        50830, 51159, 51486, 51811, 52134, 52454, 52773, 53090, 53405, 53719, 54030, 54340, 54647, 54954, 55258,
        55561, 55862, 56162, 56459, 56756, 57051, 57344, 57636, 57926, 58215, 58503, 58789, 59073, 59357, 59639,
        59919, 60199, 60477, 60753, 61029, 61303, 61576, 61848, 62119, 62388, 62657, 62924, 63190, 63455, 63719,
        63982, 64243, 64504, 64763, 65022, 65279, 65535
    };
    if (x == 0) {
        return 0;
    }
    const int pairs = (sec_fft_bits64(x) + 1) / 2;
    const uint32_t mantissa = sec_fft_moved(x, 32 - 2 * pairs);
    const uint16_t *at = roots + ((mantissa >> 25) - 32);
    const uint32_t rise = (uint32_t)(at[1] - at[0]);
    return (((uint32_t)at[0] << 16) + rise * ((mantissa >> 9) & 0xFFFFu)) >> (32 - pairs);
}

/* log2(x) in Q15; x at least 1 */
static inline int32_t sec_fft_log2(uint64_t x) {
    static const uint16_t logarithms[65] = { /* log2(1 + i / 64) in Q15 */
        0, 733, 1455, 2166, 2866, 3556, 4236, 4907, 5568, 6220, 6863, 7498, 8124, 8742, 9352, 9954, 10549,
        11136, 11716, 12289, 12855, 13415, 13968, 14514, 15055, 15589, 16117, 16639, 17156, 17667, 18173, 18673,
        19168, 19658, 20143, 20623, 21098, 21568, 22034, 22495, 22952, 23404, 23852, 24296, 24736, 25172, 25604,
        26031, 26455, 26876, 27292, 27705, 28114, 28520, 28922, 29321, 29717, 30109, 30498, 30884, 31267, 31647,
        32024, 32397, 32768
    };
    const int bits = sec_fft_bits64(x);
    const uint32_t mantissa = sec_fft_moved(x, 32 - bits);
    const uint16_t *at = logarithms + ((mantissa >> 25) & 63u);
    const uint32_t rise = (uint32_t)(at[1] - at[0]);
    const uint32_t line = ((uint32_t)at[0] << 16) + rise * ((mantissa >> 9) & 0xFFFFu);
    return (bits - 1) * 32768 + (int32_t)((line + 32768u) >> 16);
}

#endif
