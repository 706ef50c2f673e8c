/* RESHAPE, CONCATENATION (one call an input), PAD and STRIDED_SLICE: bytes moved, nothing computed.
 *
 * All write in ascending order within a call; input and output may overlap as the descriptors say.
 */
#ifndef SEC_COPY_S8_H
#define SEC_COPY_S8_H

#include "sec_common.h"

typedef struct {
    int32_t blocks, block, output_stride; /* bytes; output_stride from block to block */
} sec_copy_s8_params;

static inline void sec_copy_s8(const sec_copy_s8_params *p, const int8_t *input, int8_t *output) {
    for (int32_t b = 0; b < p->blocks; ++b, output += p->output_stride) {
        for (int32_t i = 0; i < p->block; ++i) {
            output[i] = *input++;
        }
    }
}

typedef struct {
    int16_t out[4], in[4], before[4]; /* sizes and leading padding of (n, h, w, c) */
    int8_t value;
} sec_pad_s8_params;

static inline void sec_pad_s8(const sec_pad_s8_params *p, const int8_t *input, int8_t *output) {
    for (int n = 0; n < p->out[0]; ++n) {
        for (int y = 0; y < p->out[1]; ++y) {
            for (int x = 0; x < p->out[2]; ++x) {
                const int in_n = n - p->before[0], in_y = y - p->before[1], in_x = x - p->before[2];
                const int pixel = in_n >= 0 && in_n < p->in[0] && in_y >= 0 && in_y < p->in[1] && in_x >= 0 &&
                                  in_x < p->in[2];
                for (int c = 0; c < p->out[3]; ++c) {
                    const int in_c = c - p->before[3];
                    /* the input is walked in order, so the next byte is always the one wanted */
                    *output++ = pixel && in_c >= 0 && in_c < p->in[3] ? *input++ : p->value;
                }
            }
        }
    }
}

typedef struct {
    int16_t out[4];
    int32_t step[4]; /* elements of the input from one output position to the next */
    int32_t start;   /* elements of the input before the first */
} sec_strided_slice_s8_params;

static inline void sec_strided_slice_s8(const sec_strided_slice_s8_params *p, const int8_t *input, int8_t *output) {
    for (int n = 0; n < p->out[0]; ++n) {
        for (int y = 0; y < p->out[1]; ++y) {
            for (int x = 0; x < p->out[2]; ++x) {
                const int8_t *in = input + p->start + n * p->step[0] + y * p->step[1] + x * p->step[2];
                for (int c = 0; c < p->out[3]; ++c, in += p->step[3]) {
                    *output++ = *in;
                }
            }
        }
    }
}

#endif
