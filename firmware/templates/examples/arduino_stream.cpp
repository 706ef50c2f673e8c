/* An Arduino sketch: @SOURCE_TEXT@ in, a line "time label confidence" for each decision out. */
#include <Arduino.h>

#include "@HEADER@"

@SENSOR@
@MEMORY@static uint64_t samples;
static int result;

static void tell(int label, float confidence) {
    Serial.print((double)samples / @UPPER@_RATE_HZ, 3);
    Serial.print(" ");
#if @UPPER@_LABELS
    Serial.print(label < 0 ? "unknown" : @NAME@_labels[label]);
#else
    Serial.print(label);
#endif
    Serial.print(" ");
    Serial.println((double)confidence, 3);
}

void setup() {
    Serial.begin(115200);
    result = -INIT(&state);
    if (result == 0) result = start_sensor();
}

void loop() {
    int16_t sample[@UPPER@_CHANNELS];
    float confidence;
    int label;
    if (result < 0) {
        Serial.print("@NAME@: stopped, error ");
        Serial.println(result);
        delay(1000);
        return;
    }
    const int got = read_sensor(sample);
    if (got <= 0) {
        if (got < 0) {
            Serial.println(got == SAMPLES_LOST ? "samples lost" : "the sensor does not answer");
            @NAME@_reset(&state); /* no window goes across the gap */
        }
        delay(got == NO_ANSWER ? 100 : 1); /* 100 ms: a sensor's start */
        return;
    }
    result = @NAME@_push(&state, sample, 1);
    samples++;
    while (result >= 0 && (result = @NAME@_poll(&state, &label, &confidence)) == 1) tell(label, confidence);
}
