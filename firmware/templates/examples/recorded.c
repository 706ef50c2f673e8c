/* Stands in for a sensor: replace its body by reading yours, @CHANNELS_TEXT@ at @RATE@ Hz.
   1: a sample was read; 0: there is none. */
static int read_sensor(int16_t sample[@UPPER@_CHANNELS]) {
    static uint32_t at;
    if (at == RECORDING_SAMPLES) return 0;
    for (int c = 0; c < @UPPER@_CHANNELS; c++) sample[c] = recording[at][c];
    at++;
    return 1;
}
