#include "driver/i2c_master.h" /* ESP-IDF 5.2 or newer */

#ifdef CONFIG_IDF_TARGET_ESP32
#define SDA_PIN GPIO_NUM_21
#define SCL_PIN GPIO_NUM_22
#else
#define SDA_PIN GPIO_NUM_8
#define SCL_PIN GPIO_NUM_9
#endif
#define BUS_HZ 400000
#define BUS_TIMEOUT_MS 100

static i2c_master_dev_handle_t device;

static int write_register(uint8_t at, uint8_t value) {
    const uint8_t bytes[2] = {at, value};
    return i2c_master_transmit(device, bytes, sizeof bytes, BUS_TIMEOUT_MS) != ESP_OK;
}

static int read_registers(uint8_t from, uint8_t *to, size_t n) {
    return i2c_master_transmit_receive(device, &from, 1, to, n, BUS_TIMEOUT_MS) != ESP_OK;
}

static uint32_t now_ms(void) { return (uint32_t)(xTaskGetTickCount() * portTICK_PERIOD_MS); }

static int start_bus(void) {
    const i2c_master_bus_config_t bus = {
        .i2c_port = I2C_NUM_0,
        .sda_io_num = SDA_PIN,
        .scl_io_num = SCL_PIN,
        .clk_source = I2C_CLK_SRC_DEFAULT,
        .glitch_ignore_cnt = 7,
        .flags.enable_internal_pullup = 1,
    };
    const i2c_device_config_t sensor = {
        .dev_addr_length = I2C_ADDR_BIT_LEN_7,
        .device_address = 0x68,
        .scl_speed_hz = BUS_HZ,
    };
    i2c_master_bus_handle_t handle;
    if (i2c_new_master_bus(&bus, &handle) != ESP_OK) return -1;
    return i2c_master_bus_add_device(handle, &sensor, &device) != ESP_OK;
}

