"""A hand-written stand-in for generated code: two layers of integer dot products, with its numpy golden."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secateur.firmware.generated import GeneratedModel

INPUTS, HIDDEN, OUTPUTS = 24, 16, 5

HEADER = """\
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
#define TINY_ARENA_BYTES {arena}
#define TINY_ARENA_ALIGNMENT 16
#define TINY_INPUT_BYTES 24
#define TINY_OUTPUT_BYTES 5
#define TINY_LAYERS 2
typedef struct tiny_state {{
    void *arena;
    void (*after_layer)(void *context, int layer);
    void *context;
}} tiny_state;
int tiny_init(tiny_state *s, void *arena);
int tiny_invoke(tiny_state *s, const int8_t *input, int8_t *output);
extern const char *const tiny_labels[];
#endif
"""

SOURCE = """\
#include "tiny.h"
#include "kernels/dense.h"
#include <string.h>
extern const int8_t tiny_first[16 * 24];
extern const int8_t tiny_second[5 * 16];
const char *const tiny_labels[] = {"a", "b", "c", "d", "e"};
static int calls;
int tiny_init(tiny_state *s, void *arena) {
    s->arena = arena;
    s->after_layer = 0;
    s->context = 0;
    return 0;
}
int tiny_invoke(tiny_state *s, const int8_t *input, int8_t *output) {
    int8_t *hidden = s->arena;
    int8_t copy[24];
    calls++;
    memcpy(copy, input, 24);
    dense(copy, tiny_first, hidden, 24, 16);
    if (s->after_layer) s->after_layer(s->context, 0);
    dense(hidden, tiny_second, output, 16, 5);
    if (s->after_layer) s->after_layer(s->context, 1);
    return calls < 0;
}
"""

KERNEL = """\
#include <stdint.h>
/* Scale with the 64-bit product that requantization uses, then clamp. */
static void dense(const int8_t *in, const int8_t *weights, int8_t *out, int inputs, int outputs) {
    for (int o = 0; o < outputs; o++) {
        int32_t sum = 0;
        for (int i = 0; i < inputs; i++) sum += in[i] * weights[o * inputs + i];
        int64_t scaled = ((int64_t)sum * 1518500250 + ((int64_t)1 << 39)) >> 40;
        if (scaled > 127) scaled = 127;
        if (scaled < -128) scaled = -128;
        out[o] = (int8_t)scaled;
    }
}
"""


def weights(padding: int = 0) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    rng = np.random.default_rng(1)
    first = rng.integers(-128, 128, (HIDDEN, INPUTS), np.int8)
    second = rng.integers(-128, 128, (OUTPUTS, HIDDEN), np.int8)
    return first, second


def tiny_model(arena_bytes: int = 64, extra_weights: int = 0, source: str = SOURCE) -> GeneratedModel:
    """`extra_weights`: bytes of a further table that the code reads, to make the firmware too big."""
    first, second = weights()
    text = "#include <stdint.h>\nextern const int8_t tiny_first[], tiny_second[];\n"
    for name, values in (("tiny_first", first), ("tiny_second", second)):
        text += f"const int8_t {name}[{values.size}] = {{{','.join(map(str, values.ravel()))}}};\n"
    if extra_weights:
        text = text.replace(f"tiny_first[{first.size}] =", f"tiny_first[{first.size + extra_weights}] =")
    return GeneratedModel(
        name="tiny",
        files={
            "tiny.h": HEADER.format(arena=arena_bytes),
            "tiny.c": source,
            "tiny_weights.c": text,
            "kernels/dense.h": KERNEL,
        },
        arena_bytes=arena_bytes,
        arena_alignment=16,
        input_bytes=INPUTS,
        output_bytes=OUTPUTS,
        layers=("dense_1", "dense_2"),
    )


def tiny_samples(n: int = 8) -> npt.NDArray[np.int8]:
    return np.random.default_rng(2).integers(-128, 128, (n, INPUTS), np.int8)


def golden(samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """What the C above computes, in numpy."""
    x = samples
    for w in weights():
        wide = x.astype(np.int64) @ w.T.astype(np.int64)
        x = np.clip((wide * 1518500250 + (1 << 39)) >> 40, -128, 127).astype(np.int8)
    return x
