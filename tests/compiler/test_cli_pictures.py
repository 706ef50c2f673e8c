"""A camera's frames from a folder of pictures to decisions in an emulator, through the command line."""

from __future__ import annotations

import json

import pytest
from small_pictures import LABELS, small_picture_program, write_pictures

from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.preprocess_file import read_preprocess
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import ImageChain

TABLES = """
[image]
width = 32
height = 24
format = "rgb565"
resize = "area"
[normalize]
mean = [120, 121, 122]
std = [60, 61, 62]
[decisions]
smooth = 2
threshold = 0.4
"""


@pytest.mark.emulator
@pytest.mark.slow
def test_frames_in_decisions_out_on_a_cortex_m4(called, tmp_path, monkeypatch):
    """The image computes Python's decisions from raw frames; what the front end costs is told and within the limits."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    root = write_pictures(tmp_path / "pets", (40, 40))
    program = small_picture_program(ImageChain(24, 32, 8, 8), entry=(0.02, 0))
    (tmp_path / "net.tflite").write_bytes(tflite_bytes(program))
    (tmp_path / "p.toml").write_text(TABLES)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    out = tmp_path / "out"
    code, _, said = called(
        ["compile", str(tmp_path / "net.tflite"), "--target", "qemu-cortex-m4", "--data", str(root), "--preprocess",
         str(tmp_path / "p.toml"), "--labels", str(tmp_path / "labels.txt"), "-o", str(out)]
    )  # fmt: skip
    assert code == 0, said
    report = json.loads((out / "report.json").read_text())
    proven = report["verification"]
    assert (proven["samples"], proven["outputs"], proven["mismatches"]) == (3, 3 * (2 + len(LABELS)), 0)
    assert "behind our front end's reference" in proven["golden"]
    result = report["result"]
    front = [layer for layer in result["layers"] if layer["name"] == "front end"]
    assert len(front) == 1
    assert 8 * 8 * 3 * 10 < front[0]["instructions"] < result["instructions"]
    notes = " ".join(report["details"]["notes"])
    assert "frames of 32x24 rgb565, the middle 24x24, area to 8x8 rgb" in notes
    assert "The camera's frame, 1,536 bytes, is the caller's" in notes
    pre = read_preprocess(out / "preprocess.toml")
    assert pre.front_end == ImageChain(24, 32, 8, 8, "rgb565", "rgb", "centre", "area")
    assert pre.decisions == Decisions(2, 205)
    header = (out / "firmware" / "model" / "net.h").read_text()
    assert "int net_picture(net_state *s, const uint8_t *frame);" in header
    assert "#define NET_FRAME_BYTES 1536L" in header
