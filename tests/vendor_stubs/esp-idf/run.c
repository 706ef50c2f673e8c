#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "driver/i2c_master.h"
#include "fake_mpu6050.h"

void vTaskDelay(const TickType_t ticks) {
    if (ticks > 0) fake_wait(ticks * portTICK_PERIOD_MS);
}

TickType_t xTaskGetTickCount(void) { return fake_ms / portTICK_PERIOD_MS; }

esp_err_t i2c_new_master_bus(const i2c_master_bus_config_t *config, i2c_master_bus_handle_t *bus) {
    static int buses = 0;
    *bus = 0;
    return buses++ > 0 || config->sda_io_num == config->scl_io_num;
}

esp_err_t i2c_master_bus_add_device(
    i2c_master_bus_handle_t bus, const i2c_device_config_t *config, i2c_master_dev_handle_t *device
) {
    (void)bus;
    *device = 0;
    return config->device_address != 0x68 || config->scl_speed_hz > 400000;
}

esp_err_t i2c_master_transmit(i2c_master_dev_handle_t device, const uint8_t *bytes, size_t n, int timeout_ms) {
    (void)device, (void)timeout_ms;
    if (n != 2) return 1;
    return fake_write(bytes[0], bytes[1]);
}

esp_err_t i2c_master_transmit_receive(
    i2c_master_dev_handle_t device, const uint8_t *bytes, size_t n, uint8_t *to, size_t read, int timeout_ms
) {
    (void)device, (void)timeout_ms;
    if (n != 1) return 1;
    return fake_get(bytes[0], to, read) != read;
}

int main(void) {
    app_main();
    return 0;
}
