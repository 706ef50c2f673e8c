#ifndef WIRE_H
#define WIRE_H
#include <stddef.h>
#include <stdint.h>

struct TwoWire {
    void begin();
    void setClock(uint32_t hz);
    void beginTransmission(uint8_t address);
    size_t write(uint8_t byte);
    uint8_t endTransmission(bool stop = true);
    size_t requestFrom(uint8_t address, size_t n);
    int read();
};
extern TwoWire Wire;
#endif
