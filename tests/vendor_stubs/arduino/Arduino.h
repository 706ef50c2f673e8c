/* As much of Arduino as the examples use, in its signatures; see fake_mpu6050.h. */
#ifndef ARDUINO_H
#define ARDUINO_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct SerialPort {
    void begin(unsigned long baud) { (void)baud; }
    size_t print(const char *text) { return (size_t)fputs(text, stdout); }
    size_t print(int value) { return (size_t)::printf("%d", value); }
    size_t print(double value, int digits) { return (size_t)::printf("%.*f", digits, value); }
    size_t println(const char *text) { return (size_t)puts(text); }
    size_t println(int value) { return (size_t)::printf("%d\n", value); }
    size_t println(double value, int digits) { return (size_t)::printf("%.*f\n", digits, value); }
    size_t printf(const char *format, ...) __attribute__((format(printf, 2, 3)));
};
extern SerialPort Serial;
void delay(uint32_t ms);
unsigned long millis();
void setup();
void loop();
#endif
