/* The network on embedded inputs: "input: class value" a line, of the first output's highest value. Plain C99; only
   put_line knows where it runs. Your own input goes through @NAME@.h, which has its scale and shape.

   In this project's folder:
       cc -O2 -ffp-contract=off -iquote model @SOURCES@ -o example
   In an emulator, where OUT is the folder above: secateur run OUT --env qemu-cortex-m4-example */
#include "sec_model.h"

@PLAIN@
typedef @TYPE@ value_type; /* @VALUE_TEXT@ */
#define VALUES (@OUTPUT_BYTES@ / (int)sizeof(value_type))

static uint8_t arena[SEC_ARENA_BYTES] PLACED(".sec_arena");
#ifdef SEC_SLOW_ARENA_BYTES
static uint8_t slow_arena[SEC_SLOW_ARENA_BYTES] PLACED(".sec_slow_arena");
#define START(s) SEC_INIT(s, arena, slow_arena)
#else
#define START(s) SEC_INIT(s, arena)
#endif
/* aligned: several inputs, or wider types, lie in them at multiples of 16 */
static int8_t input[SEC_INPUT_BYTES] __attribute__((aligned(16)));
static int8_t output[SEC_OUTPUT_BYTES] __attribute__((aligned(16)));
static sec_state state PLACED(".bss.sec_state");

static void tell(uint32_t number) {
    const value_type *values = (const value_type *)(const void *)output;
    int best = 0;
    for (int i = 1; i < VALUES; i++) {
        if (values[i] > values[best]) best = i;
    }
    used = 0;
    add_number(number, 1);
    add_text(": ");
@LABEL@
    add_text(" ");
    @ADD@(values[best]);
    line[used] = 0;
    put_line(line);
}

int main(void) {
    int code;
    start();
    code = START(&state);
    for (int i = 0; i < SEC_SAMPLES && code == 0; i++) {
        for (int at = 0; at < SEC_INPUT_BYTES; at++) input[at] = sec_samples[i][at];
        code = SEC_INVOKE(&state, input, output);
        if (code == 0) tell((uint32_t)i);
    }
    if (code != 0) put_line("an error of the model: see the E_ codes in @NAME@.h");
    return stop(code);
}
