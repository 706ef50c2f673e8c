/* CONV_2D, DEPTHWISE_CONV_2D and pools of several batch elements: the kernel of one, once an element.
 *
 * input (batch, in_h, in_w, in_c), output (batch, out_h, out_w, out_c), an element after the other.
 */
#ifndef SEC_BATCH_S8_H
#define SEC_BATCH_S8_H

#include "sec_conv2d_s8.h"
#include "sec_depthwise_conv2d_s8.h"
#include "sec_pool_s8.h"

/* in_step, out_step: bytes from one batch element to the next */
typedef struct {
    sec_conv2d_s8_params one;
    int32_t batch, in_step, out_step;
} sec_conv2d_batch_s8_params;

typedef struct {
    sec_depthwise_conv2d_s8_params one;
    int32_t batch, in_step, out_step;
} sec_depthwise_conv2d_batch_s8_params;

typedef struct {
    sec_pool_s8_params one;
    int32_t batch, in_step, out_step;
} sec_pool_batch_s8_params;

static inline void sec_conv2d_batch_s8(const sec_conv2d_batch_s8_params *p, const int8_t *input,
                                       const int8_t *weights, const int32_t *bias, const int32_t *multiplier,
                                       const int8_t *shift, int8_t *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->in_step, output += p->out_step) {
        sec_conv2d_s8(&p->one, input, weights, bias, multiplier, shift, output);
    }
}

static inline void sec_depthwise_conv2d_batch_s8(const sec_depthwise_conv2d_batch_s8_params *p, const int8_t *input,
                                                 const int8_t *weights, const int32_t *bias,
                                                 const int32_t *multiplier, const int8_t *shift, int8_t *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->in_step, output += p->out_step) {
        sec_depthwise_conv2d_s8(&p->one, input, weights, bias, multiplier, shift, output);
    }
}

static inline void sec_max_pool_batch_s8(const sec_pool_batch_s8_params *p, const int8_t *input, int8_t *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->in_step, output += p->out_step) {
        sec_max_pool_s8(&p->one, input, output);
    }
}

static inline void sec_average_pool_batch_s8(const sec_pool_batch_s8_params *p, const int8_t *input,
                                             int8_t *output) {
    for (int32_t b = 0; b < p->batch; ++b, input += p->in_step, output += p->out_step) {
        sec_average_pool_s8(&p->one, input, output);
    }
}

#endif
