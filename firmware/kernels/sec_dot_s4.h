/* Dot products of int8 activations and int4 weights of up to four rows (output channels): CONV_2D, FULLY_CONNECTED.
 *
 * A byte holds the weights of two neighbouring rows at one place, the first row's in its low bits: so a run may begin
 * anywhere, and a block of four rows is one piece of two bytes a place. An odd last row is packed by itself, two places
 * a byte, behind what its block has else. Nothing is filled up but that row's last byte.
 */
#ifndef SEC_DOT_S4_H
#define SEC_DOT_S4_H

#include "sec_nibbles.h"

/* bytes of all blocks of `rows` rows of `filter` weights */
static inline int32_t sec_rows_bytes_s4(int32_t rows, int32_t filter) {
    return rows / 2 * filter + (rows & 1 ? (filter + 1) / 2 : 0);
}

/* where the block begins that row `row` is in; blocks are of four rows */
static inline const int8_t *sec_block_s4(const int8_t *weights, int32_t row, int32_t filter) {
    return weights + row / 4 * 2 * filter;
}

/* acc[0..rows) += dot products of `lines` runs of n elements of x, x_step apart, with the weights of a block from place
 * `at` on, in one piece. `x_next` 0: x is one value, repeated. Not inline: its own frame keeps all in registers. */
static void sec_dot_s4(const int8_t *x, int x_next, int32_t x_step, int lines, int32_t n, const int8_t *block,
                       int32_t filter, int32_t at, int rows, int32_t *acc) {
    if (rows == 4) {
        const int8_t *w = block + 2 * at;
        int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
        for (; lines > 0; --lines) {
            const int8_t *v = x;
            for (int32_t i = n; i > 0; --i, v += x_next, w += 2) {
                const int32_t value = *v;
                const int8_t first = w[0], second = w[1];
                a0 += value * sec_low_s4(first);
                a1 += value * sec_high_s4(first);
                a2 += value * sec_low_s4(second);
                a3 += value * sec_high_s4(second);
            }
            x = lines > 1 ? x + x_step : x; /* no address beyond the last run is formed */
        }
        acc[0] = a0;
        acc[1] = a1;
        acc[2] = a2;
        acc[3] = a3;
        return;
    }
    const int pairs = rows / 2;
    const int8_t *odd = block + pairs * filter;
    for (int line = 0; line < lines; ++line, at += n) {
        const int8_t *v = x;
        for (int32_t i = at; i < at + n; ++i, v += x_next) {
            const int32_t value = *v;
            if (pairs) {
                acc[0] += value * sec_low_s4(block[i]);
                acc[1] += value * sec_high_s4(block[i]);
            }
            if (rows & 1) {
                acc[rows - 1] += value * (i & 1 ? sec_high_s4(odd[i >> 1]) : sec_low_s4(odd[i >> 1]));
            }
        }
        x = line + 1 < lines ? x + x_step : x;
    }
}

#endif
