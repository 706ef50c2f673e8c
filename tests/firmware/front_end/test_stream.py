"""The generated `push` and `poll` on this computer: any chunking gives the decisions that Python gives."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_host import SANITIZERS, WARNINGS, generated, planned, write
from memory_networks import streaming
from small_streams import SMALL, small_stream_program

from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.compiler.stream_proof import decisions_of, decisions_without_data, window_inputs
from secateur.errors import UserError
from secateur.firmware.front_end.stream import parts
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.reconstruct import MOST_SUMMED
from secateur.models.front_end.stage import Counts
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program
from secateur.models.reference import run_reference

RESET = 0xFFFFFFFF
GLUE = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
static char memory[NET_ARENA_BYTES + 16];
int main(int argc, char **argv) {
    FILE *f = fopen(argv[1], "rb");
    net_state *s = malloc(sizeof *s);
    unsigned chunk;
    (void)argc;
    if (net_init(s, memory + (16 - (uintptr_t)memory % 16) % 16)) return 9;
    while (fread(&chunk, 4, 1, f) == 1) {
        if (chunk == 0xFFFFFFFFu) {
            net_reset(s);
            continue;
        }
        int16_t *raw = malloc(chunk * NET_CHANNELS * 2 + 1), *at = raw;
        if (fread(raw, 2 * NET_CHANNELS, chunk, f) != chunk) return 8;
        while (chunk > 0) {
            int label;
            float confidence;
            const int taken = net_push(s, at, chunk);
            if (taken < 0) return 7;
            at += taken * NET_CHANNELS;
            chunk -= (unsigned)taken;
            while (net_poll(s, &label, &confidence) == 1) printf("%d %a\\n", label, (double)confidence);
        }
        free(raw);
    }
    free(s);
    fclose(f);
    return 0;
}
"""


def build(program: Program, folder: Path) -> Path:
    """A program that reads chunks from a file and prints decisions, under the sanitizers."""
    model = generated(planned(program))
    sources = [*write(model, folder), folder / f"{model.name}_stream.c"]
    (folder / "glue.c").write_text(GLUE)
    strict = ["gcc", *WARNINGS, *SANITIZERS, "-O1", "-I", str(folder)]
    for source in sources:
        subprocess.run([*strict, "-c", source, "-o", source.with_suffix(".o")], check=True, capture_output=True)
    objects = [s.with_suffix(".o") for s in sources]
    subprocess.run(["gcc", *SANITIZERS, "-I", folder, folder / "glue.c", *objects, "-o", folder / "run"], check=True)
    return folder / "run"


def decided(run: Path, stream: Counts, chunks: list[int]) -> list[tuple[int, float]]:
    """What it prints of a stream fed in `chunks`, their sum its length; or RESET."""
    with (run.parent / "stream.bin").open("wb") as file:
        at = 0
        for chunk in chunks:
            file.write(np.uint32(chunk).tobytes())
            if chunk != RESET:
                file.write(stream[at : at + chunk].tobytes())
                at += chunk
    said = subprocess.run([run, run.parent / "stream.bin"], check=True, capture_output=True, text=True).stdout
    return [(int(a), float.fromhex(b)) for a, b in (line.split() for line in said.splitlines())]


def expected(program: Program, stream: Counts) -> list[tuple[int, float]]:
    inputs = window_inputs(program, stream)
    decisions = decisions_of(program, inputs, run_reference(program, inputs))
    return [(d.label, float(d.confidence)) for d in decisions if d is not None]


def noise(front: FrontEnd, length: int) -> Counts:
    random = np.random.default_rng(5)
    loud = random.normal(0, 1, (length, front.channels)) * 2000 * (1 + np.sin(np.arange(length) / 50))[:, None]
    return np.clip(loud, -32768, 32767).astype(np.int16)


@pytest.mark.emulator
@pytest.mark.parametrize("name", sorted(SMALL))
def test_any_chunking_gives_the_decisions_of_python(name: str, tmp_path: Path) -> None:
    """Sample by sample, in random pieces, in one piece; under the sanitizers."""
    program = small_stream_program(SMALL[name])
    front = program.preprocess.front_end
    assert front is not None
    ratio = front.resampler.down / front.resampler.up if front.resampler is not None else 1
    length = round(16 * front.window_samples * ratio)
    stream = noise(front, length)
    truth = expected(program, stream)
    assert len(truth) > 4
    assert len({label for label, _ in truth}) > 1
    run = build(program, tmp_path)
    random = np.random.default_rng(0)
    cuts = np.sort(random.integers(0, length + 1, 40))
    uneven = np.diff([0, *cuts.tolist(), length]).tolist()
    for chunks in ([length], [1] * length, uneven):
        assert decided(run, stream, chunks) == truth


@pytest.mark.emulator
def test_a_reset_forgets_what_the_network_remembers(tmp_path: Path) -> None:
    """A network with memory of its own decides after `reset` as after `init`, and otherwise without it."""
    front = FrontEnd(50, 4, 1, 1, (1000.0,))
    program = replace(parse_tflite(streaming(), "net", "net"), preprocess=Preprocess((), (), front))
    run, stream = build(program, tmp_path), noise(front, 6)
    twice = np.concatenate([stream, stream])
    first, second = np.split(np.array(decided(run, twice, [6, RESET, 6])), 2)
    assert len(first) == 6 and np.array_equal(first, second)
    first, second = np.split(np.array(decided(run, twice, [12])), 2)
    assert not np.array_equal(first, second)


def test_more_values_than_64_bits_can_sum_are_refused() -> None:
    """The sum of squares over the windows that are averaged would wrap, and the largest error be the smallest."""
    small = SMALL["reconstruction"]
    values = small.front.window * small.front.width
    smooth = MOST_SUMMED // values + 1
    program = small_stream_program(replace(small, decisions=replace(small.decisions, smooth=smooth)))
    with pytest.raises(UserError, match=f"{smooth} windows of {values} values are smoothed, 2,097,152 values at most"):
        parts(program)


def test_thresholds_that_need_no_data_are_known_without_it() -> None:
    """A real value becomes steps; one that no output reaches, and a share of windows to keep, are refused."""
    small = SMALL[sorted(SMALL)[0]]

    def known(**how: float) -> int:
        decisions = Decisions(2, least=how.get("least"), keep_percent=how.get("keep"))
        return decisions_without_data(small_stream_program(replace(small, decisions=decisions))).threshold

    assert known(least=0.5) == 256  # two windows of 128 of 256 steps
    with pytest.raises(UserError, match=r"threshold 1\.5 tells nothing: its outputs reach 0\.99"):
        known(least=1.5)
    with pytest.raises(UserError, match="without --data none can be fitted"):
        known(keep=99.0)
