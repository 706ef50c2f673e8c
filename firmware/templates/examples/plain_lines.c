#ifdef SEC_PORT /* one of secateur's machines, without a C library */
#include "port.h"
#define PLACED(where) __attribute__((section(where), aligned(@UPPER@_ARENA_ALIGNMENT)))
static void start(void) { port_init(); }
static void put_line(const char *text) {
    for (; *text != 0; text++) port_write(text, 1);
    port_write("\n", 1);
}
static int stop(int status) {
    port_exit(status);
    return status;
}
#else
#include <stdio.h>
#define PLACED(where) __attribute__((aligned(@UPPER@_ARENA_ALIGNMENT)))
static void start(void) {}
static void put_line(const char *text) { (void)puts(text); }
static int stop(int status) { return status; }
#endif

static char line[120];
static size_t used;

static void add_text(const char *text) {
    while (*text != 0 && used + 1 < sizeof line) line[used++] = *text++;
}

static void add_number(uint32_t value, int digits) {
    char text[12];
    size_t at = sizeof text - 1;
    text[at] = 0;
    do {
        text[--at] = (char)('0' + value % 10u);
        value /= 10u;
        digits--;
    } while (value != 0 || digits > 0);
    add_text(text + at);
}
