/* SOFTMAX and L2_NORMALIZATION over the last axis, float32.
 *
 * input (rows, depth), output (rows, depth): a row is read whole, then element by element before each is written; sums
 * begin with 0 and go along the row.
 */
#ifndef SEC_ROW_F32_H
#define SEC_ROW_F32_H

#include "sec_float.h"

typedef struct {
    int32_t rows, depth;
    float beta; /* of SOFTMAX */
} sec_row_f32_params;

static inline void sec_softmax_f32(const sec_row_f32_params *p, const float *input, float *output) {
    for (int32_t r = 0; r < p->rows; ++r, input += p->depth, output += p->depth) {
        float largest = -SEC_FLOAT_LARGEST, sum = 0.0f;
        for (int32_t i = 0; i < p->depth; ++i) {
            largest = input[i] > largest ? input[i] : largest;
        }
        for (int32_t i = 0; i < p->depth; ++i) {
            output[i] = sec_exp((input[i] - largest) * p->beta);
            sum += output[i];
        }
        for (int32_t i = 0; i < p->depth; ++i) {
            output[i] = output[i] / sum;
        }
    }
}

static inline void sec_l2_normalization_f32(const sec_row_f32_params *p, const float *input, float *output) {
    for (int32_t r = 0; r < p->rows; ++r, input += p->depth, output += p->depth) {
        float sum = 0.0f;
        for (int32_t i = 0; i < p->depth; ++i) {
            sum += input[i] * input[i];
        }
        const float root = sec_sqrt(sum), length = root < 1e-6f ? 1e-6f : root;
        for (int32_t i = 0; i < p->depth; ++i) {
            output[i] = input[i] / length;
        }
    }
}

#endif
