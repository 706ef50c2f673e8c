static void add_integer(int64_t value) {
    if (value < 0) add_text("-");
    add_number((uint32_t)(value < 0 ? -value : value), 1);
}
