/* A minimal Arduino sketch: one inference a second on an all-zero input. Replace the input by yours. */
#include <Arduino.h>

extern "C" {
#include "sec_model.h"
}

static uint8_t arena[SEC_ARENA_BYTES] __attribute__((aligned(SEC_ARENA_ALIGNMENT)));
#ifdef SEC_SLOW_ARENA_BYTES
static uint8_t slow_arena[SEC_SLOW_ARENA_BYTES] __attribute__((aligned(SEC_ARENA_ALIGNMENT)));
#define SEC_START(s) SEC_INIT(s, arena, slow_arena)
#else
#define SEC_START(s) SEC_INIT(s, arena)
#endif
/* aligned: several inputs, or wider types, lie in them at multiples of 16 */
static int8_t input[SEC_INPUT_BYTES] __attribute__((aligned(16)));
static int8_t output[SEC_OUTPUT_BYTES] __attribute__((aligned(16)));
static sec_state state;
static int code;

void setup() {
    Serial.begin(115200);
    code = SEC_START(&state);
}

void loop() {
    if (code == 0) code = SEC_INVOKE(&state, input, output);
    if (code == 0) {
        Serial.printf("%s: first output %d\n", SEC_NAME, (int)output[0]);
    } else {
        Serial.printf("%s: error %d\n", SEC_NAME, code);
    }
    delay(1000);
}
