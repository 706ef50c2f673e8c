/* An ESP-IDF application: @SOURCE_TEXT@ in, a line "time label confidence" for each decision out. */
#include <stdio.h>

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "@HEADER@"

@SENSOR@
@MEMORY@
static void tell(uint64_t samples, int label, float confidence) {
    const double seconds = (double)samples / @UPPER@_RATE_HZ;
#if @UPPER@_LABELS
    printf("%.3f %s %.3f\n", seconds, label < 0 ? "unknown" : @NAME@_labels[label], (double)confidence);
#else
    printf("%.3f %d %.3f\n", seconds, label, (double)confidence);
#endif
}

void app_main(void) {
    int16_t sample[@UPPER@_CHANNELS];
    uint64_t samples = 0;
    float confidence;
    int label, result = -INIT(&state);
    if (result == 0) result = start_sensor();
    while (result >= 0) {
        const int got = read_sensor(sample);
        if (got <= 0) {
            if (got < 0) {
                printf("%s\n", got == SAMPLES_LOST ? "samples lost" : "the sensor does not answer");
                @NAME@_reset(&state); /* no window goes across the gap */
            }
            vTaskDelay(got == NO_ANSWER ? pdMS_TO_TICKS(100) : 1); /* 100 ms: a sensor's start */
            continue;
        }
        result = @NAME@_push(&state, sample, 1);
        samples++;
        while (result >= 0 && (result = @NAME@_poll(&state, &label, &confidence)) == 1) {
            tell(samples, label, confidence);
            vTaskDelay(1); /* the idle task feeds the watchdog */
        }
    }
    printf("@NAME@: stopped, error %d\n", result);
}
