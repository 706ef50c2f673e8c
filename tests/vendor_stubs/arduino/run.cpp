#include <Arduino.h>
#include <Wire.h>

#include "fake_mpu6050.h"

SerialPort Serial;
TwoWire Wire;
static uint8_t sent[4], received[32], address;
static size_t length, at;

void delay(uint32_t ms) {
    if (ms > 0) fake_wait(ms);
}
unsigned long millis() { return fake_ms; }
void TwoWire::begin() {}
void TwoWire::setClock(uint32_t) {}
void TwoWire::beginTransmission(uint8_t to) {
    address = to;
    length = 0;
}
size_t TwoWire::write(uint8_t byte) {
    sent[length++ % 4] = byte;
    return 1;
}
uint8_t TwoWire::endTransmission(bool) {
    if (address != 0x68) return 2; /* no acknowledgement */
    if (length == 2 && fake_write(sent[0], sent[1]) != 0) return 4;
    return 0;
}
size_t TwoWire::requestFrom(uint8_t, size_t n) {
    at = 0;
    return fake_get(sent[0], received, n);
}
int TwoWire::read() { return received[at++]; }

int main() {
    setup();
    for (;;) loop();
}
