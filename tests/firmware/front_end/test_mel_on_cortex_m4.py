"""What a frame costs on a Cortex-M4 in QEMU, bit for bit what Python computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mel_float import ANOMALY, KWS, sounds

from secateur.firmware.front_end.catalogue import features_code
from secateur.firmware.front_end.write import stage_tables
from secateur.firmware.generated import GeneratedModel
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.front_end.log_mel import LogMel, MelFrames
from secateur.models.front_end.mfcc import Mfcc
from secateur.runtime_bench.emulator import EmulatorRunner
from secateur.targets.target import find

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

FOLDER = Path(stage_tables.__code__.co_filename).parent

HEADER = """\
#ifndef FRAMES_H
#define FRAMES_H
#include <stdint.h>
#define FRAMES_ARENA_BYTES {arena}
#define FRAMES_ARENA_ALIGNMENT 16
#define FRAMES_INPUT_BYTES {inputs}
#define FRAMES_OUTPUT_BYTES {outputs}
#define FRAMES_LAYERS 1
typedef struct frames_state {{
    void *arena;
    void (*after_layer)(void *context, int layer);
    void *context;
}} frames_state;
int frames_init(frames_state *s, void *arena);
int frames_invoke(frames_state *s, const int8_t *input, int8_t *output);
extern const char *const frames_labels[];
#endif
"""

SOURCE = """\
#include "frames.h"
#include "kernels/{header}"
#include <string.h>
{tables}
static const {name}_params params = {initialiser};
const char *const frames_labels[] = {{"frame"}};
int frames_init(frames_state *s, void *arena) {{
    s->arena = arena;
    s->after_layer = 0;
    s->context = 0;
    return 0;
}}
int frames_invoke(frames_state *s, const int8_t *input, int8_t *output) {{
    static int16_t frame[{inputs} / 2], features[{outputs} / 2];
    memcpy(frame, input, {inputs});
    {name}_frame(&params, 0, s->arena, frame, features);
    memcpy(output, features, {outputs});
    if (s->after_layer) s->after_layer(s->context, 0);
    return 0;
}}
"""


def _model(mel: MelFrames) -> GeneratedModel:
    """A frame as a network of one layer: its input the samples' bytes, its output the features'."""
    code = features_code(mel)
    tables, initialiser = stage_tables("frames", code)
    sizes = {"arena": code.scratch_bytes, "inputs": 2 * mel.frame_length, "outputs": 2 * mel.count}
    source = SOURCE.format(header=code.header, name=code.name, tables=tables, initialiser=initialiser, **sizes)
    headers = {f"kernels/{file.name}": file.read_text() for file in FOLDER.glob("sec_*.h")}
    return GeneratedModel(
        name="frames",
        files={"frames.h": HEADER.format(**sizes), "frames.c": source, "frames_weights.c": "", **headers},
        arena_bytes=code.scratch_bytes,
        arena_alignment=16,
        input_bytes=sizes["inputs"],
        output_bytes=sizes["outputs"],
        layers=("frame",),
    )


@pytest.mark.parametrize(
    "mel, instructions",
    [(Mfcc(**KWS), 50_000), (LogMel(**ANOMALY), 110_000)],
    ids=["kws", "anomaly"],
)
def test_instructions(mel: MelFrames, instructions: int, tmp_path: Path) -> None:
    """No more than stated, for speech-like sounds, loud and quiet."""
    given = np.concatenate([x[: mel.frame_length][None] for x in sounds().values()])
    write_project(tmp_path, _model(mel), find("esp32"), given.view(np.int8))
    run = EmulatorRunner("qemu-cortex-m4").run(build(tmp_path, "qemu-cortex-m4"), 60)
    expected = np.concatenate([mel.rows(frame) for frame in given])
    np.testing.assert_array_equal(run.outputs.astype(np.int8).view(np.int16).reshape(expected.shape), expected)
    assert run.instructions is not None
    assert run.instructions < instructions, run.instructions
