/* Runs the compiled model on the embedded samples and reports in text lines that end in a CRC-32.

   The protocol, version 1, one record a line, all numbers in hexadecimal:
     @sec begin 1 <name> <samples> <output bytes> <layers> <arena bytes> <counter bits> <empty> <first> <hook>
     @sec out <sample> <offset> <bytes>      every output byte
     @sec ticks <sample> <ticks>             one inference; subtract <empty>, the cost of measuring
     @sec layers <sample> <repeat>           hooked second run of the longest sample; 1 = same outputs
     @sec layer <index> <ticks>              subtract <first> from layer 0, <hook> from the others
     @sec stack <reserved> <used> <guard>    bytes; guard 1 = intact
     @sec error <sample> <code>              the model returned an error code
     @sec end <records before this one>
   No initialised data, no division, no C library: none of it may add to what is measured. */
#include "sec_model.h"
#include "port.h"

#define PAINT 0xA5A5A5A5u
#define GUARD 0x5EC57ACCu
#define GUARD_WORDS 4
#define BYTES_PER_LINE 256u

#ifndef SEC_ARENA_USED /* another stack tells when it has started */
#define SEC_ARENA_USED SEC_ARENA_BYTES
#endif

static uint8_t arena[SEC_ARENA_BYTES] __attribute__((section(".sec_arena"), aligned(SEC_ARENA_ALIGNMENT)));
#ifdef SEC_SLOW_ARENA_BYTES
static uint8_t slow_arena[SEC_SLOW_ARENA_BYTES] __attribute__((section(".sec_slow_arena"), aligned(SEC_ARENA_ALIGNMENT)));
#define SEC_START(s) SEC_INIT(s, arena, slow_arena)
#else
#define SEC_START(s) SEC_INIT(s, arena)
#endif
#ifdef SEC_INPUT_IN_PLACE /* a frame may be larger than RAM */
static const int8_t *input;
#else
static int8_t input[SEC_INPUT_BYTES] __attribute__((aligned(16)));
#endif
static int8_t output[SEC_OUTPUT_BYTES] __attribute__((aligned(16)));
static int8_t longest_output[SEC_OUTPUT_BYTES];
static uint32_t layer_ticks[SEC_LAYERS + 2];
static uint32_t last_tick;
static sec_state state __attribute__((section(".bss.sec_state")));

static char line[2 * BYTES_PER_LINE + 160];
static size_t used;
static uint32_t records;

static void put_text(const char *text) {
    while (*text != 0) line[used++] = *text++;
}

static void put_digits(uint32_t value, int digits) {
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) line[used++] = "0123456789abcdef"[(value >> shift) & 15u];
}

static void put_number(uint32_t value) {
    line[used++] = ' ';
    put_digits(value, 8);
}

static void begin_record(const char *kind) {
    used = 0;
    put_text("@sec ");
    put_text(kind);
}

static void end_record(void) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < used; i++) {
        crc ^= (uint8_t)line[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    put_text(" *");
    put_digits(~crc, 8);
    line[used++] = '\n';
    port_write(line, used);
    records++;
}

static void after_layer(void *context, int layer) {
    const uint32_t now = port_ticks();
    (void)context;
    if (layer >= 0 && layer < SEC_LAYERS + 2) layer_ticks[layer] = now - last_tick;
    last_tick = port_ticks();
}

struct call {
    int (*invoke)(sec_state *s, const int8_t *in, int8_t *out);
    int result;
};

static void run_call(void *argument) {
    struct call *call = argument;
    call->result = call->invoke(&state, input, output);
}

static int nothing(sec_state *s, const int8_t *in, int8_t *out) {
    (void)s, (void)in, (void)out;
    return 0;
}

/* What two calls of the hook cost, written as generated code writes them. */
static int only_hooks(sec_state *s, const int8_t *in, int8_t *out) {
    (void)in, (void)out;
    if (s->after_layer != 0) s->after_layer(s->context, SEC_LAYERS);
    if (s->after_layer != 0) s->after_layer(s->context, SEC_LAYERS + 1);
    return 0;
}

static uint32_t timed(struct call *call) {
    const uint32_t start = port_ticks();
    last_tick = start;
    port_call(run_call, call, port_model_stack_top);
    return port_ticks() - start;
}

static void load_sample(uint32_t sample) {
#ifdef SEC_INPUT_IN_PLACE
    input = sec_samples[sample];
#else
    for (size_t i = 0; i < SEC_INPUT_BYTES; i++) input[i] = sec_samples[sample][i];
#endif
}

static void report_outputs(uint32_t sample) {
    for (uint32_t offset = 0; offset < SEC_OUTPUT_BYTES; offset += BYTES_PER_LINE) {
        begin_record("out");
        put_number(sample);
        put_number(offset);
        line[used++] = ' ';
        for (uint32_t i = offset; i < SEC_OUTPUT_BYTES && i < offset + BYTES_PER_LINE; i++) {
            put_digits((uint8_t)output[i], 2);
        }
        end_record();
    }
}

static void fail(uint32_t sample, int code) {
    begin_record("error");
    put_number(sample);
    put_number((uint32_t)code);
    end_record();
    port_exit(1);
}

static void report_stack(void) {
    uint32_t *const bottom = port_model_stack;
    uint32_t *const top = port_model_stack_top;
    uint32_t guard = 1;
    uint32_t *deepest = bottom + GUARD_WORDS;
    for (int i = 0; i < GUARD_WORDS; i++) {
        if (bottom[i] != GUARD) guard = 0;
    }
    while (deepest < top && *deepest == PAINT) deepest++;
    begin_record("stack");
    put_number((uint32_t)((uintptr_t)top - (uintptr_t)bottom));
    put_number((uint32_t)((uintptr_t)top - (uintptr_t)deepest));
    put_number(guard);
    end_record();
}

static void paint_stack(void) {
    uint32_t *const bottom = port_model_stack;
    for (uint32_t *word = bottom; word < port_model_stack_top; word++) *(volatile uint32_t *)word = PAINT;
    for (int i = 0; i < GUARD_WORDS; i++) ((volatile uint32_t *)bottom)[i] = GUARD;
}

int main(void) {
    struct call empty = {nothing, 0}, hooks = {only_hooks, 0}, model = {SEC_INVOKE, 0};
    uint32_t empty_ticks, first_ticks, hook_ticks, longest = 0, longest_ticks = 0, same = 1;
    int code;

    port_init();
    if (port_counter_bits != 0) paint_stack();
    code = SEC_START(&state);
    if (code != 0) fail(0xFFFFFFFFu, code);
    (void)timed(&empty); /* the first run also warms a board's caches */
    empty_ticks = timed(&empty);
    state.after_layer = after_layer;
    (void)timed(&hooks);
    (void)timed(&hooks);
    first_ticks = layer_ticks[SEC_LAYERS]; /* entering the model, and the hook */
    hook_ticks = layer_ticks[SEC_LAYERS + 1];
    state.after_layer = 0;
    if (port_counter_bits != 0) paint_stack();

    begin_record("begin 1 " SEC_NAME);
    put_number(SEC_SAMPLES);
    put_number(SEC_OUTPUT_BYTES);
    put_number(SEC_LAYERS);
    put_number((uint32_t)SEC_ARENA_USED);
    put_number(port_counter_bits);
    put_number(empty_ticks);
    put_number(first_ticks);
    put_number(hook_ticks);
    end_record();

    for (uint32_t sample = 0; sample < SEC_SAMPLES; sample++) {
        uint32_t ticks;
        load_sample(sample);
        ticks = timed(&model);
        if (model.result != 0) fail(sample, model.result);
        report_outputs(sample);
        if (port_counter_bits != 0) {
            begin_record("ticks");
            put_number(sample);
            put_number(ticks);
            end_record();
        }
        if (sample == 0 || ticks > longest_ticks) {
            longest = sample;
            longest_ticks = ticks;
            for (size_t i = 0; i < SEC_OUTPUT_BYTES; i++) longest_output[i] = output[i];
        }
    }
    if (port_counter_bits != 0) report_stack(); /* before the hook runs on that stack */

#if SEC_STATEFUL
    /* what came before the longest call is part of it: from the beginning again */
    if (SEC_START(&state) != 0) fail(longest, 0);
    for (uint32_t sample = 0; sample < longest; sample++) {
        load_sample(sample);
        (void)timed(&model);
    }
#endif
    load_sample(longest);
    for (int layer = 0; layer < SEC_LAYERS; layer++) layer_ticks[layer] = 0;
    state.after_layer = after_layer;
    (void)timed(&model);
    state.after_layer = 0;
    if (model.result != 0) fail(longest, model.result);
    for (size_t i = 0; i < SEC_OUTPUT_BYTES; i++) {
        if (longest_output[i] != output[i]) same = 0;
    }
    begin_record("layers");
    put_number(longest);
    put_number(same);
    end_record();
    for (uint32_t layer = 0; port_counter_bits != 0 && layer < SEC_LAYERS; layer++) {
        begin_record("layer");
        put_number(layer);
        put_number(layer_ticks[layer]);
        end_record();
    }
    begin_record("end");
    put_number(records);
    end_record();
    port_exit(0);
    return 0;
}
