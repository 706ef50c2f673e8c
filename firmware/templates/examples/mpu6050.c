/* An MPU-6050 (register map RM-MPU-6000A). Its FIFO keeps 1024 bytes, @FIFO_MS@ ms of samples, while the network runs.
   @SENSOR_TEXT@ */
enum {
    MPU_ADDRESS = 0x68, /* 0x69 where AD0 is high */
    MPU_SMPLRT_DIV = 0x19,
    MPU_CONFIG = 0x1A,
    MPU_GYRO_CONFIG = 0x1B,
    MPU_ACCEL_CONFIG = 0x1C,
    MPU_FIFO_EN = 0x23,
    MPU_ACCEL_XOUT_H = 0x3B, /* 14 bytes, big-endian: acceleration x y z, temperature, rotation x y z */
    MPU_USER_CTRL = 0x6A,
    MPU_PWR_MGMT_1 = 0x6B,
    MPU_FIFO_COUNTH = 0x72,
    MPU_FIFO_R_W = 0x74, /* as from ACCEL_XOUT_H on, but only what FIFO_EN names */
    MPU_WHO_AM_I = 0x75  /* 0x68 in every MPU-6050; an MPU-6500 says 0x70, an MPU-9250 0x71 */
};
#define MPU_SAMPLE_BYTES (2 * @UPPER@_CHANNELS)
#define MPU_FIFO_BYTES 1024
#define SAMPLES_LOST (-1)
#define NO_ANSWER (-2)
#define SILENT_MS @SILENT_MS@ /* longer without a sample: it lost its power, say, and sleeps since it came back */

/* From the sensor's counts to those that the network was trained on, in 1/65536. */
static const int32_t factor[@UPPER@_CHANNELS] = {@FACTORS@};

static uint32_t last_ms; /* when a sample was read, or the FIFO restarted */

static int restart_fifo(void) {
    last_ms = now_ms();
    int failed = write_register(MPU_USER_CTRL, 0x04);
    failed |= write_register(MPU_FIFO_EN, @FIFO_EN@);
    return failed | write_register(MPU_USER_CTRL, 0x40);
}

/* 0, or NO_ANSWER. */
static int set_up_sensor(void) {
    uint8_t who = 0;
    int failed = read_registers(MPU_WHO_AM_I, &who, 1);
    if (failed != 0 || who != 0x68) return NO_ANSWER;
    failed |= write_register(MPU_PWR_MGMT_1, 0x01); /* awake, the gyroscope's clock */
    failed |= write_register(MPU_SMPLRT_DIV, @DIVIDER@); /* @SENSOR_RATE@ Hz */
    failed |= write_register(MPU_CONFIG, @FILTER@); /* low-pass at @BANDWIDTH@ Hz */
    failed |= write_register(MPU_GYRO_CONFIG, @GYRO_RANGE@ << 3);
    failed |= write_register(MPU_ACCEL_CONFIG, @ACCEL_RANGE@ << 3);
    return failed != 0 || restart_fifo() != 0 ? NO_ANSWER : 0;
}

/* 0, or NO_ANSWER. */
static int start_sensor(void) { return start_bus() != 0 ? NO_ANSWER : set_up_sensor(); }

/* The oldest sample's bytes; returns what read_sensor does. */
static int read_fifo(uint8_t raw[MPU_SAMPLE_BYTES]) {
    const uint32_t now = now_ms();
    if (read_registers(MPU_FIFO_COUNTH, raw, 2) != 0) return NO_ANSWER;
    const int waiting = raw[0] * 256 + raw[1];
    if (waiting < MPU_SAMPLE_BYTES) return now - last_ms > SILENT_MS ? NO_ANSWER : 0;
    if (waiting > MPU_FIFO_BYTES - MPU_SAMPLE_BYTES) return restart_fifo() != 0 ? NO_ANSWER : SAMPLES_LOST;
    last_ms = now;
    return read_registers(MPU_FIFO_R_W, raw, MPU_SAMPLE_BYTES) != 0 ? NO_ANSWER : 1;
}

/* 1: a sample was read; 0: there is none yet; SAMPLES_LOST: the FIFO ran over and begins anew; NO_ANSWER: no answer, or
   no sample for SILENT_MS: each further call tries to set the sensor up anew, and reads when that has worked. */
static int read_sensor(int16_t sample[@UPPER@_CHANNELS]) {
    static int failed = 0; /* then a part of a sample may be gone, or the set-up */
    uint8_t raw[MPU_SAMPLE_BYTES];
    if (failed && set_up_sensor() != 0) return NO_ANSWER;
    const int got = read_fifo(raw);
    failed = got == NO_ANSWER;
    if (got != 1) return got;
    for (int c = 0; c < @UPPER@_CHANNELS; c++) {
        const int32_t high = raw[2 * c] < 128 ? raw[2 * c] : raw[2 * c] - 256;
        const int64_t value = ((int64_t)(high * 256 + raw[2 * c + 1]) * factor[c] + 32768) >> 16;
        sample[c] = (int16_t)(value > 32767 ? 32767 : value < -32768 ? -32768 : value);
    }
    return 1;
}
