/* Two int4 of one byte, -8 to 7 each. */
#ifndef SEC_NIBBLES_H
#define SEC_NIBBLES_H

#include "sec_common.h"

static inline int32_t sec_low_s4(int8_t byte) {
    return (int8_t)(uint8_t)((uint32_t)(uint8_t)byte << 4) >> 4;
}

static inline int32_t sec_high_s4(int8_t byte) {
    return byte >> 4;
}

#endif
