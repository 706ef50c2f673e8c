/* QEMU -M sim: simcalls for output and exit. CCOUNT counts 40 MHz of virtual time: with -icount shift=8
   one instruction is 256 ns, 10.24 ticks. */
#include "port.h"

const uint32_t port_counter_bits = 32;

static int simcall(int number, int a, int b, int c) {
    register int a2 __asm__("a2") = number;
    register int a3 __asm__("a3") = a;
    register int a4 __asm__("a4") = b;
    register int a5 __asm__("a5") = c;
    __asm__ volatile(".byte 0x00, 0x51, 0x00" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return a2;
}

void port_init(void) {}

void port_write(const char *text, size_t n) {
    while (n > 0) {
        const int written = simcall(4, 1, (int)(intptr_t)text, (int)n);
        if (written <= 0) port_exit(98);
        text += written;
        n -= (size_t)written;
    }
}

uint32_t port_ticks(void) {
    uint32_t ticks;
    __asm__ volatile("rsr %0, ccount" : "=r"(ticks)::"memory");
    return ticks;
}

void port_exit(int status) {
    (void)simcall(1, status, 0, 0);
    for (;;) {
    }
}
