/* Between reset and main: initialised data copied, zeroed data cleared. The start code has set the stack. */
#include <stdint.h>

extern uint32_t sec_data_load[], sec_data_start[], sec_data_end[];
extern uint32_t sec_bss_start[], sec_bss_end[], sec_harness_bss_start[], sec_harness_bss_end[];

int main(void);
void sec_startup(void);

static void clear(volatile uint32_t *from, const uint32_t *to) {
    while (from < to) *from++ = 0;
}

void sec_startup(void) {
    const uint32_t *load = sec_data_load;
    for (volatile uint32_t *to = sec_data_start; to < sec_data_end; to++) *to = *load++;
    clear(sec_bss_start, sec_bss_end);
    clear(sec_harness_bss_start, sec_harness_bss_end);
    (void)main();
    for (;;) {
    }
}
