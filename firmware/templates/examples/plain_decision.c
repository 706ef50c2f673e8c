static void tell_decision(int label, float confidence) {
    if (label < 0) {
        add_text("unknown");
    } else {
#if @UPPER@_LABELS
        add_text(@NAME@_labels[label]);
#else
        add_number((uint32_t)label, 1);
#endif
    }
    add_text(" ");
    add_real(confidence);
    line[used] = 0;
    put_line(line);
}
