/* Bytes moved by index: TRANSPOSE and BROADCAST_TO through six strides, TAKE through an index table an axis (GATHER,
 * MIRROR_PAD, RESIZE_NEAREST_NEIGHBOR); PAD. Elements of `size` bytes. All write in ascending order.
 */
#ifndef SEC_MOVE_S8_H
#define SEC_MOVE_S8_H

#include "sec_common.h"

typedef struct {
    int16_t out[6];
    int32_t step[6]; /* bytes of the input from one output position to the next; 0 repeats */
    int16_t size;
} sec_permute_s8_params;

static inline void sec_permute_s8(const sec_permute_s8_params *p, const int8_t *input, int8_t *output) {
    int16_t at[6] = {0, 0, 0, 0, 0, 0};
    const int8_t *in = input;
    for (;;) {
        for (int i = 0; i < p->size; ++i) {
            *output++ = in[i];
        }
        int axis = 5;
        while (axis >= 0 && ++at[axis] == p->out[axis]) {
            in -= (p->out[axis] - 1) * p->step[axis];
            at[axis--] = 0;
        }
        if (axis < 0) {
            return;
        }
        in += p->step[axis];
    }
}

typedef struct {
    int16_t out[4], in[4]; /* (n, h, w, c) */
    int16_t size;          /* bytes an element */
    int8_t walked[4];      /* 1: an axis without a table, every index in order */
} sec_take_s8_params;

/* index: the tables of the axes that have one, one after the other, out[axis] entries each */
static inline void sec_take_s8(const sec_take_s8_params *p, const int8_t *input, const int16_t *index,
                               int8_t *output) {
    const int16_t *table[4];
    for (int axis = 0; axis < 4; ++axis) {
        table[axis] = index;
        index += p->walked[axis] ? 0 : p->out[axis];
    }
    for (int n = 0; n < p->out[0]; ++n) {
        const int32_t in_n = p->walked[0] ? n : table[0][n];
        for (int y = 0; y < p->out[1]; ++y) {
            const int32_t in_y = in_n * p->in[1] + (p->walked[1] ? y : table[1][y]);
            for (int x = 0; x < p->out[2]; ++x) {
                const int32_t in_x = in_y * p->in[2] + (p->walked[2] ? x : table[2][x]);
                for (int c = 0; c < p->out[3]; ++c) {
                    const int8_t *in = input + (in_x * p->in[3] + (p->walked[3] ? c : table[3][c])) * p->size;
                    for (int i = 0; i < p->size; ++i) {
                        *output++ = in[i];
                    }
                }
            }
        }
    }
}

typedef struct {
    int16_t out[4], in[4], before[4]; /* sizes and leading padding of (n, h, w, c) */
    int16_t size;                     /* bytes an element */
    int8_t value[8];                  /* of the padding */
} sec_pad_elements_params;

static inline void sec_pad_elements(const sec_pad_elements_params *p, const int8_t *input, int8_t *output) {
    for (int n = 0; n < p->out[0]; ++n) {
        for (int y = 0; y < p->out[1]; ++y) {
            for (int x = 0; x < p->out[2]; ++x) {
                const int in_n = n - p->before[0], in_y = y - p->before[1], in_x = x - p->before[2];
                const int pixel = in_n >= 0 && in_n < p->in[0] && in_y >= 0 && in_y < p->in[1] && in_x >= 0 &&
                                  in_x < p->in[2];
                for (int c = 0; c < p->out[3]; ++c) {
                    const int in_c = c - p->before[3];
                    const int inside = pixel && in_c >= 0 && in_c < p->in[3];
                    for (int i = 0; i < p->size; ++i) {
                        /* the input is walked in order, so the next byte is always the one wanted */
                        *output++ = inside ? *input++ : p->value[i];
                    }
                }
            }
        }
    }
}

#endif
