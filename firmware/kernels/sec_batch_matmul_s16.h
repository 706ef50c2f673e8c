/* BATCH_MATMUL, int16: products of matrices, either of them computed.
 *
 * Matrices are read through steps in elements, so that an adjoint one is not copied; a step of 0 repeats it for every
 * batch element. Output (batch[0], batch[1], batch[2], rows, columns), written in ascending order, each element after
 * its row of a and its column of b are read.
 */
#ifndef SEC_BATCH_MATMUL_S16_H
#define SEC_BATCH_MATMUL_S16_H

#include "sec_common_s16.h"

typedef struct {
    int32_t batch[3], a_batch[3], b_batch[3]; /* sizes; steps from one batch element to the next */
    int32_t rows, columns, depth;
    int32_t a_row, a_step, b_column, b_step; /* a_step, b_step: along the depth */
    int32_t multiplier, low, high;
    int8_t shift;
} sec_batch_matmul_s16_params;

/* one pair of matrices; returns the end of its output */
static inline int16_t *sec_matmul_s16(const sec_batch_matmul_s16_params *p, const int16_t *a, const int16_t *b,
                                      int16_t *output) {
    for (int32_t r = 0; r < p->rows; ++r) {
        for (int32_t c = 0; c < p->columns; ++c) {
            const int16_t *x = a + r * p->a_row, *y = b + c * p->b_column;
            int64_t acc = 0;
            for (int32_t k = 0; k < p->depth; ++k) {
                acc += (int32_t)x[k * p->a_step] * y[k * p->b_step];
            }
            *output++ = (int16_t)sec_clamp(sec_requantize_s64(acc, p->multiplier, p->shift), p->low, p->high);
        }
    }
    return output;
}

static inline void sec_batch_matmul_s16(const sec_batch_matmul_s16_params *p, const int16_t *a, const int16_t *b,
                                        int16_t *output) {
    for (int32_t i = 0; i < p->batch[0]; ++i) {
        for (int32_t j = 0; j < p->batch[1]; ++j) {
            for (int32_t k = 0; k < p->batch[2]; ++k) {
                const int16_t *x = a + i * p->a_batch[0] + j * p->a_batch[1] + k * p->a_batch[2];
                const int16_t *y = b + i * p->b_batch[0] + j * p->b_batch[1] + k * p->b_batch[2];
                output = sec_matmul_s16(p, x, y, output);
            }
        }
    }
}

#endif
