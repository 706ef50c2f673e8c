/* memcpy, memmove and memset: whole words where both sides are aligned. Counted as part of the firmware. */
#include <stdint.h>
#include <string.h>

/* Without this, GCC recognises the loops below as calls of the very functions that they implement. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

typedef uint32_t __attribute__((may_alias)) word;

static int aligned(const void *a, const void *b) { return ((((uintptr_t)a) | ((uintptr_t)b)) & 3u) == 0; }

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (aligned(t, f)) {
        for (; n >= 4; n -= 4, t += 4, f += 4) *(word *)t = *(const word *)f;
    }
    for (; n > 0; n--) *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= n) return memcpy(to, from, n);
    if (aligned(t + n, f + n)) {
        for (; n >= 4; n -= 4) *(word *)(t + n - 4) = *(const word *)(f + n - 4);
    }
    for (; n > 0; n--) t[n - 1] = f[n - 1];
    return to;
}

void *memset(void *to, int value, size_t n) {
    unsigned char *t = to;
    const uint32_t byte = (unsigned char)value;
    for (; n > 0 && ((uintptr_t)t & 3u) != 0; n--) *t++ = (unsigned char)byte;
    for (; n >= 4; n -= 4, t += 4) *(word *)t = byte * 0x01010101u;
    for (; n > 0; n--) *t++ = (unsigned char)byte;
    return to;
}
