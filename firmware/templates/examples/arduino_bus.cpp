#include <Wire.h>

static const uint8_t BUS_ADDRESS = 0x68;

static int write_register(uint8_t at, uint8_t value) {
    Wire.beginTransmission(BUS_ADDRESS);
    Wire.write(at);
    Wire.write(value);
    return Wire.endTransmission() != 0;
}

static int read_registers(uint8_t from, uint8_t *to, size_t n) {
    Wire.beginTransmission(BUS_ADDRESS);
    Wire.write(from);
    if (Wire.endTransmission(false) != 0) return -1;
    if (Wire.requestFrom(BUS_ADDRESS, (uint8_t)n) != n) return -1;
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)Wire.read();
    return 0;
}

static uint32_t now_ms(void) { return (uint32_t)millis(); }

static int start_bus(void) {
    Wire.begin();
    Wire.setClock(400000);
    return 0;
}

