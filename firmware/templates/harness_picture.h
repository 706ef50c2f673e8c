/* A camera's frame in; its decision out: label and confidence as int32, INT32_MIN and 0 where there is none, then the
   network's outputs. */
static inline int sec_picture(@NAME@_state *s, const int8_t *input, int8_t *output) {
    int32_t label = -2147483647 - 1;
    float confidence = 0;
    int told, best = 0;
    const int failed = @NAME@_picture(s, (const uint8_t *)(const void *)input);
    if (failed) return failed;
    told = @NAME@_poll(s, &best, &confidence);
    if (told < 0) return -told;
    if (told > 0) label = best;
    for (int i = 0; i < 4; i++) output[i] = ((const int8_t *)&label)[i];
    for (int i = 0; i < 4; i++) output[4 + i] = ((const int8_t *)&confidence)[i];
    for (int i = 8; i < SEC_OUTPUT_BYTES; i++) output[i] = (int8_t)s->front.outputs[i - 8];
    return 0;
}
#define SEC_INVOKE sec_picture
#define SEC_INPUT_IN_PLACE
