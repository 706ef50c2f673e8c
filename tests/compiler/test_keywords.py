"""zoo:keywords-dscnn from raw 16 kHz audio to decisions: compiled, cut, taken to a second target, and heard."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from secateur.compiler.deploy import deploy
from secateur.compiler.exported import Exported, export
from secateur.compiler.frontends.preprocess_file import read_preprocess
from secateur.compiler.stream_proof import completed_at, decisions_of, pieces, window_inputs
from secateur.models.probabilities import for_decisions
from secateur.models.zoo import catalogue, keywords, spoken
from secateur.runtime_bench.golden import golden_outputs
from secateur.targets.target import find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(spoken.PROGRAM) is None, reason=f"no espeak-ng; {spoken.INSTALL}"),
]
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def exported() -> Exported:
    return export(for_decisions(catalogue.load("keywords-dscnn")), catalogue.zoo_data("keywords"))


def events(exported: Exported, sentence: keywords.Sentence) -> list[tuple[int, str]]:
    """(sample at which it is told, keyword) of every event, by the golden runtime."""
    program = exported.program
    inputs = window_inputs(program, sentence.samples[:, np.newaxis])
    decisions = decisions_of(program, inputs, golden_outputs(exported.content, program, inputs).outputs)
    at = completed_at(keywords.FRONT_END, len(inputs))
    told = [(int(t), keywords.LABELS[d.label]) for t, d in zip(at, decisions, strict=True) if d and d.label >= 0]
    return [(t, word) for t, word in told if word in keywords.KEYWORDS]


def score(exported: Exported, sentence: keywords.Sentence) -> tuple[int, int]:
    """Keywords that are told once, up to 1.2 s after their end, and all other events."""
    left, heard = events(exported, sentence), 0
    for end, word in sentence.words:
        found = next((e for e in left if e[1] == word and -4800 <= e[0] - end <= 19200), None)
        if found is not None:
            left.remove(found)
            heard += 1
    return heard, len(left)


@pytest.mark.parametrize("side", ["validation", "test"])
def test_most_keywords_in_sentences_are_told_and_few_other_things(exported: Exported, side: str) -> None:
    """Nine voices that were held out, each with six keywords among six other words."""
    voices = keywords.sides(keywords.FULL)[1 if side == "validation" else 2]
    found = [score(exported, sentence) for sentence in keywords.sentences(voices)]
    heard, other = map(sum, zip(*found, strict=True))
    log.info("%s: %d of %d keywords told, %d other events", side, heard, 6 * len(voices), other)
    assert heard >= 36 and other <= 18


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["qemu-cortex-m4", "esp32"])
def test_a_whole_sentence_is_decided_as_in_python(exported: Exported, target: str, tmp_path: Path) -> None:
    """19 s of a test voice, pushed hop by hop: decision, confidence and outputs after each."""
    (sentence,) = keywords.sentences(keywords.sides(keywords.FULL)[2][:1])
    given = pieces(exported.program, sentence.samples[:, np.newaxis])
    found = deploy(exported.content, exported.program, "keywords", find(target), given, tmp_path)
    assert found.comparison is not None
    log.info(
        "%s: %d pieces, %d values, %d mismatches; instructions: front end %s, network %d",
        target, len(given), found.comparison.values, found.comparison.mismatches,
        found.front_end_instructions, sum(found.layer_counts or ()),
    )  # fmt: skip
    assert (found.comparison.samples, found.comparison.mismatches) == (len(given), 0)
    assert len(given) > 70 and len(events(exported, sentence)) >= 4


@pytest.mark.emulator
def test_cut_for_one_target_and_taken_to_another(called, tmp_path: Path) -> None:
    """Front end and decisions come from the zoo; OUT has them as TOML; the .tflite beside it has the data's classes."""
    first, second = tmp_path / "first", tmp_path / "second"
    call = ["compile", "zoo:keywords-dscnn", "--data", "zoo:keywords", "--target", "qemu-cortex-m4", "--json"]
    cut = ["--max-flash", "29K", "--steps", "20", "--max-drop", "30"]
    code, printed, said = called([*call, *cut, "-o", str(first)])
    assert code == 0, said
    report = json.loads(printed)
    assert report["steps"] and report["verification"]["mismatches"] == 0 and "0 mismatches" in said
    written = read_preprocess(first / "preprocess.toml")
    assert written.front_end == keywords.FRONT_END
    assert written.decisions.background == ("silence", "unknown") and written.decisions.threshold > 0
    call = ["compile", str(first / "model.tflite"), "--target", "host", "-o", str(second)]
    code, _, said = called(call)
    assert code == 2 and "background silence, unknown: model names no classes; name them with --labels" in said
    code, _, said = called([*call, "--data", "zoo:keywords"])
    assert code == 0 and "0 mismatches" in said, said
    assert "#define MODEL_LABELS 8" in (second / "firmware/model/model.h").read_text()
    stream = (second / "firmware/model/model_stream.c").read_text()
    assert "*label != 6 && *label != 7" in stream
