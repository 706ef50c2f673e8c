"""What is the user's to mend ends in one line on stderr, the right exit code, and nothing that looks finished."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from secateur.compiler.frontends.data import load_data

SOURCE = """
import torch
from torch import nn

def odd():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.CELU(), nn.Flatten(), nn.Linear(144, 10), nn.Mish())

def broken():
    return 1 / 0
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, called):
    """A folder with good and bad models and data; the good ones are made by a compile that also must work."""
    folder = tmp_path_factory.mktemp("inputs")
    good = folder / "good"
    code, _, said = called(["compile", "zoo:digits-net", "--data", "zoo:digits", *COMMON, "-o", str(good)])
    assert code == 0, said
    for kind in ("onnx", "tflite"):
        content = (good / f"model.{kind}").read_bytes()
        (folder / f"whole.{kind}").write_bytes(content)
        (folder / f"half.{kind}").write_bytes(content[: len(content) // 2])
        (folder / f"empty.{kind}").write_bytes(b"")
    (folder / "float.tflite").write_bytes(float_tflite((good / "model.tflite").read_bytes()))
    (folder / "nets.py").write_text(SOURCE)
    (folder / "a_file").write_text("here already")
    (folder / "two.txt").write_text("one\ntwo\n")
    data = load_data("zoo:digits", (1, 8, 8))
    x, y = data.recovery.x[:300], data.recovery.y[:300]
    tests = {"x_test": data.test.x, "y_test": data.test.y}
    hole = x.copy()
    hole[3, 0, 0, 0] = np.nan
    np.savez(folder / "narrow.npz", x_train=x[..., :7], y_train=y, x_test=data.test.x[..., :7], y_test=data.test.y)
    np.savez(folder / "labels.npz", x_train=x, y_train=y + 5, **tests)
    np.savez(folder / "hole.npz", x_train=hole, y_train=y, **tests)
    np.savez(folder / "dark.npz", x_train=900 - x, y_train=y, x_test=900 - data.test.x, y_test=data.test.y)
    return folder


COMMON = ("--target", "esp32", "--run", "none", "--steps", "0")


def float_tflite(content: bytes) -> bytes:
    """The same file with its tensors declared float32."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for tensor in model.subgraphs[0].tensors:
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


PROGRESS = ("baseline: ", "dark.npz: ", "zoo:digits: ")
"""How lines begin that tell what was read and done before the error."""
DIGITS = ("--data", "zoo:digits")
NET = "zoo:digits-net"
CASES = {
    "missing onnx": (("{}/none.onnx", *DIGITS), "no such file"),
    "missing tflite": (("{}/none.tflite",), "no such file"),
    "truncated onnx": (("{}/half.onnx", *DIGITS), "not a valid ONNX file"),
    "truncated tflite": (("{}/half.tflite",), "truncated"),
    "empty onnx": (("{}/empty.onnx", *DIGITS), "no ONNX network"),
    "empty tflite": (("{}/empty.tflite",), "not a TFLite file"),
    "float tflite": (("{}/float.tflite",), "float"),
    "unsupported operators, all of them": (
        ("{}/nets.py:odd", *DIGITS, "--input-shape", "1,1,8,8"), "2 unsupported operator(s): 1 (CELU); 4 (Mish: ",
    ),
    "a factory that fails": (("{}/nets.py:broken", *DIGITS, "--input-shape", "1,1,8,8"), "nets.py:9: division by zero"),
    "no such kind of model": (("{}/a_file", *DIGITS), "unknown kind of model"),
    "unknown zoo network": (("zoo:none", *DIGITS), "the zoo has"),
    "float network without data": ((NET,), "needs --data"),
    "missing data": ((NET, "--data", "{}/none.npz"), "no such file"),
    "data of the wrong shape": ((NET, "--data", "{}/narrow.npz"), "samples are 1x8x7, the network takes 1x8x8"),
    "data of the wrong shape for tflite": (("{}/whole.tflite", "--data", "{}/narrow.npz"), "samples are 1x8x7"),
    "labels out of range": ((NET, "--data", "{}/labels.npz"), "labels run from 5 to 14; 10 classes are known"),
    "NaN in data": ((NET, "--data", "{}/hole.npz"), "recovery sample 3 holds NaN"),
    "a baseline at chance": ((NET, "--data", "{}/dark.npz"), "Is the preprocessing right"),
    "unknown target": ((NET, *DIGITS, "--target", "esp33"), "unknown target 'esp33'. Known: esp32,"),
    "OUT is a file": ((NET, *DIGITS, "-o", "{}/a_file"), "a file is in the way"),
    "OUT below a file": ((NET, *DIGITS, "-o", "{}/a_file/out"), "name another folder with -o"),
    "a name that is too long": ((NET, *DIGITS, "-o", "{}/" + 300 * "n"), "name another folder with -o"),
    "the model in OUT": (("{}/good/model.tflite", "-o", "{}/good"), "lies in"),
    "a negative size": ((NET, *DIGITS, "--max-ram", "-5"), "--max-ram: '-5' is not a size"),
    "no size": ((NET, *DIGITS, "--max-flash", "much"), "--max-flash: 'much' is not a size"),
    "a size of nothing": ((NET, *DIGITS, "--max-flash", "0"), "--max-flash: a size of '0'"),
    "no time": ((NET, *DIGITS, "--max-latency", "-3ms"), "--max-latency: '-3ms' is not a time"),
    "accuracy above 100": ((NET, *DIGITS, "--min-accuracy", "101"), "--min-accuracy"),
    "drop below 0": ((NET, *DIGITS, "--max-drop", "-1"), "--max-drop"),
    "unknown option": ((NET, *DIGITS, "--bogus"), "No such option: --bogus"),
    "unknown value": ((NET, *DIGITS, "--recovery", "long"), "one of short, full, published, scratch, best, bn, none"),
    "unknown layer score": ((NET, *DIGITS, "--layer-score", "cosine"), "one of cka, cka-biased, cka-flow, consensus"),
    "unknown filter score": ((NET, *DIGITS, "--filter-score", "vip"), "one of auto, reconstruction, plsvip"),
    "a score without a say": ((NET, *DIGITS, "--layer-score", "kl", "--method", "l1"), "l1 has scores of its own"),
    "a board without a port": ((NET, *DIGITS, "--run", "board"), "needs --port"),
    "a shape without batch": ((NET, *DIGITS, "--input-shape", "8,8"), "batch of 1 in front"),
    "too few labels": (("{}/whole.tflite", "--labels", "{}/two.txt"), "2 labels for 10 outputs; give one label"),
    "no quantization-aware step": (
        ("zoo:digits-net", "--data", "zoo:digits", "--quantization-aware", "on"), "which of 0 is none; give 3 at least",
    ),
    "a skipped column without data": (
        ("{}/whole.tflite", "--skip-columns", "a"), "--skip-columns: without --data this says nothing",
    ),
    "a skipped column of what has none": ((NET, *DIGITS, "--skip-columns", "a"), "--skip-columns does not go with"),
    "no skipped column": ((NET, *DIGITS, "--skip-columns", ","), "--skip-columns ,: names no column"),
    "a floor without data": (("{}/whole.tflite", "--min-accuracy", "99"), "--min-accuracy: without --data this says"),
    "a drop above what there is": ((NET, *DIGITS, "--max-drop", "inf"), "Invalid value for '--max-drop'"),
    "a shape that no memory holds": (
        ("{}/nets.py:odd", *DIGITS, "--input-shape", "1,99999999999999999999"), "batch of 1 in front"
    ),
    "missing labels": ((NET, *DIGITS, "--labels", "{}/none.txt"), "No such file"),
    "mean without std": ((NET, *DIGITS, "--mean", "0.5"), "--mean and --std go together"),
    "std of 0": ((NET, *DIGITS, "--mean", "0.5", "--std", "0"), "above 0"),
    "mean of too many channels": ((NET, *DIGITS, "--mean", "1,2", "--std", "1,2"), "2 values for 1 input channel"),
    "mean of an int8 model": (("{}/whole.tflite", "--mean", "1,2", "--std", "1,1"), "2 values for 1 input channel"),
    "a cut in a whole network": ((NET, *DIGITS, "--cut-at", "fc"), "--cut-at does not go with"),
    "weights of a zoo network": ((NET, *DIGITS, "--weights", "{}/a_file"), "--weights does not go with"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("arguments,expected", CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_exit_code_2(files, tmp_path, arguments, expected, called):
    """One line with what is wrong, exit code 2, nothing on stdout, no report."""
    given = [a.replace("{}", str(files)) for a in arguments]
    out = tmp_path / "out"
    before = {p: p.stat().st_mtime_ns for p in files.rglob("*")}
    code, printed, said = called(["compile", *COMMON, "-o", str(out), *given])
    lines = [line for line in said.splitlines() if not line.startswith(PROGRESS)]
    assert (code, printed, len(lines)) == (2, "", 1), said
    assert lines[0].startswith("secateur: ") and expected in lines[0], said
    assert not (out / "report.json").exists() and not (out / "model.tflite").exists()
    assert {p: p.stat().st_mtime_ns for p in files.rglob("*")} == before


WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from secateur.compiler.cli import main; main()"


@pytest.mark.parametrize("arguments,expected", [
    (("compile", "none.onnx"), "none.onnx: no such file. MODEL is net.onnx"),
    (("compile", "none.py:make"), "none.py: no such file. MODEL is net.onnx"),
    (("compile", "zoo:digits-net", "--data", "none"), "none: no such folder; data is a folder of images"),
    (("compile", "zoo:digits-net", "--data", "none.py:sets"), "none.py: no such file"),
    (("check", "none"), "none: no such file. MODEL is"),
    (("inspect", "none.keras"), "none.keras: no such file"),
    (("bench", "pruning", "zoo:digits-net", "--data", "none.npz"), "none.npz: no such file"),
])  # fmt: skip
def test_a_wrong_path_is_told_before_anything_heavy_is_imported(tmp_path, arguments, expected):
    """Where torch cannot be imported at all, the one line comes all the same."""
    given = [*arguments, "--target", "esp32"] + ["-o", "out"] * (arguments[0] in ("compile", "bench"))
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *given], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (2, "") and len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith(f"secateur: {expected}")


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["esp32", "esp32c3", "host", "qemu-cortex-m4"])
def test_a_missing_cross_compiler_is_5_and_names_its_package(files, tmp_path, environment, monkeypatch, called):
    """Without the compiler on PATH the line says what apt-get installs."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "env", "python3"):
        (tmp_path / "bin" / name).symlink_to(sys.executable if name == "python3" else f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    out = tmp_path / "out"
    code, printed, said = called(
        ["compile", f"{files}/whole.tflite", "--target", environment, "--run", "auto", "-o", str(out)]
    )
    assert (code, printed) == (5, ""), said
    assert "apt-get install" in said.splitlines()[-1] and "Traceback" not in said, said
    assert not (out / "report.json").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, called):
    """compile -o . in a project that has a firmware folder of its own removes nothing."""
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "main.c").write_text("int main(void) { return 0; }\n")
    code, _, said = called(["compile", NET, *DIGITS, *COMMON, "-o", str(tmp_path)])
    assert code == 2 and "holds firmware, not written by secateur" in said
    assert (tmp_path / "firmware" / "main.c").is_file()
    assert os.listdir(tmp_path) == ["firmware"]  # noqa: PTH208 - names are enough


@pytest.mark.parametrize("command", ["build", "run", "flash"])
def test_steps_after_compile_need_its_folder(tmp_path, command, called):
    """On a folder without firmware they say which command makes one."""
    more = ["--port", "/dev/null"] if command == "flash" else []
    code, printed, said = called([command, str(tmp_path), *more])
    assert (code, printed, len(said.splitlines())) == (2, "", 1)
    assert "secateur compile" in said
