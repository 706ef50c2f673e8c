/* Declarations alone, for a cross compiler that Debian packs without a C library: sources are compiled, not linked. */
#ifndef STDIO_H
#define STDIO_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef struct file FILE;
extern FILE *stdout;
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int puts(const char *text);
int fputs(const char *text, FILE *to);
#ifdef __cplusplus
}
#endif
#endif
