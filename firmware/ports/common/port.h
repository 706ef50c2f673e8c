/* What the test harness needs of a machine. Everything here belongs to the harness: it is not counted. */
#ifndef SEC_PORT_H
#define SEC_PORT_H
#include <stddef.h>
#include <stdint.h>

/* Width of the counter below; 0 where the machine has none (the host). */
extern const uint32_t port_counter_bits;

void port_init(void);
void port_write(const char *text, size_t n);
/* A free-running counter. Differences are taken modulo 2^32; the reader of the log knows its unit. */
uint32_t port_ticks(void);
/* Run f(argument) on another stack that ends at `top` (16-byte aligned), so that its depth can be measured. */
void port_call(void (*f)(void *), void *argument, void *top);
/* Ends an emulator with this exit status; a board waits for its reset. */
void port_exit(int status);

/* The stack on which the model runs, placed by the linker script; one array on the host. */
extern uint32_t port_model_stack[];
extern uint32_t port_model_stack_top[];
#endif
