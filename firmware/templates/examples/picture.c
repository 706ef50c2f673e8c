/* A camera's frames in, decisions out: "frame: label confidence", one line each. Plain C99; only put_line knows where it
   runs. The frames are embedded ones; yours is what the camera's driver gives, as @NAME@.h says.

   In this project's folder:
       cc -O2 -ffp-contract=off -iquote model @SOURCES@ -o example
   In an emulator, where OUT is the folder above: secateur run OUT --env qemu-cortex-m4-example */
#include "sec_model.h"

@PLAIN@
static uint8_t arena[SEC_ARENA_BYTES] PLACED(".sec_arena");
#ifdef SEC_SLOW_ARENA_BYTES
static uint8_t slow_arena[SEC_SLOW_ARENA_BYTES] PLACED(".sec_slow_arena");
#define START(s) SEC_INIT(s, arena, slow_arena)
#else
#define START(s) SEC_INIT(s, arena)
#endif
static sec_state state PLACED(".bss.sec_state");

static void tell(uint32_t number, int label, float confidence) {
    used = 0;
    add_number(number, 1);
    add_text(": ");
    tell_decision(label, confidence);
}

int main(void) {
    int result, label;
    float confidence;
    start();
    result = -START(&state);
    for (int i = 0; i < SEC_SAMPLES && result >= 0; i++) {
        result = -@NAME@_picture(&state, (const uint8_t *)(const void *)sec_samples[i]);
        if (result == 0) result = @NAME@_poll(&state, &label, &confidence);
        if (result == 1) tell((uint32_t)i, label, confidence);
    }
    if (result < 0) put_line("an error of the model: see the E_ codes in @NAME@.h");
    return stop(result < 0);
}
