/* TFLite Micro's audio front end, bit for bit: window, FFT, bands evenly spaced in mel, noise reduction, gain control,
   logarithm. A channel's way from its energy to the feature is done at once: no spectrum but the FFT's own is kept. */
#ifndef SEC_MICRO_H
#define SEC_MICRO_H

#include "sec_micro_fft.h"

typedef struct {
    int32_t frame_length, fft_length; /* fft_length: 8 to 4096, a power of 2 */
    int32_t channels, first_bin;
    int32_t smoothing_bits;
    uint16_t smoothing[2]; /* of even and odd channels, Q14 */
    uint16_t remaining;    /* Q14 */
    int16_t ratio_shift;
    int16_t correction_bits, log_shift;
    const int16_t *window;   /* (frame_length), Q12 */
    const int16_t *twiddles; /* (3 / 8 fft_length, 2), Q15 */
    const int16_t *split;    /* (fft_length / 4, 2), Q15 */
    const int16_t *widths;   /* (channels + 1): bins of each band */
    const uint16_t *weights; /* (bins, 2), Q12: for the channel that ends in the bin's band, for the next */
    const int16_t *gains;    /* by the noise: of 0 and 1, then four of each power of 2 */
    const int16_t *logs;     /* (130): log2(1 + x) - x in Q16 */
} sec_micro_params;

/* How many bits x takes: 0 for 0 */
static inline int32_t sec_micro_bits(uint32_t x) {
    int32_t bits = 0;
    for (int32_t step = 16; step > 0; step >>= 1) {
        if (x >> step) {
            x >>= step;
            bits += step;
        }
    }
    return bits + (x != 0);
}

/* The root of x < 2^52, rounded to the nearest; of 32-bit values at most 65535. */
static inline uint32_t sec_micro_root(uint64_t x) {
    uint64_t rest = x, root = 0;
    const uint32_t top = (uint32_t)(x >> 32);
    const int32_t bits = top ? 32 + sec_micro_bits(top) : sec_micro_bits((uint32_t)x);
    for (uint64_t bit = (uint64_t)1 << (bits > 0 ? (bits - 1) & ~1 : 0); bit > 0; bit >>= 2) {
        const uint64_t trial = root + bit;
        root >>= 1;
        if (rest >= trial) {
            rest -= trial;
            root += bit;
        }
    }
    return (uint32_t)root + (rest > root && (top || root != 65535u));
}

/* The signal without what is steadily there; *noise: smoothed, `smoothing_bits` more than the signal's own. */
static inline uint32_t sec_micro_less_noise(const sec_micro_params *p, uint32_t signal, int odd, uint32_t *noise) {
    const uint32_t share = p->smoothing[odd], raised = signal << p->smoothing_bits;
    *noise = (uint32_t)(((uint64_t)raised * share + (uint64_t)*noise * ((1u << 14) - share)) >> 14);
    const uint32_t less = (raised - (*noise < raised ? *noise : raised)) >> p->smoothing_bits;
    const uint32_t least = (uint32_t)(((uint64_t)signal * p->remaining) >> 14);
    return less > least ? less : least;
}

/* A parabola in each power of 2 of the noise. Where it leaves 16 bits, the gain wraps. */
static inline uint32_t sec_micro_gain(const sec_micro_params *p, uint32_t noise) {
    if (noise < 2) {
        return (uint32_t)p->gains[noise];
    }
    const int32_t octave = sec_micro_bits(noise);
    const int16_t *part = p->gains + 4 * octave - 6;
    const uint32_t raised = octave < 11 ? noise << (11 - octave) : noise >> (octave - 11);
    const int32_t at = (int32_t)(raised & 1023u);
    const int32_t curve = (((part[2] * at) >> 5) + part[1] * 32) * at;
    return (uint32_t)(int32_t)sec_micro_wrap(((curve + (1 << 14)) >> 15) + part[0]);
}

/* The signal by its gain, squared where it is small. */
static inline uint32_t sec_micro_controlled(const sec_micro_params *p, uint32_t signal, uint32_t noise) {
    const uint32_t ratio = (uint32_t)(((uint64_t)signal * sec_micro_gain(p, noise)) >> p->ratio_shift);
    return ratio < 8192u ? (ratio * ratio) >> 20 : (ratio >> 6) - 64u;
}

static inline int16_t sec_micro_log(const sec_micro_params *p, uint32_t signal) {
    const uint32_t x = p->correction_bits < 0 ? signal >> -p->correction_bits : signal << p->correction_bits;
    if (x < 2) {
        return 0;
    }
    const int32_t whole = sec_micro_bits(x) - 1;
    const uint32_t above = x - ((uint32_t)1 << whole);
    const int32_t fraction = (int32_t)(whole < 16 ? above << (16 - whole) : above >> (whole - 16));
    const int16_t *part = p->logs + (fraction >> 9);
    const int32_t bend = ((part[1] - part[0]) * (fraction & 511)) >> 16;
    const uint32_t log2 = ((uint32_t)whole << 16) + (uint32_t)(fraction + part[0] + bend);
    const uint32_t natural = (uint32_t)((45426u * (uint64_t)log2 + 32768u) >> 16);
    return (int16_t)(((natural << p->log_shift) + 32768u) >> 16);
}

static inline int16_t sec_micro_windowed(const sec_micro_params *p, const int16_t *frame, int32_t i) {
    return (int16_t)((frame[i] * p->window[i]) >> 12);
}

/* Windowed, raised to full scale and set to the FFT's order; returns by how many bits it was raised. */
static inline int32_t sec_micro_load(const sec_micro_params *p, const int16_t *frame, sec_micro_complex *x) {
    const int32_t half = p->fft_length / 2;
    int32_t largest = 0;
    for (int32_t i = 0; i < p->frame_length; ++i) {
        const int32_t y = sec_micro_windowed(p, frame, i);
        const int32_t size = y < 0 ? -y : y;
        if (size > largest && size != 32768) { /* in 16 bits -(-32768) is below 0 */
            largest = size;
        }
    }
    const int32_t shift = 15 - sec_micro_bits((uint32_t)largest), scale = (int32_t)1 << shift;
    for (int32_t i = 0; i < half; ++i) {
        sec_micro_complex *to = x + sec_micro_place(i, half);
        to->re = 2 * i < p->frame_length ? sec_micro_wrap(sec_micro_windowed(p, frame, 2 * i) * scale) : (int16_t)0;
        to->im =
            2 * i + 1 < p->frame_length ? sec_micro_wrap(sec_micro_windowed(p, frame, 2 * i + 1) * scale) : (int16_t)0;
    }
    return shift;
}

/* state: the noise of each channel */
static inline void sec_micro_reset(const sec_micro_params *p, void *state) {
    uint32_t *noise = state;
    for (int32_t c = 0; c < p->channels; ++c) {
        noise[c] = 0;
    }
}

/* scratch: fft_length values */
static inline void sec_micro_frame(
    const sec_micro_params *p, void *state, void *scratch, const int16_t *frame, int16_t *features) {
    sec_micro_complex *x = scratch;
    uint32_t *noise = state;
    const int32_t half = p->fft_length / 2;
    const int32_t shift = sec_micro_load(p, frame, x);
    sec_micro_complex_fft(x, half, p->twiddles);
    sec_micro_split(x, half, p->split);
    x += p->first_bin;
    const uint16_t *weights = p->weights;
    uint64_t ending = 0;
    for (int32_t band = 0; band <= p->channels; ++band) {
        uint64_t next = 0;
        for (int32_t i = 0; i < p->widths[band]; ++i, ++x, weights += 2) {
            const uint32_t energy = (uint32_t)(x->re * x->re) + (uint32_t)(x->im * x->im);
            ending += (uint64_t)energy * weights[0];
            next += (uint64_t)energy * weights[1];
        }
        if (band > 0) {
            const int32_t c = band - 1;
            const uint32_t signal = sec_micro_less_noise(p, sec_micro_root(ending) >> shift, c & 1, noise + c);
            features[c] = sec_micro_log(p, sec_micro_controlled(p, signal, noise[c]));
        }
        ending = next;
    }
}

#endif
