"""Reading and writing `.tflite`: a round trip, MLPerf Tiny's own files, and what malformed files end in."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from c_host import generated, planned, run_library, run_sanitized
from exported import sample
from flatbuffers import Builder

from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import load_tflite, parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, verify_program
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.runtime_bench.golden import run_tflm

MUTATED = ("concat", "har")
Edit = Callable[[schema.ModelT], None]


def same(a: Program, b: Program) -> bool:
    """Equal records and equal constants."""
    data = zip(a.tensors, b.tensors, strict=True)
    return a == b and all(
        (x.data is None) == (y.data is None) and (x.data is None or np.array_equal(x.data, y.data)) for x, y in data
    )


@pytest.mark.parametrize("name", list(SMALL))
def test_write_then_read_is_the_same_program(name: str) -> None:
    """Shapes, options, scales and constants survive; a second write gives the same bytes."""
    s = sample(name)
    content = tflite_bytes(s.program)
    assert same(replace(parse_tflite(content, name, name), labels=s.program.labels), s.program)
    assert tflite_bytes(s.program) == content


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail where the body hangs."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still busy after {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def accepted(content: bytes) -> Program | None:
    """The Program of `content` if it is taken as far as C, None if one UserError refuses it. Anything else raises."""
    try:
        program = parse_tflite(content, "net", "net.tflite")
        verify_program(program)
        if program.macs > 10_000_000 or sum(t.elements for t in program.tensors) > 10_000_000:
            return None  # valid, only large: not run here
        generated(planned(program))
    except UserError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return None
    return program


@pytest.mark.parametrize("name", MUTATED)
def test_truncated_file_is_one_clear_line(name: str) -> None:
    """A file cut anywhere before its end is refused or still holds everything that the network needs."""
    content = sample(name).content
    cuts = np.unique(np.linspace(0, len(content) - 1, 120).astype(int))
    with at_most(30):
        whole = [int(cut) for cut in cuts if accepted(content[:cut]) is not None]
    assert not whole


def _mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`content` with one to three bytes changed, mostly in its structure."""
    random = np.random.default_rng(seed)
    for i in range(count):
        mutant = bytearray(content)
        for _ in range(1 + i % 3):
            at = int(random.integers(8, len(content)))
            mutant[at] = int(random.choice([0, 1, 2, 4, 127, 128, 255, mutant[at] ^ 1 << int(random.integers(8))]))
        yield bytes(mutant)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATED)
def test_mutated_file_is_refused_or_valid(name: str) -> None:
    """Hundreds of files with wrong bytes: one UserError or a Program that verifies, plans and generates."""
    with at_most(60):
        results = [accepted(m) for m in _mutants(sample(name).content, 150, len(name))]
    assert any(r is None for r in results)
    assert any(r is not None for r in results)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATED)
def test_accepted_mutants_compute_what_they_say(name: str, tmp_path: Path) -> None:
    """What is not refused runs clean under ASan and UBSan and equals the reference interpreter."""
    s = sample(name)
    found = 0
    for i, mutant in enumerate(_mutants(s.content, 400, 99)):
        program = accepted(mutant)
        if program is None or same(program, s.program):
            continue
        same_data = all(
            a.data is None or b.data is None or np.array_equal(a.data, b.data)
            for a, b in zip(program.tensors, s.program.tensors, strict=False)
        )
        if same_data and program == s.program:
            continue
        size = program.tensors[program.inputs[0]].elements
        x = np.random.default_rng(i).integers(-128, 128, (2, size)).astype(np.int8)
        folder = tmp_path / str(i)
        folder.mkdir()
        assert np.array_equal(run_sanitized(generated(planned(program)), x, folder), run_reference(program, x)), i
        found += 1
        if found == 12:
            break
    assert found


def edited(name: str, edit: Edit) -> bytes:
    """The file of a small network after a change to its tables."""
    model = schema.ModelT.InitFromPackedBuf(sample(name).content)
    edit(model)
    builder = Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _op(model: schema.ModelT, kind: str) -> schema.OperatorT:
    number = getattr(schema.BuiltinOperator, kind)
    return next(o for o in model.subgraphs[0].operators if model.operatorCodes[o.opcodeIndex].builtinCode == number)


def _tensor(model: schema.ModelT, kind: str, position: int, output: bool = False) -> schema.TensorT:
    op = _op(model, kind)
    return model.subgraphs[0].tensors[(op.outputs if output else op.inputs)[position]]


def _set(target: object, **values: object) -> None:
    for field, value in values.items():
        assert hasattr(target, field)
        setattr(target, field, value)


def _i32(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


EDITS: dict[str, tuple[str, Edit, str]] = {
    "no operators": ("mlp", lambda m: _set(m.subgraphs[0], operators=[]), "no operators|not computed|never written"),
    "unknown activation": (
        "har", lambda m: _set(_op(m, "CONV_2D").builtinOptions, fusedActivationFunction=4), "fused activation TANH"),
    "stride": ("har", lambda m: _set(_op(m, "CONV_2D").builtinOptions, strideW=3), "does not follow"),
    "stride zero": ("har", lambda m: _set(_op(m, "CONV_2D").builtinOptions, strideW=0), "malformed|does not follow"),
    "depth multiplier": (
        "ds-cnn", lambda m: _set(_op(m, "DEPTHWISE_CONV_2D").builtinOptions, depthMultiplier=2), "do not fit"),
    "no options": ("har", lambda m: _set(_op(m, "CONV_2D"), builtinOptions=None, builtinOptionsType=0), "carries"),
    "weight axis": ("har", lambda m: _set(_tensor(m, "CONV_2D", 1).quantization, quantizedDimension=3), "dimension 3"),
    "weight scale": ("har", lambda m: _set(_tensor(m, "CONV_2D", 1), quantization=None), "no scale"),
    "channel scales of an activation": (
        "har", lambda m: _set(_tensor(m, "CONV_2D", 0).quantization, scale=np.ones(6, np.float32),
                              zeroPoint=np.zeros(6, np.int64)), "6 scales; weights alone"),
    "zero point": (
        "har", lambda m: _set(_tensor(m, "CONV_2D", 0).quantization, zeroPoint=np.array([300])), "outside -128..127"),
    "scale": (
        "har", lambda m: _set(_tensor(m, "CONV_2D", 0).quantization, scale=np.array([1e30], np.float32)), "scale 1e"),
    "negative scale": (
        "har", lambda m: _set(_tensor(m, "CONV_2D", 0).quantization, scale=np.array([-1], np.float32)), "positive"),
    "channels": (
        "har", lambda m: _set(_tensor(m, "CONV_2D", 0, True), shape=_i32([1, 1, 50, 31])), "do not fit|malformed"),
    "concatenation axis": ("concat", lambda m: _set(_op(m, "CONCATENATION").builtinOptions, axis=1), "does not follow"),
    "softmax beta": ("concat", lambda m: _set(_op(m, "SOFTMAX").builtinOptions, beta=-1.0), "does not follow"),
    "missing operand": ("residual-1d", lambda m: _set(_op(m, "ADD"), inputs=_i32([-1, 0])), "operands"),
    "operand out of range": ("residual-1d", lambda m: _set(_op(m, "ADD"), inputs=_i32([0, 999])), "operands"),
    "several outputs": (
        "residual-1d", lambda m: _set(_op(m, "ADD"), outputs=_i32([*_op(m, "ADD").outputs, 0])), "2 outputs"),
    "bias type": ("har", lambda m: _set(_tensor(m, "CONV_2D", 2), type=schema.TensorType.INT64), "malformed|int32 is"),
    "output is a constant": ("har", lambda m: _set(m.subgraphs[0], outputs=_op(m, "CONV_2D").inputs[1:2]), "constant"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(EDITS))
def test_contradiction_is_refused(what: str) -> None:
    """Tables that contradict each other are one line that names the place, before any C is generated."""
    name, edit, message = EDITS[what]
    with pytest.raises(UserError, match=message) as caught:
        parse_tflite(edited(name, edit), "net", "net.tflite")
    assert str(caught.value).startswith("net.tflite")
    assert "\n" not in str(caught.value)


def test_what_no_kernel_takes_is_named_with_its_types() -> None:
    """A convolution of uint8 is read, and refused when kernels are chosen."""
    content = edited("har", lambda m: _set(_tensor(m, "CONV_2D", 0), type=schema.TensorType.UINT8))
    with pytest.raises(UserError, match=r"no kernel for CONV_2D \(operator 0: types uint8, int8, int8\)"):
        planned(parse_tflite(content, "net", "net.tflite"))


def test_what_is_no_int8_tflite_file() -> None:
    """A wrong mark, an empty file, no file: each says what it is."""
    content = sample("mlp").content
    for bad in (b"", content[:7], content[:4] + b"TFL2" + content[8:], b"\x08" * 64):
        with pytest.raises(UserError, match="not a TFLite file"):
            parse_tflite(bad, "net", "net.tflite")
    with pytest.raises(UserError, match="no such file"):
        load_tflite(Path("nowhere.tflite"))


# arena, and MACs after simplification: of the person detector's 7,489,664 half go
MLPERF = {
    "IC": ("image_classification/pretrainedResnet_quant", 33_308, 12_501_632),
    "VWW": ("visual_wake_words/vww_96_int8", 36_868, 3_727_313),
    "KWS": ("keyword_spotting/kws_ref_model", 8_384, 2_656_768),
    "AD": ("anomaly_detection/ad01_int8", 764, 264_192),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MLPERF))
def test_mlperf_tiny_network_is_exact(name: str, shared_data: Path, tmp_path: Path) -> None:
    """MLPerf Tiny's own int8 files compile to C that equals TFLM, in an arena of known size."""
    path, arena, macs = MLPERF[name]
    file = shared_data / "mlperf_tiny" / f"{path}.tflite"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in the shared data")
    program = load_tflite(file)
    made = planned(program)
    assert made.program.macs == macs
    assert made.memory.arena_bytes == arena
    x = np.random.default_rng(0).integers(-128, 128, (4, program.tensors[program.inputs[0]].elements)).astype(np.int8)
    assert np.array_equal(run_library(generated(made), x, tmp_path), run_tflm(file.read_bytes(), program, x))
