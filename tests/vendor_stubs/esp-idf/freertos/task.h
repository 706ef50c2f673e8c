#ifndef FREERTOS_TASK_H
#define FREERTOS_TASK_H
void vTaskDelay(const TickType_t ticks);
TickType_t xTaskGetTickCount(void);
void app_main(void);
#endif
