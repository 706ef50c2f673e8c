/* Dot products of int16 activations and int8 weights, of four rows at a time: CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED. */
#ifndef SEC_DOT_S16_H
#define SEC_DOT_S16_H

#include "sec_common_s16.h"

/* acc[0..rows) += dot products of `lines` runs of n elements of x, x_step apart, with as many weights in one piece;
 * the weights of the next row are row_stride further. Not inline: its own frame keeps all in registers. */
static void sec_dot_s16(const int16_t *x, int32_t x_step, int32_t lines, int32_t n, const int8_t *weights,
                        int32_t row_stride, int rows, int64_t *acc) {
    if (rows == 4) {
        const int8_t *w0 = weights, *w1 = w0 + row_stride, *w2 = w1 + row_stride, *w3 = w2 + row_stride;
        int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, room = SEC_S16_RUN;
        for (; lines > 0; --lines) {
            const int16_t *v = x;
            for (int32_t left = n; left > 0;) {
                const int32_t run = left < room ? left : room;
                for (int32_t i = run; i > 0; --i) {
                    const int32_t value = *v++;
                    a0 += value * *w0++;
                    a1 += value * *w1++;
                    a2 += value * *w2++;
                    a3 += value * *w3++;
                }
                left -= run;
                room -= run;
                if (room == 0) {
                    acc[0] += a0;
                    acc[1] += a1;
                    acc[2] += a2;
                    acc[3] += a3;
                    a0 = a1 = a2 = a3 = 0;
                    room = SEC_S16_RUN;
                }
            }
            x = lines > 1 ? x + x_step : x; /* no address beyond the last run is formed */
        }
        acc[0] += a0;
        acc[1] += a1;
        acc[2] += a2;
        acc[3] += a3;
        return;
    }
    for (int r = 0; r < rows; ++r) {
        const int8_t *w = weights + r * row_stride;
        const int16_t *line = x;
        for (int32_t i = 0; i < lines; ++i, w += n) {
            for (int32_t first = 0; first < n; first += SEC_S16_RUN) {
                const int32_t end = n - first < SEC_S16_RUN ? n : first + SEC_S16_RUN;
                int32_t a = 0;
                for (int32_t k = first; k < end; ++k) {
                    a += line[k] * w[k];
                }
                acc[r] += a;
            }
            line = i + 1 < lines ? line + x_step : line;
        }
    }
}

#endif
