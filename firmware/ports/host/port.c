/* This computer: output to stdout, no counter (a host's time says nothing about a device), no stack measure. */
#include <stdio.h>
#include <stdlib.h>

#include "port.h"

const uint32_t port_counter_bits = 0;
uint32_t port_model_stack[4];
uint32_t port_model_stack_top[1];

void port_init(void) {}
void port_write(const char *text, size_t n) { (void)fwrite(text, 1, n, stdout); }
uint32_t port_ticks(void) { return 0; }
void port_call(void (*f)(void *), void *argument, void *top) {
    (void)top;
    f(argument);
}
void port_exit(int status) { exit(status); }
