static const uint8_t black[@UPPER@_FRAME_BYTES] = {0}; /* in flash; a frame in RAM or PSRAM will do as well */

/* Replace it by what your camera's driver gives, @UPPER@_FRAME_BYTES as @NAME@.h says. */
static const uint8_t *camera_frame(void) { return black; }

/* 1: a new decision. 0: none. Below: an error. */
static int look(int *label, float *confidence) {
    const int code = @NAME@_picture(&state, camera_frame());
    return code != 0 ? -code : @NAME@_poll(&state, label, confidence);
}
