/* ESP32: UART0 as the ROM leaves it (115200 baud), CCOUNT in CPU cycles. */
#include "port.h"

#define UART_FIFO (*(volatile uint32_t *)0x3FF40000u)
#define UART_STATUS (*(volatile uint32_t *)0x3FF4001Cu)

const uint32_t port_counter_bits = 32;

void port_init(void) {}

void port_write(const char *text, size_t n) {
    for (; n > 0; n--) {
        while (((UART_STATUS >> 16) & 0xFFu) >= 120u) {
        }
        UART_FIFO = (uint8_t)*text++;
    }
}

uint32_t port_ticks(void) {
    uint32_t ticks;
    __asm__ volatile("rsr %0, ccount" : "=r"(ticks)::"memory");
    return ticks;
}

void port_exit(int status) {
    (void)status;
    for (;;) {
    }
}
