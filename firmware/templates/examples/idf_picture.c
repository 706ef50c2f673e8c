/* A minimal ESP-IDF application: a decision a second on an all-black frame. Replace the frame by your camera's. */
#include <stdio.h>

#include "@NAME@.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

static uint8_t arena[@UPPER@_ARENA_BYTES] __attribute__((aligned(@UPPER@_ARENA_ALIGNMENT)));
#ifdef @UPPER@_SLOW_ARENA_BYTES
static uint8_t slow_arena[@UPPER@_SLOW_ARENA_BYTES] __attribute__((aligned(@UPPER@_ARENA_ALIGNMENT)));
#define START(s) @NAME@_init(s, arena, slow_arena)
#else
#define START(s) @NAME@_init(s, arena)
#endif
static const uint8_t black[@UPPER@_FRAME_BYTES] = {0}; /* in flash; a frame in RAM or PSRAM will do as well */
static @NAME@_state state;

/* Replace it by what your camera's driver gives, @UPPER@_FRAME_BYTES as @NAME@.h says. */
static const uint8_t *camera_frame(void) { return black; }

/* 1: a new decision. 0: none. Below: an error. */
static int look(int *label, float *confidence) {
    const int code = @NAME@_picture(&state, camera_frame());
    return code != 0 ? -code : @NAME@_poll(&state, label, confidence);
}

void app_main(void) {
    int result = -START(&state), label;
    float confidence;
    while (result >= 0) {
        result = look(&label, &confidence);
        if (result == 1) printf("label %d, confidence %.3f\n", label, (double)confidence);
        vTaskDelay(pdMS_TO_TICKS(1000));
    }
    printf("error %d\n", -result);
}
