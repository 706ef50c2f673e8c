"""The generated `picture` and `poll` on this computer: the input and the decisions that Python gives."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from c_host import SANITIZERS, WARNINGS, generated, planned, write
from small_pictures import noise_frames, small_picture_program

from secateur.compiler.picture_proof import picture_inputs
from secateur.compiler.stream_proof import decisions_of
from secateur.errors import UserError
from secateur.firmware.front_end.image import parts, pixel_quantizer
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import ImageChain
from secateur.models.program import Program, Quantization
from secateur.models.reference import run_reference

FRAMES = 9
GLUE = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
static char memory[NET_ARENA_BYTES + 16];
int main(int argc, char **argv) {
    FILE *f = fopen(argv[1], "rb");
    net_state *s = malloc(sizeof *s);
    uint8_t *frame = malloc(NET_FRAME_BYTES);
    int label;
    float confidence;
    (void)argc;
    s->arena = 0;
    if (net_picture(0, frame) != NET_E_ARGUMENT || net_picture(s, 0) != NET_E_ARGUMENT) return 9;
    if (net_picture(s, frame) != NET_E_STATE || net_poll(s, &label, &confidence) != -NET_E_STATE) return 8;
    if (net_init(s, memory + (16 - (uintptr_t)memory % 16) % 16)) return 7;
    if (net_poll(s, &label, &confidence) != 0) return 6;
    printf("%d\\n", (int)sizeof(net_front));
    while (fread(frame, 1, NET_FRAME_BYTES, f) == NET_FRAME_BYTES) {
        int told;
        if (net_picture(s, frame)) return 5;
        for (int i = 0; i < NET_INPUT_BYTES; i++) printf("%02x", (unsigned)((uint8_t *)net_input(s))[i]);
        told = net_poll(s, &label, &confidence);
        if (told < 0 || net_poll(s, &label, &confidence) != 0) return 4;
        if (told) printf(" %d %a\\n", label, (double)confidence);
        else printf(" none\\n");
    }
    free(frame);
    free(s);
    fclose(f);
    return 0;
}
"""


@dataclass(frozen=True)
class Case:
    chain: ImageChain
    decisions: Decisions = Decisions()  # noqa: RUF009 - frozen
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    entry: tuple[float, int] = (1.0, -128)
    dtype: str = "int8"
    offset: int | None = None


CASES = {
    "rgb565, halved": Case(
        ImageChain(24, 32, 12, 12, "rgb565"), Decisions(3, 300, 1, ("red",)), (120.0, 110.0, 100.0), (60.0, 61.0, 62.0),
        (0.02, 3),
    ),
    "bgr to rgb, moved only": Case(ImageChain(16, 16, 16, 16, "bgr"), Decisions(1, 100), offset=-128),
    "a float's 1/255": Case(
        ImageChain(20, 10, 7, 9, crop="none", resize="area"), mean=(0.0,), std=(255.0,),
        entry=(float(np.float32(1 / 255)), -128), offset=-128,
    ),
    "grey, uint8, as it is": Case(
        ImageChain(9, 31, 5, 5, "grey", "grey", resize="nearest"), Decisions(2), entry=(1.0, 0), dtype="uint8", offset=0
    ),
    "grey of rgb565, enlarged": Case(
        ImageChain(5, 7, 11, 13, "rgb565", "grey", "none"), mean=(127.5,), std=(31.0,), entry=(0.05, -4)
    ),
    "a grey camera, three channels": Case(
        ImageChain(48, 64, 10, 20, "grey", "bgr", resize="area"), Decisions(2, 150, 2), (10.0, 20.0, 30.0),
        (9.0, 80.0, 700.0), (0.03, 10),
    ),
    "saturated": Case(ImageChain(6, 6, 6, 6), mean=(100.0,), std=(0.25,), entry=(0.01, 0)),
}  # fmt: skip


def program_of(case: Case) -> Program:
    return small_picture_program(case.chain, case.decisions, case.mean, case.std, case.entry, case.dtype)


@pytest.mark.emulator
@pytest.mark.parametrize("name", sorted(CASES))
def test_c_equals_python(name: str, tmp_path: Path) -> None:
    """Inputs, decisions and the size of the state, under the sanitizers; frames are exactly as large as stated."""
    case = CASES[name]
    program = program_of(case)
    made = parts(program)
    assert made is not None
    frames = noise_frames(case.chain, FRAMES)
    inputs = picture_inputs(program, frames)
    assert len(np.unique(inputs)) > 1
    model = generated(planned(program))
    sources = [*write(model, tmp_path), tmp_path / "net_picture.c"]
    (tmp_path / "glue.c").write_text(GLUE)
    (tmp_path / "frames.bin").write_bytes(frames.tobytes())
    for source in sources:
        command = ["gcc", *WARNINGS, *SANITIZERS, "-O1", "-I", tmp_path, "-c", source, "-o", source.with_suffix(".o")]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    objects = [s.with_suffix(".o") for s in sources]
    command = ["gcc", *SANITIZERS, "-I", tmp_path, tmp_path / "glue.c", *objects, "-o", tmp_path / "run"]
    subprocess.run(command, check=True)
    command = [tmp_path / "run", tmp_path / "frames.bin"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"
    size, *lines = done.stdout.splitlines()
    assert int(size) == made.state_bytes
    found = np.stack([np.frombuffer(bytes.fromhex(line.split()[0]), np.int8) for line in lines])
    np.testing.assert_array_equal(found, inputs)
    decisions = decisions_of(program, inputs, run_reference(program, inputs))
    expected = ["none" if d is None else f"{d.label} {float(d.confidence).hex()}" for d in decisions]
    said = [line.split(maxsplit=1)[1] for line in lines]
    told = [line if line == "none" else f"{line.split()[0]} {float.fromhex(line.split()[1]).hex()}" for line in said]
    assert told == expected
    assert len(set(expected)) > 2


@pytest.mark.parametrize("name", sorted(CASES))
def test_only_an_exact_fold_is_a_move(name: str) -> None:
    """Where the quantizer comes to a constant for every pixel value, the C adds it; never elsewhere."""
    case = CASES[name]
    made = parts(program_of(case))
    assert made is not None
    assert made.offset == case.offset
    pixels = np.arange(256, dtype=np.int16)[:, np.newaxis]
    real = (np.arange(256.0)[:, np.newaxis] - (case.mean or (0.0,))) / (case.std or (1.0,)) / case.entry[0]
    low, high = (-128, 127) if case.dtype == "int8" else (0, 255)
    exact = np.clip(real + case.entry[1], low, high)
    assert np.abs(pixel_quantizer(program_of(case))(pixels) - exact).max() <= 0.5 + 1e-6


def test_what_does_not_go_together_is_told() -> None:
    """Another shape, another type, and means for channels that are not there, each in one line."""
    program = small_picture_program(ImageChain(8, 8, 4, 4))
    chain = ImageChain(8, 8, 4, 5)
    with pytest.raises(UserError, match=r"gives 3x4x5, the network takes 3x4x4 \(channels first\)"):
        parts(replace(program, preprocess=replace(program.preprocess, front_end=chain)))
    with pytest.raises(UserError, match="2 values of mean for 3 channels"):
        parts(replace(program, preprocess=replace(program.preprocess, mean=(1.0, 2.0), std=(1.0, 1.0))))
    wide = replace(program.tensors[0], dtype="int16", quantization=Quantization((1.0,), (0,)))
    with pytest.raises(UserError, match="its input is int16"):
        parts(replace(program, tensors=(wide, *program.tensors[1:])))
    decisions = Decisions(reconstructs=True)
    with pytest.raises(UserError, match="not on pictures"):
        parts(replace(program, preprocess=replace(program.preprocess, decisions=decisions)))
