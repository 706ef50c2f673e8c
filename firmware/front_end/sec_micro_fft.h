/* A real FFT of 16-bit values in place, bit for bit the one of TFLite Micro's audio front end: a complex one of half
   the length, by radix 4, its first stage by radix 2 where the length asks for it. Before each stage values are divided
   by its radix; sums wrap at 16 bits. */
#ifndef SEC_MICRO_FFT_H
#define SEC_MICRO_FFT_H

#include <stdint.h>

typedef struct {
    int16_t re, im;
} sec_micro_complex;

static inline int16_t sec_micro_wrap(int32_t x) {
    return (int16_t)((int32_t)(((uint32_t)x & 0xffffu) ^ 0x8000u) - 0x8000);
}

/* x * factor / 2^15, ties upwards */
static inline int32_t sec_micro_times(int32_t x, int32_t factor) {
    return (x * factor + (1 << 14)) >> 15;
}

/* By a factor of modulus at most 1 in Q15: the sums of products stay below 2^31. `w`: its real and imaginary part. */
static inline sec_micro_complex sec_micro_turned(int32_t re, int32_t im, const int16_t *w) {
    const sec_micro_complex turned = {
        sec_micro_wrap((re * w[0] - im * w[1] + (1 << 14)) >> 15),
        sec_micro_wrap((re * w[1] + im * w[0] + (1 << 14)) >> 15),
    };
    return turned;
}

/* Where complex input `i` of `half` stands before the first stage: its digits, of base 4 and at last 2, reversed. */
static inline int32_t sec_micro_place(int32_t i, int32_t half) {
    int32_t place = 0, rest = half;
    while (rest >= 4) {
        rest >>= 2;
        place += (i & 3) * rest;
        i >>= 2;
    }
    return place + i;
}

static inline void sec_micro_pairs(sec_micro_complex *x, int32_t half) {
    const int32_t by = 32767 / 2;
    for (sec_micro_complex *end = x + half; x < end; x += 2) {
        const int32_t re0 = sec_micro_times(x[0].re, by), im0 = sec_micro_times(x[0].im, by);
        const int32_t re1 = sec_micro_times(x[1].re, by), im1 = sec_micro_times(x[1].im, by);
        /* Turning by an angle of 0 changes nothing this small. */
        x[0].re = sec_micro_wrap(re0 + re1);
        x[0].im = sec_micro_wrap(im0 + im1);
        x[1].re = sec_micro_wrap(re0 - re1);
        x[1].im = sec_micro_wrap(im0 - im1);
    }
}

/* Joins four parts of `length` each at x[0], x[length], ... by one butterfly; `w1` to `w3`: the turns of the latter
   three. */
static inline void sec_micro_four(
    sec_micro_complex *x, int32_t length, const int16_t *w1, const int16_t *w2, const int16_t *w3) {
    const int32_t by = 32767 / 4;
    sec_micro_complex *x1 = x + length, *x2 = x1 + length, *x3 = x2 + length;
    const int32_t re = sec_micro_times(x->re, by), im = sec_micro_times(x->im, by);
    const sec_micro_complex a = sec_micro_turned(sec_micro_times(x1->re, by), sec_micro_times(x1->im, by), w1);
    const sec_micro_complex b = sec_micro_turned(sec_micro_times(x2->re, by), sec_micro_times(x2->im, by), w2);
    const sec_micro_complex c = sec_micro_turned(sec_micro_times(x3->re, by), sec_micro_times(x3->im, by), w3);
    const int32_t even_re = re + b.re, even_im = im + b.im, odd_re = a.re + c.re, odd_im = a.im + c.im;
    const int32_t turn_re = re - b.re, turn_im = im - b.im, side_re = a.re - c.re, side_im = a.im - c.im;
    x->re = sec_micro_wrap(even_re + odd_re);
    x->im = sec_micro_wrap(even_im + odd_im);
    x1->re = sec_micro_wrap(turn_re + side_im);
    x1->im = sec_micro_wrap(turn_im - side_re);
    x2->re = sec_micro_wrap(even_re - odd_re);
    x2->im = sec_micro_wrap(even_im - odd_im);
    x3->re = sec_micro_wrap(turn_re - side_im);
    x3->im = sec_micro_wrap(turn_im + side_re);
}

/* x (half), already at `sec_micro_place`; twiddles (3 / 4 half, 2): exp(-2 pi i k / half) in Q15. */
static inline void sec_micro_complex_fft(sec_micro_complex *x, int32_t half, const int16_t *twiddles) {
    int32_t length = 1;
    for (int32_t rest = half; rest > 1; rest >>= 2) {
        length = rest == 2 ? 2 : 1;
    }
    if (length == 2) {
        sec_micro_pairs(x, half);
    }
    for (; length < half; length *= 4) {
        const int32_t step = half / (4 * length) * 2;
        for (int32_t first = 0; first < half; first += 4 * length) {
            for (int32_t k = 0; k < length; ++k) {
                const int16_t *w = twiddles + k * step;
                sec_micro_four(x + first + k, length, w, twiddles + 2 * k * step, twiddles + 3 * k * step);
            }
        }
    }
}

/* The spectrum of 2 * half real values from the complex FFT of their pairs, in place. Bins 1 to half - 1: the first
   entry keeps what the constant part and the highest frequency would be made of. split (half / 2, 2):
   exp(-pi i (k / half + 1/2)), k from 1. */
static inline void sec_micro_split(sec_micro_complex *x, int32_t half, const int16_t *split) {
    const int32_t by = 32767 / 2;
    for (int32_t k = 1; k <= half / 2; ++k, split += 2) {
        sec_micro_complex *low = x + k, *high = x + half - k;
        const int32_t low_re = sec_micro_times(low->re, by), low_im = sec_micro_times(low->im, by);
        const int32_t high_re = sec_micro_times(high->re, by), high_im = sec_micro_times(high->im, by);
        const int32_t even_re = sec_micro_wrap(low_re + high_re), even_im = sec_micro_wrap(low_im - high_im);
        const sec_micro_complex odd =
            sec_micro_turned(sec_micro_wrap(low_re - high_re), sec_micro_wrap(low_im + high_im), split);
        low->re = (int16_t)((even_re + odd.re) >> 1);
        low->im = (int16_t)((even_im + odd.im) >> 1);
        high->re = (int16_t)((even_re - odd.re) >> 1);
        high->im = (int16_t)((odd.im - even_im) >> 1);
    }
}

#endif
