/* Camera pictures to a network's size and colours, each output pixel straight from the source:
   models/front_end/image.py, bit for bit. */
#ifndef SEC_IMAGE_H
#define SEC_IMAGE_H

#include <stdint.h>

enum { SEC_IMAGE_RGB, SEC_IMAGE_BGR, SEC_IMAGE_GREY, SEC_IMAGE_RGB565 };
enum { SEC_IMAGE_NEAREST, SEC_IMAGE_BILINEAR, SEC_IMAGE_AREA };

typedef struct {
    int32_t order, out_order, resize;
    int32_t pixel_bytes, row_bytes;               /* of the source */
    int32_t first;                                /* byte at which the part that is taken begins */
    int32_t height, width, out_height, out_width; /* of that part, and of the output */
    const int32_t *rows, *columns;                /* nearest, area: source index; bilinear: position in 1/256 */
} sec_image_params;

typedef struct {
    uint32_t red, green, blue; /* grey is red, and the others are not looked at */
} sec_image_pixel;

static inline sec_image_pixel sec_image_read(const sec_image_params *p, const uint8_t *at) {
    sec_image_pixel c = {at[0], 0, 0};
    if (p->order == SEC_IMAGE_RGB) {
        c.green = at[1];
        c.blue = at[2];
    } else if (p->order == SEC_IMAGE_BGR) {
        c.red = at[2];
        c.green = at[1];
        c.blue = at[0];
    } else if (p->order == SEC_IMAGE_RGB565) {
        const uint32_t word = ((uint32_t)at[0] << 8) | at[1];
        const uint32_t red = word >> 11, green = (word >> 5) & 63u, blue = word & 31u;
        c.red = (red << 3) | (red >> 2);
        c.green = (green << 2) | (green >> 4);
        c.blue = (blue << 3) | (blue >> 2);
    }
    return c;
}

/* sum += c * weight */
static inline void sec_image_add(sec_image_pixel *sum, sec_image_pixel c, uint32_t weight) {
    sum->red += c.red * weight;
    sum->green += c.green * weight;
    sum->blue += c.blue * weight;
}

static inline sec_image_pixel sec_image_bilinear(const sec_image_params *p, const uint8_t *pixels, int32_t y, int32_t x) {
    const uint32_t fy = (uint32_t)y & 255u, fx = (uint32_t)x & 255u;
    const uint8_t *at = pixels + (y >> 8) * p->row_bytes + (x >> 8) * p->pixel_bytes;
    const int32_t right = (x >> 8) + 1 < p->width ? p->pixel_bytes : 0;
    const int32_t down = (y >> 8) + 1 < p->height ? p->row_bytes : 0;
    sec_image_pixel sum = {1u << 15, 1u << 15, 1u << 15};
    sec_image_add(&sum, sec_image_read(p, at), (256u - fy) * (256u - fx));
    sec_image_add(&sum, sec_image_read(p, at + right), (256u - fy) * fx);
    sec_image_add(&sum, sec_image_read(p, at + down), fy * (256u - fx));
    sec_image_add(&sum, sec_image_read(p, at + down + right), fy * fx);
    sum.red >>= 16;
    sum.green >>= 16;
    sum.blue >>= 16;
    return sum;
}

/* How much of source pixel `at` output i covers, in 1/out of a pixel; 0 from the first pixel on that it misses. */
static inline uint32_t sec_image_overlap(int32_t at, int32_t i, int32_t size, int32_t out) {
    const int32_t begin = i * size, edge = at * out;
    const int32_t from = begin > edge ? begin : edge;
    const int32_t to = begin + size < edge + out ? begin + size : edge + out;
    return to > from ? (uint32_t)(to - from) : 0u;
}

static inline sec_image_pixel sec_image_area(const sec_image_params *p, const uint8_t *pixels, int32_t i, int32_t j) {
    const uint32_t total = (uint32_t)(p->height * p->width);
    sec_image_pixel sum = {total / 2, total / 2, total / 2};
    for (int32_t y = p->rows[i]; y < p->height; ++y) {
        const uint32_t covered = sec_image_overlap(y, i, p->height, p->out_height);
        if (covered == 0) {
            break;
        }
        sec_image_pixel line = {0, 0, 0};
        const int32_t first = p->columns[j], end = (j + 1) * p->width;
        const uint8_t *at = pixels + y * p->row_bytes + first * p->pixel_bytes;
        uint32_t weight = sec_image_overlap(first, j, p->width, p->out_width);
        for (int32_t edge = (first + 1) * p->out_width;; edge += p->out_width, at += p->pixel_bytes) {
            sec_image_add(&line, sec_image_read(p, at), weight);
            if (edge >= end) {
                break;
            }
            weight = (uint32_t)(end - edge < p->out_width ? end - edge : p->out_width);
        }
        sec_image_add(&sum, line, covered);
    }
    sum.red /= total;
    if (p->order != SEC_IMAGE_GREY) {
        sum.green /= total;
        sum.blue /= total;
    }
    return sum;
}

static inline uint8_t *sec_image_write(const sec_image_params *p, sec_image_pixel c, uint8_t *out) {
    if (p->out_order == SEC_IMAGE_GREY) {
        const uint32_t grey = (77u * c.red + 150u * c.green + 29u * c.blue + 128u) >> 8;
        *out = (uint8_t)(p->order == SEC_IMAGE_GREY ? c.red : grey);
        return out + 1;
    }
    if (p->order == SEC_IMAGE_GREY) {
        c.green = c.blue = c.red;
    }
    out[0] = (uint8_t)(p->out_order == SEC_IMAGE_RGB ? c.red : c.blue);
    out[1] = (uint8_t)c.green;
    out[2] = (uint8_t)(p->out_order == SEC_IMAGE_RGB ? c.blue : c.red);
    return out + 3;
}

/* Pixels in place to the network's integers, by as many as there are; `by` is added, and wraps. */
static inline void sec_image_move(uint8_t *values, int32_t count, uint8_t by) {
    for (int32_t i = 0; i < count; ++i) {
        values[i] = (uint8_t)(values[i] + by);
    }
}

/* The same by floor((pixel * multiplier + bias) / 2^shift), clamped. `columns`: 1, or one multiplier and bias a channel;
   `count` is a multiple of it. */
static inline void sec_image_quantize(
    uint8_t *values, int32_t count, int32_t columns, const int32_t *multiplier, const int64_t *bias, int shift,
    int32_t low, int32_t high
) {
    for (int32_t i = 0; i < count; i += columns) {
        for (int32_t c = 0; c < columns; ++c) {
            const int64_t q = ((int64_t)values[i + c] * multiplier[c] + bias[c]) >> shift;
            const int32_t value = q < low ? low : q > high ? high : (int32_t)q;
            values[i + c] = (uint8_t)((uint32_t)value & 255u);
        }
    }
}

static inline void sec_image_window(const sec_image_params *p, void *scratch, const uint8_t *pixels, uint8_t *out) {
    (void)scratch;
    pixels += p->first;
    for (int32_t i = 0; i < p->out_height; ++i) {
        for (int32_t j = 0; j < p->out_width; ++j) {
            sec_image_pixel c;
            if (p->resize == SEC_IMAGE_NEAREST) {
                c = sec_image_read(p, pixels + p->rows[i] * p->row_bytes + p->columns[j] * p->pixel_bytes);
            } else if (p->resize == SEC_IMAGE_BILINEAR) {
                c = sec_image_bilinear(p, pixels, p->rows[i], p->columns[j]);
            } else {
                c = sec_image_area(p, pixels, i, j);
            }
            out = sec_image_write(p, c, out);
        }
    }
}

#endif
