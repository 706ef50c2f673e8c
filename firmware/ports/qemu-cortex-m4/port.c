/* QEMU -M mps2-an386: CMSDK UART and timer; the run ends through semihosting.
   The timer counts 25 MHz of virtual time: with -icount shift=8 one instruction is 256 ns, 6.4 ticks. */
#include "port.h"

#define UART_DATA (*(volatile uint32_t *)0x40004000u)
#define UART_STATE (*(volatile uint32_t *)0x40004004u)
#define UART_CONTROL (*(volatile uint32_t *)0x40004008u)
#define UART_DIVISOR (*(volatile uint32_t *)0x40004010u)
#define TIMER_CONTROL (*(volatile uint32_t *)0x40000000u)
#define TIMER_VALUE (*(volatile uint32_t *)0x40000004u)
#define TIMER_RELOAD (*(volatile uint32_t *)0x40000008u)

const uint32_t port_counter_bits = 32;

void port_init(void) {
    UART_DIVISOR = 16;
    UART_CONTROL = 1;
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CONTROL = 1;
}

void port_write(const char *text, size_t n) {
    for (; n > 0; n--) {
        while ((UART_STATE & 1u) != 0) {
        }
        UART_DATA = (uint8_t)*text++;
    }
}

uint32_t port_ticks(void) { return 0xFFFFFFFFu - TIMER_VALUE; }

void port_exit(int status) {
    volatile uint32_t block[2] = {0x20026u, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
    register uint32_t operation __asm__("r0") = 0x20u;         /* SYS_EXIT_EXTENDED */
    register volatile uint32_t *argument __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(operation) : "r"(argument) : "memory");
    for (;;) {
    }
}
