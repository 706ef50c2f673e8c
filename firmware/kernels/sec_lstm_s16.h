/* UNIDIRECTIONAL_SEQUENCE_LSTM, int16 activations and int8 weights; cell state int16 of a power of two.
 *
 * input   (rows, inputs): a row is one step of one batch element, (steps, batch) if time major, else (batch, steps)
 * weights (4, units, inputs), recurrent (4, units, units); gates in the order input, forget, cell, output
 * bias    (4, units), see sec_bias_s16
 * sigmoid (256) sigmoid(i / 24) in 0.16 fixed point
 * hidden, cell (batch, units): the states before and after, each in one place or `after` below `before`
 * output  (rows, units), written in ascending order: a row's new hidden state is complete there before the old one,
 *         which all units read, is replaced
 */
#ifndef SEC_LSTM_S16_H
#define SEC_LSTM_S16_H

#include "sec_dot_s16.h"
#include "sec_lstm_s8.h"

typedef struct {
    int32_t rows, batch, inputs, units;
    int32_t multiplier[4], recurrent_multiplier[4]; /* a gate */
    int32_t forget_multiplier, update_multiplier, hidden_multiplier;
    int32_t cell_clip;       /* 0: none */
    int32_t tanh_multiplier; /* of the cell state, into the table's 1/3 * 2^-12 */
    int8_t tanh_shift;       /* to the right */
    int8_t shift[4], recurrent_shift[4];
    int8_t forget_shift, update_shift, hidden_shift;
    int8_t time_major, wide_bias;
} sec_lstm_s16_params;

/* what gate `g` of unit `u` is the sigmoid or tanh of, Q3.12 */
static inline int32_t sec_lstm_s16_gate(const sec_lstm_s16_params *p, int32_t g, int32_t u, const int16_t *x,
                                        const int16_t *hidden, const int8_t *weights, const int8_t *recurrent,
                                        const void *bias) {
    const int32_t row = g * p->units + u;
    int64_t a = sec_bias_s16(bias, p->wide_bias, row), b = 0;
    sec_dot_s16(x, 0, 1, p->inputs, weights + row * p->inputs, 0, 1, &a);
    sec_dot_s16(hidden, 0, 1, p->units, recurrent + row * p->units, 0, 1, &b);
    return sec_clamp16(sec_clamp16(sec_requantize_s64(a, p->multiplier[g], p->shift[g])) +
                       sec_clamp16(sec_requantize_s64(b, p->recurrent_multiplier[g], p->recurrent_shift[g])));
}

static inline void sec_lstm_s16(const sec_lstm_s16_params *p, const int16_t *input, const int8_t *weights,
                                const int8_t *recurrent, const void *bias, const uint16_t *sigmoid,
                                const int16_t *hidden_before, const int16_t *cell_before, int16_t *hidden,
                                int16_t *cell, int16_t *output) {
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        hidden[i] = hidden_before[i];
    }
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        cell[i] = cell_before[i];
    }
    for (int32_t r = 0; r < p->rows; ++r, input += p->inputs, output += p->units) {
        const int32_t b = p->time_major ? r % p->batch : r / (p->rows / p->batch);
        int16_t *h = hidden + b * p->units;
        int16_t *c = cell + b * p->units;
        for (int32_t u = 0; u < p->units; ++u) {
            int32_t gate[4];
            for (int32_t g = 0; g < 4; ++g) {
                const int32_t v = sec_lstm_s16_gate(p, g, u, input, h, weights, recurrent, bias);
                gate[g] = g == 2 ? sec_lstm_tanh(v, 3, 0, sigmoid) : sec_lstm_sigmoid(v, sigmoid);
            }
            const int32_t kept = sec_clamp16(sec_requantize(gate[1] * c[u], p->forget_multiplier, p->forget_shift));
            const int32_t added =
                sec_clamp16(sec_requantize(gate[0] * gate[2], p->update_multiplier, p->update_shift));
            int32_t now = sec_clamp16(kept + added);
            if (p->cell_clip > 0) {
                now = sec_clamp(now, -p->cell_clip, p->cell_clip);
            }
            c[u] = (int16_t)now;
            const int32_t squashed = sec_lstm_tanh(now, p->tanh_multiplier, p->tanh_shift, sigmoid);
            output[u] =
                (int16_t)sec_clamp16(sec_requantize(squashed * gate[3], p->hidden_multiplier, p->hidden_shift));
        }
        for (int32_t u = 0; u < p->units; ++u) {
            h[u] = output[u];
        }
    }
}

#endif
