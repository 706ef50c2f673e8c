/* UNIDIRECTIONAL_SEQUENCE_LSTM: int8 activations and weights, int16 cell state, as TensorFlow Lite Micro computes it.
 *
 * input   (rows, inputs); rows are (steps, batch) where the file is time major, else (batch, steps)
 * weights (4, units, inputs), recurrent (4, units, units); gates in the order input, forget, cell, output
 * bias    (4, units), recurrent_bias (4, units): the zero points of input and hidden state folded in
 * sigmoid (256) sigmoid(i / 24) in 0.16 fixed point
 * hidden, cell (batch, units): the states before and after, each in one place or `after` below `before`
 * output  (rows, units), written in ascending order: a row's new hidden state is complete there before the old one,
 *         which all units read, is replaced
 */
#ifndef SEC_LSTM_S8_H
#define SEC_LSTM_S8_H

#include "sec_common.h"

typedef struct {
    int32_t rows, batch, inputs, units;
    int32_t multiplier[4], recurrent_multiplier[4]; /* a gate */
    int32_t forget_multiplier, update_multiplier, hidden_multiplier, hidden_offset;
    int32_t cell_clip;            /* 0: none */
    int32_t tanh_multiplier;      /* of the cell state, into the table's 1/3 * 2^-12 */
    int8_t tanh_shift;            /* to the right */
    int8_t shift[4], recurrent_shift[4];
    int8_t forget_shift, update_shift, hidden_shift;
    int8_t time_major;
} sec_lstm_s8_params;

static inline int32_t sec_clamp16(int32_t x) {
    return sec_clamp(x, INT16_MIN, INT16_MAX);
}

/* sigmoid of x in Q3.12, Q0.15 out: the table, linear in between */
static inline int32_t sec_lstm_sigmoid(int32_t x, const uint16_t *table) {
    const int32_t scaled = 3 * x;
    const uint32_t a = (uint32_t)(scaled < 0 ? -scaled : scaled), at = a >> 9;
    uint32_t result = (uint32_t)0x7FFF << 10;
    if (at < 255) {
        result = ((uint32_t)table[at] << 9) + (a & 0x1ff) * ((uint32_t)table[at + 1] - table[at]);
    }
    result = scaled >= 0 ? result + (1u << 9) : (1u << 25) - result + (1u << 9) - 1u;
    return (int32_t)(result >> 10);
}

/* tanh of x * multiplier / 2^shift, Q0.15 out */
static inline int32_t sec_lstm_tanh(int32_t x, int32_t multiplier, int shift, const uint16_t *table) {
    const int32_t scaled = (x * multiplier + (shift > 0 ? 1 << (shift - 1) : 0)) >> shift;
    const int32_t a = scaled < 0 ? -scaled : scaled, at = a >> 8;
    int32_t result = 0xFFFF * 256;
    if (at < 255) {
        result = table[at] * 256 + (a & 0xff) * (table[at + 1] - table[at]);
    }
    result = scaled >= 0 ? result - (1 << 23) + (1 << 7) : -result + (1 << 23) + (1 << 7) - 1;
    return result >> 8;
}

static inline int32_t sec_lstm_dot(const int8_t *x, const int8_t *w, int32_t n, int32_t acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc += x[i] * w[i];
    }
    return acc;
}

/* what gate `g` of unit `u` is the sigmoid or tanh of, Q3.12 */
static inline int32_t sec_lstm_gate(const sec_lstm_s8_params *p, int32_t g, int32_t u, const int8_t *x,
                                    const int8_t *hidden, const int8_t *weights, const int8_t *recurrent,
                                    const int32_t *bias, const int32_t *recurrent_bias) {
    const int32_t row = g * p->units + u;
    const int32_t a = sec_lstm_dot(x, weights + row * p->inputs, p->inputs, bias[row]);
    const int32_t b = sec_lstm_dot(hidden, recurrent + row * p->units, p->units, recurrent_bias[row]);
    return sec_clamp16(sec_clamp16(sec_requantize(a, p->multiplier[g], p->shift[g])) +
                       sec_clamp16(sec_requantize(b, p->recurrent_multiplier[g], p->recurrent_shift[g])));
}

static inline void sec_lstm_s8(const sec_lstm_s8_params *p, const int8_t *input, const int8_t *weights,
                               const int8_t *recurrent, const int32_t *bias, const int32_t *recurrent_bias,
                               const uint16_t *sigmoid, const int8_t *hidden_before, const int16_t *cell_before,
                               int8_t *hidden, int16_t *cell, int8_t *output) {
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        hidden[i] = hidden_before[i];
    }
    for (int32_t i = 0; i < p->batch * p->units; ++i) {
        cell[i] = cell_before[i];
    }
    for (int32_t r = 0; r < p->rows; ++r, input += p->inputs, output += p->units) {
        const int32_t b = p->time_major ? r % p->batch : r / (p->rows / p->batch);
        int8_t *h = hidden + b * p->units;
        int16_t *c = cell + b * p->units;
        for (int32_t u = 0; u < p->units; ++u) {
            int32_t gate[4];
            for (int32_t g = 0; g < 4; ++g) {
                const int32_t v = sec_lstm_gate(p, g, u, input, h, weights, recurrent, bias, recurrent_bias);
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
            const int32_t v = sec_requantize(squashed * gate[3], p->hidden_multiplier, p->hidden_shift);
            output[u] = (int8_t)sec_clamp(v + p->hidden_offset, -128, 127);
        }
        for (int32_t u = 0; u < p->units; ++u) {
            h[u] = output[u];
        }
    }
}

#endif
