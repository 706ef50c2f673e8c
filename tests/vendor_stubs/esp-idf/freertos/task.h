#ifndef FREERTOS_TASK_H
#define FREERTOS_TASK_H
void vTaskDelay(const TickType_t ticks);
void app_main(void);
#endif
