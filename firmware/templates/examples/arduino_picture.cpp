/* A minimal Arduino sketch: a decision a second on an all-black frame. Replace the frame by your camera's. */
#include <Arduino.h>

#include "@NAME@.h"

@MEMORY@@CAMERA@
static int result;

void setup() {
    Serial.begin(115200);
    result = -INIT(&state);
}

void loop() {
    int label;
    float confidence;
    if (result >= 0) result = look(&label, &confidence);
    if (result == 1) Serial.printf("label %d, confidence %.3f\n", label, (double)confidence);
    if (result < 0) Serial.printf("error %d\n", -result);
    delay(1000);
}
