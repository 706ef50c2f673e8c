/* A piece of a raw stream in; its (last) decision out: label and confidence as int32, INT32_MIN and 0 where there is none, then
   the network's outputs. */
static inline int sec_stream(@NAME@_state *s, const int8_t *input, int8_t *output) {
    const int16_t *raw = (const int16_t *)(const void *)input;
    int32_t label = -2147483647 - 1;
    float confidence = 0;
    for (int i = 0; i < SEC_OUTPUT_BYTES; i++) output[i] = 0;
    for (int at = 0; at < @CHUNK@;) {
        int told, best = 0;
        const int taken = @NAME@_push(s, raw + at * @NAME_UPPER@_CHANNELS, (size_t)(@CHUNK@ - at));
        if (taken < 0) return -taken;
        at += taken;
        while ((told = @NAME@_poll(s, &best, &confidence)) > 0) label = best;
        if (told < 0) return -told;
    }
    for (int i = 0; i < 4; i++) output[i] = ((const int8_t *)&label)[i];
    for (int i = 0; i < 4; i++) output[4 + i] = ((const int8_t *)&confidence)[i];
    for (int i = 8; i < SEC_OUTPUT_BYTES; i++) output[i] = (int8_t)s->front.outputs[i - 8];
    return 0;
}
#define SEC_INVOKE sec_stream
