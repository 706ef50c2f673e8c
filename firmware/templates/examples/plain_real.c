static void add_thousandths(uint32_t value) {
    add_number(value / 1000u, 1);
    add_text(".");
    add_number(value % 1000u, 3);
}

/* From its bits: some of secateur's machines have no float arithmetic at all. */
static void add_real(float real) {
    const union {
        float real;
        uint32_t bits;
    } of = {real};
    const int shift = 150 - (int)((of.bits >> 23) & 255u); /* |real| = (2^23 + the low 23 bits) / 2^shift */
    const uint64_t size = (uint64_t)((of.bits & 0x7FFFFFu) | 0x800000u) * 1000u;
    if (of.bits >> 31) add_text("-");
    if (shift > 40) {
        add_thousandths(0);
    } else if (shift > 3) {
        add_thousandths((uint32_t)((size + ((uint64_t)1 << (shift - 1))) >> shift));
    } else {
        add_text("a million or more");
    }
}
