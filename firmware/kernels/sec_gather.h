/* GATHER by indices that are computed or fed: rows of any type, taken along one axis.
 *
 * input  (batch, outer, size, bytes)
 * index  (batch, count), int32 or int64, each read before its row of the output is written
 * output (batch, outer, count, bytes), written byte after byte in ascending order
 *
 * Returns 0, or 1 at the first index outside 0 .. size - 1: nothing is read there, and the rest is not written.
 */
#ifndef SEC_GATHER_H
#define SEC_GATHER_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t batch, outer, size, count, bytes;
    int8_t wide; /* 1: indices of 64 bits */
} sec_gather_params;

/* the index at `from`, -1 where it lies outside */
static inline int32_t sec_gather_index(const sec_gather_params *p, const int8_t *from) {
    int64_t wide = 0;
    int32_t index = 0;
    /* the arena aligns to 4 bytes, so 64 bits are not read as one */
    if (p->wide) {
        memcpy(&wide, from, sizeof wide);
        return wide >= 0 && wide < p->size ? (int32_t)wide : -1;
    }
    memcpy(&index, from, sizeof index);
    return index >= 0 && index < p->size ? index : -1;
}

static inline int sec_gather(const sec_gather_params *p, const void *input, const void *index, int8_t *output) {
    const int8_t *rows = (const int8_t *)input, *indices = (const int8_t *)index;
    const int32_t each = p->wide ? 8 : 4;
    for (int32_t b = 0; b < p->batch; ++b, indices += p->count * each) {
        for (int32_t o = 0; o < p->outer; ++o, rows += p->size * p->bytes) {
            for (int32_t i = 0; i < p->count; ++i) {
                const int32_t at = sec_gather_index(p, indices + i * each);
                if (at < 0) {
                    return 1;
                }
                const int8_t *row = rows + at * p->bytes;
                for (int32_t k = 0; k < p->bytes; ++k) {
                    *output++ = row[k];
                }
            }
        }
    }
    return 0;
}

#endif
