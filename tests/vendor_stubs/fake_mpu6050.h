/* An MPU-6050 as registers: replays examples/plain/recording.c, big-endian, BURST samples into its FIFO at each EVERY-th
   wait. Burst FAIL_AT fails in the middle. After burst POWER_LOST_AT it has lost its power, is back
   asleep, and leaves two of three of the next UNANSWERED accesses without an answer. */
#ifndef FAKE_MPU6050_H
#define FAKE_MPU6050_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "recording.h"

#define FAKE_CHANNELS ((int)(sizeof recording[0] / sizeof recording[0][0]))
#define FAKE_SAMPLE (2 * FAKE_CHANNELS)
#ifndef WHO
#define WHO 0x68
#endif
#ifndef BURST
#define BURST 3
#endif
#ifndef EVERY
#define EVERY 1
#endif
#ifndef FAIL_AT
#define FAIL_AT 0
#endif
#ifndef POWER_LOST_AT
#define POWER_LOST_AT 0
#endif
#ifndef UNANSWERED
#define UNANSWERED 0
#endif

static uint8_t fake_register[128] = {0};
static int fake_next = 0, fake_in_fifo = 0, fake_read = 0;
static int fake_unanswered = 0, fake_bursts = 0;
static uint32_t fake_ms = 0;

static inline int fake_answers(void) { return fake_unanswered == 0 || fake_unanswered-- % 3 == 0; }

static inline void fake_lose_power(void) {
    for (size_t i = 0; i < sizeof fake_register; i++) fake_register[i] = 0;
    fake_register[0x6B] = 0x40; /* SLEEP */
    fake_in_fifo = fake_read = 0;
    fake_unanswered = UNANSWERED;
}

/* 0, or 1 without an answer. */
static inline int fake_write(uint8_t at, uint8_t value) {
    if (!fake_answers()) return 1;
    fake_register[at] = value;
    if (at == 0x6A && (value & 4)) fake_in_fifo = fake_read = 0; /* FIFO_RESET */
    return 0;
}

static inline uint8_t fake_byte(uint8_t at) {
    const int bytes = fake_in_fifo * FAKE_SAMPLE - fake_read, full = bytes > 1024 ? 1024 : bytes;
    if (at == 0x75) return WHO;
    if (at == 0x72) return (uint8_t)(full >> 8);
    if (at == 0x73) return (uint8_t)(full & 255);
    return fake_register[at];
}

/* Bytes that came. */
static inline size_t fake_get(uint8_t from, uint8_t *to, size_t n) {
    if (!fake_answers()) return 0;
    if (from == 0x74 && ++fake_bursts == FAIL_AT) n = 5;
    for (size_t i = 0; i < n; i++) {
        if (from != 0x74) {
            to[i] = fake_byte((uint8_t)(from + i));
            continue;
        }
        const int16_t value = recording[fake_next - fake_in_fifo][fake_read / 2];
        to[i] = (uint8_t)((uint16_t)value >> (fake_read % 2 ? 0 : 8));
        if (++fake_read == FAKE_SAMPLE) {
            fake_read = 0;
            fake_in_fifo--;
        }
    }
    if (from == 0x74 && fake_bursts == POWER_LOST_AT) fake_lose_power();
    return n;
}

/* Time goes on: samples come where the sensor is awake and its FIFO takes all channels; at the end it tells its set-up. */
static inline void fake_wait(uint32_t ms) {
    const uint8_t channels = FAKE_CHANNELS == 6 ? 0x78 : 0x08;
    const int runs = fake_register[0x6B] == 1 && fake_register[0x6A] == 0x40 && fake_register[0x23] == channels;
    static int waits = 0;
    fake_ms += ms;
    if (++waits > 100000 || (fake_next == RECORDING_SAMPLES && fake_in_fifo == 0)) {
        printf("divider %d filter %d gyro %d accel %d\n", fake_register[0x19], fake_register[0x1A],
               fake_register[0x1B], fake_register[0x1C]);
        exit(0);
    }
    for (int i = 0; runs && waits % EVERY == 0 && i < BURST && fake_next < RECORDING_SAMPLES; i++) {
        fake_next++;
        fake_in_fifo++;
    }
}
#endif
