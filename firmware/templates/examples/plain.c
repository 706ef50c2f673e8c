/* Raw samples in, decisions out: "time label confidence", one line each. Plain C99; only put_line knows where it runs.

   In this project's folder:
       cc -O2 -ffp-contract=off -iquote model @SOURCES@ -o example
   In an emulator, where OUT is the folder above: secateur run OUT --env qemu-cortex-m4-example */
#include "@NAME@.h"
#include "recording.h"

@PLAIN@
static uint8_t arena[@UPPER@_ARENA_BYTES] PLACED(".sec_arena");
#ifdef @UPPER@_SLOW_ARENA_BYTES
static uint8_t slow_arena[@UPPER@_SLOW_ARENA_BYTES] PLACED(".sec_slow_arena");
#define INIT(s) @NAME@_init(s, arena, slow_arena)
#else
#define INIT(s) @NAME@_init(s, arena)
#endif
static @NAME@_state state PLACED(".bss.sec_state");

@SENSOR@
/* The time of the samples so far, without a division: whole seconds, and a part of one in 2^-32 ms. */
static const uint64_t one_second = 1000 * ((uint64_t)1 << 32);
static const uint64_t sample_time = (uint64_t)(1000.0 * 4294967296.0 / (double)@UPPER@_RATE_HZ);
static uint32_t seconds;
static uint64_t part;

static void count_sample(void) {
    for (part += sample_time; part >= one_second; part -= one_second) seconds++;
}

static void tell(int label, float confidence) {
    used = 0;
    add_number(seconds, 1);
    add_text(".");
    add_number((uint32_t)(part >> 32), 3);
    add_text(" ");
    tell_decision(label, confidence);
}

int main(void) {
    int16_t sample[@UPPER@_CHANNELS];
    int result, label;
    float confidence;
    start();
    result = -INIT(&state);
    while (result >= 0 && read_sensor(sample) > 0) {
        result = @NAME@_push(&state, sample, 1);
        count_sample();
        while (result >= 0 && (result = @NAME@_poll(&state, &label, &confidence)) == 1) tell(label, confidence);
    }
    if (result < 0) put_line("an error of the model: see the E_ codes in @NAME@.h");
    return stop(result < 0);
}
