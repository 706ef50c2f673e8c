/* BATCH_MATMUL, int8: products of matrices, either of them computed; FULLY_CONNECTED with computed weights.
 *
 * Matrices are read through steps in elements, so that an adjoint one is not copied; a step of 0 repeats it for every
 * batch element. Output (batch[0], batch[1], batch[2], rows, columns), written in ascending order, each element after
 * its row of a and its column of b are read.
 */
#ifndef SEC_BATCH_MATMUL_S8_H
#define SEC_BATCH_MATMUL_S8_H

#include "sec_common.h"

typedef struct {
    int32_t batch[3], a_batch[3], b_batch[3]; /* sizes; steps from one batch element to the next */
    int32_t rows, columns, depth;
    int32_t a_row, a_step, b_column, b_step; /* a_step, b_step: along the depth */
    int32_t a_offset, b_offset, multiplier, output_offset, low, high;
    int8_t shift;
} sec_batch_matmul_s8_params;

/* one pair of matrices; returns the end of its output. bias: a value a column, or 0 */
static inline int8_t *sec_matmul_s8(const sec_batch_matmul_s8_params *p, const int8_t *a, const int8_t *b,
                                    const int32_t *bias, int8_t *output) {
    for (int32_t r = 0; r < p->rows; ++r) {
        for (int32_t c = 0; c < p->columns; ++c) {
            const int8_t *x = a + r * p->a_row, *y = b + c * p->b_column;
            int32_t acc = bias ? bias[c] : 0;
            for (int32_t k = 0; k < p->depth; ++k) {
                acc += (x[k * p->a_step] + p->a_offset) * (y[k * p->b_step] + p->b_offset);
            }
            const int32_t v = sec_requantize(acc, p->multiplier, p->shift);
            *output++ = (int8_t)sec_clamp(v + p->output_offset, p->low, p->high);
        }
    }
    return output;
}

static inline void sec_batch_matmul_bias_s8(const sec_batch_matmul_s8_params *p, const int8_t *a, const int8_t *b,
                                            const int32_t *bias, int8_t *output) {
    for (int32_t i = 0; i < p->batch[0]; ++i) {
        for (int32_t j = 0; j < p->batch[1]; ++j) {
            for (int32_t k = 0; k < p->batch[2]; ++k) {
                const int8_t *x = a + i * p->a_batch[0] + j * p->a_batch[1] + k * p->a_batch[2];
                const int8_t *y = b + i * p->b_batch[0] + j * p->b_batch[1] + k * p->b_batch[2];
                output = sec_matmul_s8(p, x, y, bias, output);
            }
        }
    }
}

static inline void sec_batch_matmul_s8(const sec_batch_matmul_s8_params *p, const int8_t *a, const int8_t *b,
                                       int8_t *output) {
    sec_batch_matmul_bias_s8(p, a, b, 0, output);
}

#endif
