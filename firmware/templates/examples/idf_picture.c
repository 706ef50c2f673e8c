/* A minimal ESP-IDF application: a decision a second on an all-black frame. Replace the frame by your camera's. */
#include <stdio.h>

#include "@NAME@.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

@MEMORY@@CAMERA@
void app_main(void) {
    int result = -INIT(&state), label;
    float confidence;
    while (result >= 0) {
        result = look(&label, &confidence);
        if (result == 1) printf("label %d, confidence %.3f\n", label, (double)confidence);
        vTaskDelay(pdMS_TO_TICKS(1000));
    }
    printf("error %d\n", -result);
}
