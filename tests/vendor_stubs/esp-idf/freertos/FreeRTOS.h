/* As much of ESP-IDF as the examples use, in its signatures; see fake_mpu6050.h. */
#ifndef FREERTOS_H
#define FREERTOS_H
#include <stdint.h>
typedef uint32_t TickType_t;
#define portTICK_PERIOD_MS ((TickType_t)10)
#define pdMS_TO_TICKS(ms) ((TickType_t)(((TickType_t)(ms) * 100u) / 1000u))
#endif
