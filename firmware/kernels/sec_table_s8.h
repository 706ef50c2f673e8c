/* Any function of one 8-bit value, by table: LOGISTIC, TANH, ELU, GELU, HARD_SWISH, LEAKY_RELU, ABS, RSQRT, DIV by a
 * constant, 8-bit QUANTIZE. table[v + 128] is the output for input v; v is the byte read as int8.
 * Reads each element before it writes it, in ascending order.
 */
#ifndef SEC_TABLE_S8_H
#define SEC_TABLE_S8_H

#include "sec_common.h"

typedef struct {
    int32_t elements;
} sec_table_s8_params;

static inline void sec_table_s8(const sec_table_s8_params *p, const int8_t *input, const int8_t *table,
                                int8_t *output) {
    for (int32_t i = 0; i < p->elements; ++i) {
        output[i] = table[input[i] + 128];
    }
}

#endif
