/* UNIDIRECTIONAL_SEQUENCE_LSTM, float32, in the order of operations of TensorFlow Lite Micro.
 *
 * input   (rows, inputs); rows are (steps, batch) where the file is time major, else (batch, steps)
 * weights (4, units, inputs), recurrent (4, units, units), bias (4, units); gates: input, forget, cell, output
 * hidden, cell (batch, units): the states before and after, each in one place or `after` below `before`
 * output  (rows, units), written in ascending order: a row's new hidden state is complete there before the old one,
 *         which all units read, is replaced
 */
#ifndef SEC_LSTM_F32_H
#define SEC_LSTM_F32_H

#include "sec_float.h"

typedef struct {
    int32_t rows, batch, inputs, units;
    float cell_clip; /* 0: none */
    int8_t time_major;
} sec_lstm_f32_params;

static inline float sec_lstm_f32_dot(const float *x, const float *w, int32_t n) {
    float sum = 0.0f;
    for (int32_t i = 0; i < n; ++i) {
        sum += x[i] * w[i];
    }
    return sum;
}

/* sums and products beyond the largest float become that */
static inline float sec_lstm_f32_finite(float x) {
    return sec_clamp_f32(x, -SEC_FLOAT_LARGEST, SEC_FLOAT_LARGEST);
}

static inline void sec_lstm_f32(const sec_lstm_f32_params *p, const float *input, const float *weights,
                                const float *recurrent, const float *bias, const float *hidden_before,
                                const float *cell_before, float *hidden, float *cell, float *output) {
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        hidden[i] = hidden_before[i];
    }
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        cell[i] = cell_before[i];
    }
    for (int32_t r = 0; r < p->rows; ++r, input += p->inputs, output += p->units) {
        const int32_t b = p->time_major ? r % p->batch : r / (p->rows / p->batch);
        float *h = hidden + b * p->units, *c = cell + b * p->units;
        for (int32_t u = 0; u < p->units; ++u) {
            float gate[4];
            for (int32_t g = 0; g < 4; ++g) {
                const int32_t row = g * p->units + u;
                const float entering = sec_lstm_f32_dot(input, weights + row * p->inputs, p->inputs) + bias[row];
                const float again = sec_lstm_f32_dot(h, recurrent + row * p->units, p->units);
                const float total = sec_lstm_f32_finite(entering) + sec_lstm_f32_finite(again);
                gate[g] = g == 2 ? sec_tanh(total) : sec_logistic(total);
            }
            float now = sec_lstm_f32_finite(gate[1] * c[u]) + sec_lstm_f32_finite(gate[0] * gate[2]);
            if (p->cell_clip > 0.0f) {
                now = sec_clamp_f32(now, -p->cell_clip, p->cell_clip);
            }
            c[u] = now;
            output[u] = sec_lstm_f32_finite(sec_tanh(now) * gate[3]);
        }
        for (int32_t u = 0; u < p->units; ++u) {
            h[u] = output[u];
        }
    }
}

#endif
