/* Log-mel energies of a frame: window, FFT, mel filters, logarithm; models/front_end/log_mel.py, bit for bit. */
#ifndef SEC_LOG_MEL_H
#define SEC_LOG_MEL_H

#include <stdint.h>

#include "sec_fft.h"

typedef struct {
    int32_t frame_length, fft_length, bins;
    int32_t emphasis;            /* Q15, 0: none */
    int32_t power;               /* 1: |X|^2, 0: |X| */
    int32_t first, last;         /* bins of the FFT that any filter takes */
    int32_t log_scale;           /* log2 in Q15 to counts * 2^8: by this, and 24 bits less */
    int32_t log_doubling, floor; /* counts * 2^8 when the samples are doubled; the least count */
    const int16_t *window;       /* Q15 */
    const int32_t *cosine;       /* a turn in fft_length steps, Q31 */
    const uint16_t *filters;     /* of each its first bin, and how many */
    const uint16_t *weights;      /* Q12 for power, else Q14 */
    const int32_t *offsets;      /* counts * 2^8, a half for rounding included */
} sec_log_mel_params;

/* How many times the frame can be doubled, 15 times at most. */
static inline int sec_log_mel_headroom(const int16_t *frame, int32_t length) {
    int32_t all = 0;
    for (int32_t i = 0; i < length; ++i) {
        all |= frame[i] ^ (frame[i] >> 15);
    }
    return 15 - sec_fft_bits((uint32_t)all);
}

/* Sample t of the frame, windowed: 30 bits. `before`: the sample before it. */
static inline int32_t sec_log_mel_sample(const sec_log_mel_params *p, int32_t x, int32_t before, int32_t t) {
    if (p->emphasis == 0) {
        return x * p->window[t];
    }
    return (int32_t)(((int64_t)(x * 32768 - p->emphasis * before) * p->window[t]) >> 16);
}

/* The frame times 2^left, windowed and followed by zeros: even samples as real parts and odd ones as imaginary parts, in the order
   that the FFT takes. */
static inline void sec_log_mel_load(const sec_log_mel_params *p, const int16_t *frame, int left, int32_t *z) {
    const int32_t half = p->fft_length / 2, factor = 1 << left;
    int32_t before = frame[0] * factor;
    for (int32_t i = 0, to = 0; i < half; ++i) {
        const int32_t t = 2 * i;
        int32_t re = 0, im = 0, carry = half / 2;
        if (t < p->frame_length) {
            re = sec_log_mel_sample(p, frame[t] * factor, before, t);
            before = frame[t] * factor;
        }
        if (t + 1 < p->frame_length) {
            im = sec_log_mel_sample(p, frame[t + 1] * factor, before, t + 1);
            before = frame[t + 1] * factor;
        }
        z[2 * to] = re;
        z[2 * to + 1] = im;
        for (; (to & carry) != 0; carry >>= 1) { /* the next index with its bits reversed */
            to ^= carry;
        }
        to |= carry;
    }
}

/* What the filters sum, in place: the magnitude, or the power less 8 bits. */
static inline void sec_log_mel_energy(const sec_log_mel_params *p, uint32_t *e) {
    for (int32_t k = p->first; k <= p->last; ++k) {
        const uint32_t low = e[2 * k], high = e[2 * k + 1];
        if (p->power) {
            e[2 * k] = (low >> 8) | (high << 24);
            e[2 * k + 1] = high >> 8;
        } else {
            e[2 * k] = sec_fft_root(((uint64_t)high << 32) | low);
        }
    }
}

/* scratch: fft_length words */
static inline void sec_log_mel_frame(
    const sec_log_mel_params *p, void *state, void *scratch, const int16_t *frame, int16_t *features
) {
    int32_t *z = scratch;
    uint32_t *e = scratch;
    const uint16_t *weight = p->weights;
    const int left = sec_log_mel_headroom(frame, p->frame_length);
    (void)state;
    sec_log_mel_load(p, frame, left, z);
    sec_fft_complex(z, p->fft_length / 2, p->cosine);
    sec_fft_power(z, p->fft_length / 2, p->cosine);
    sec_log_mel_energy(p, e);
    for (int32_t m = 0; m < p->bins; ++m) {
        const uint32_t *at = e + 2 * p->filters[2 * m];
        const uint32_t *const end = at + 2 * p->filters[2 * m + 1];
        uint64_t sum = 0;
        uint32_t upper = 0;
        if (p->power) {
            for (; at < end; at += 2, ++weight) {
                sum += (uint64_t)at[0] * *weight;
                upper += at[1] * *weight;
            }
            sum += (uint64_t)upper << 32;
        } else {
            for (; at < end; at += 2, ++weight) {
                sum += (uint64_t)at[0] * *weight;
            }
        }
        int32_t count = p->floor;
        if (sum != 0) {
            count = (int32_t)(((int64_t)sec_fft_log2(sum) * p->log_scale) >> 24);
            count = (count + p->offsets[m] - left * p->log_doubling) >> 8;
            count = count < p->floor ? p->floor : count > 32767 ? 32767 : count;
        }
        features[m] = (int16_t)count;
    }
}

static inline void sec_log_mel_reset(const sec_log_mel_params *p, void *state) {
    (void)p;
    (void)state;
}

#endif
