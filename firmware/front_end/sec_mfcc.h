/* Mel-frequency cepstral coefficients of a frame: the DCT of its log-mel energies; models/front_end/mfcc.py, bit for
   bit. */
#ifndef SEC_MFCC_H
#define SEC_MFCC_H

#include <stdint.h>

#include "sec_log_mel.h"

typedef struct {
    sec_log_mel_params mel;
    int32_t coefficients, shift; /* bits from a sum of products to a count */
    const int16_t *cosines;      /* coefficients, then bins */
} sec_mfcc_params;

/* scratch: that of log-mel, then its energies */
static inline void sec_mfcc_frame(
    const sec_mfcc_params *p, void *state, void *scratch, const int16_t *frame, int16_t *features
) {
    int16_t *mel = (int16_t *)((int32_t *)scratch + p->mel.fft_length);
    const int16_t *cosine = p->cosines;
    sec_log_mel_frame(&p->mel, state, scratch, frame, mel);
    for (int32_t k = 0; k < p->coefficients; ++k) {
        int64_t sum = (int64_t)1 << (p->shift - 1);
        for (int32_t m = 0; m < p->mel.bins; ++m, ++cosine) {
            sum += mel[m] * *cosine;
        }
        sum >>= p->shift;
        features[k] = (int16_t)(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
    }
}

static inline void sec_mfcc_reset(const sec_mfcc_params *p, void *state) {
    sec_log_mel_reset(&p->mel, state);
}

#endif
