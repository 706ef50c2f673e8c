/* FULLY_CONNECTED, float32, constant weights.
 *
 * input (batch, in), weights (out, in), bias (out), output (batch, out). Four outputs at a time: the row is read for
 * them, then they are written, in ascending order. Sums begin with 0 and go along the row, the bias comes last.
 */
#ifndef SEC_FULLY_CONNECTED_F32_H
#define SEC_FULLY_CONNECTED_F32_H

#include "sec_conv2d_f32.h"

typedef struct {
    int32_t batch, in, out;
    float low, high;
} sec_fully_connected_f32_params;

static inline void sec_fully_connected_f32(const sec_fully_connected_f32_params *p, const float *input,
                                           const float *weights, const float *bias, float *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->in, output += p->out) {
        for (int32_t c = 0; c < p->out; c += 4) {
            const int32_t rows = p->out - c < 4 ? p->out - c : 4;
            float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            sec_conv2d_f32_dot(input, p->in, weights + c * p->in, p->in, rows, sums);
            for (int32_t r = 0; r < rows; ++r) {
                output[c + r] = sec_clamp_f32(sums[r] + bias[c + r], p->low, p->high);
            }
        }
    }
}

#endif
