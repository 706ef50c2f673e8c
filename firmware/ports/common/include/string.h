/* The only part of the C library that generated code uses; bodies in ../memory.c. */
#ifndef SEC_STRING_H
#define SEC_STRING_H
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
#endif
