/* Another sample rate: a causal polyphase filter, one sample of all channels in, none or more out.
   The state begins with sec_resample_state; the history of taps_per_phase samples follows it, a ring. */
#ifndef SEC_RESAMPLE_H
#define SEC_RESAMPLE_H

#include <stdint.h>

typedef struct {
    int32_t channels, up, down;
    int32_t taps_per_phase;
    const int16_t *taps; /* (up, taps_per_phase) in Q14, the newest sample's first */
} sec_resample_params;

typedef struct {
    int32_t phase;     /* of the next output, counted from the next input; `up` is one input further */
    int32_t newest;    /* where in the history the last sample is */
    int16_t history[]; /* (taps_per_phase, channels) */
} sec_resample_state;

static inline void sec_resample_reset(const sec_resample_params *p, void *state) {
    sec_resample_state *s = state;
    s->phase = 0;
    s->newest = p->taps_per_phase - 1;
    for (int32_t i = 0; i < p->taps_per_phase * p->channels; ++i) {
        s->history[i] = 0;
    }
}

/* Writes at most ceil(up / down) samples of all channels and returns how many. The 32-bit sums cannot overflow: the
   absolute values of a phase's taps sum to less than 2^16. */
static inline int sec_resample_push(
    const sec_resample_params *p, void *state, const int16_t *sample, int16_t *outputs) {
    sec_resample_state *s = state;
    const int32_t length = p->taps_per_phase, channels = p->channels;
    s->newest = s->newest + 1 == length ? 0 : s->newest + 1;
    for (int32_t c = 0; c < channels; ++c) {
        s->history[s->newest * channels + c] = sample[c];
    }
    int count = 0;
    for (; s->phase < p->up; s->phase += p->down, ++count) {
        const int16_t *taps = p->taps + s->phase * length;
        for (int32_t c = 0; c < channels; ++c) {
            const int16_t *x = s->history + c;
            const int16_t *tap = taps;
            int32_t sum = 1 << 13;
            for (int32_t i = s->newest; i >= 0; --i) {
                sum += x[i * channels] * *tap++;
            }
            for (int32_t i = length - 1; i > s->newest; --i) {
                sum += x[i * channels] * *tap++;
            }
            sum >>= 14;
            *outputs++ = (int16_t)(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
        }
    }
    s->phase -= p->up;
    return count;
}

#endif
