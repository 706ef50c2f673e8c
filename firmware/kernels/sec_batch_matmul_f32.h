/* BATCH_MATMUL, float32: products of matrices, either of them computed; FULLY_CONNECTED with computed weights.
 *
 * Matrices are read through steps in elements, so that an adjoint one is not copied; a step of 0 repeats it for every
 * batch element. Output (batch[0], batch[1], batch[2], rows, columns), written in ascending order, each element after
 * its row of a and its column of b are read. Sums begin with 0 and go along the depth, the bias comes last.
 */
#ifndef SEC_BATCH_MATMUL_F32_H
#define SEC_BATCH_MATMUL_F32_H

#include "sec_float.h"

typedef struct {
    int32_t batch[3], a_batch[3], b_batch[3]; /* sizes; steps from one batch element to the next */
    int32_t rows, columns, depth;
    int32_t a_row, a_step, b_column, b_step; /* a_step, b_step: along the depth */
    float low, high;
} sec_batch_matmul_f32_params;

/* one pair of matrices; returns the end of its output. bias: a value a column, or 0 */
static inline float *sec_matmul_f32(const sec_batch_matmul_f32_params *p, const float *a, const float *b,
                                    const float *bias, float *output) {
    for (int32_t r = 0; r < p->rows; ++r) {
        for (int32_t c = 0; c < p->columns; ++c) {
            const float *x = a + r * p->a_row, *y = b + c * p->b_column;
            float sum = 0.0f;
            for (int32_t k = 0; k < p->depth; ++k) {
                sum += x[k * p->a_step] * y[k * p->b_step];
            }
            *output++ = bias ? sec_clamp_f32(sum + bias[c], p->low, p->high) : sum;
        }
    }
    return output;
}

static inline void sec_batch_matmul_bias_f32(const sec_batch_matmul_f32_params *p, const float *a, const float *b,
                                             const float *bias, float *output) {
    for (int32_t i = 0; i < p->batch[0]; ++i) {
        for (int32_t j = 0; j < p->batch[1]; ++j) {
            for (int32_t k = 0; k < p->batch[2]; ++k) {
                const float *x = a + i * p->a_batch[0] + j * p->a_batch[1] + k * p->a_batch[2];
                const float *y = b + i * p->b_batch[0] + j * p->b_batch[1] + k * p->b_batch[2];
                output = sec_matmul_f32(p, x, y, bias, output);
            }
        }
    }
}

static inline void sec_batch_matmul_f32(const sec_batch_matmul_f32_params *p, const float *a, const float *b,
                                        float *output) {
    sec_batch_matmul_bias_f32(p, a, b, 0, output);
}

#endif
