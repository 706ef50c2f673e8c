/* What a static library must offer so that `secateur bench kernels --against NAME=FOLDER` can measure it: one network
   of another stack, built by whoever wants the comparison, with the compiler and options of the board's JSON file.
   tflm.cc is how we do it when FOLDER is a source tree of TFLite Micro.

   On the emulated machines nothing else is there: no C library but memcpy, memmove and memset, no heap, no constructors
   that run before main. What the stack needs of them lies in the library and is counted with it. */
#ifndef SEC_OTHER_H
#define SEC_OTHER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the network in `arena` (aligned to 16) and says in *used_bytes how much of it one needs to give.
   0, or an error code. Called again to forget what earlier inferences left behind. */
int sec_other_init(uint8_t *arena, size_t arena_bytes, size_t *used_bytes);

/* One inference; 0, or an error code. Several inputs (or outputs) lie one after another, each at a multiple of 16.
   `after_layer` may be null; otherwise it is called after each layer of this inference, which is not the one whose
   instructions are reported: it tells how often the machine's counter came round. */
int sec_other_invoke(const int8_t *input, int8_t *output, void (*after_layer)(void));

#ifdef __cplusplus
}
#endif
#endif
