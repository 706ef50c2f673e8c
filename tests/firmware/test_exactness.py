"""The generated C, the reference interpreter and TFLite Micro agree on every output byte."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_library, run_sanitized, write
from exported import sample

from secateur.errors import MismatchError
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.runtime_bench.golden import Golden, compare


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(SMALL))
def test_generated_c_equals_tflm(name: str, tmp_path: Path) -> None:
    """Every output of every small network equals TFLM's, clean under ASan and UBSan with an arena of exact size."""
    s = sample(name)
    model = generated(planned(s.program))
    flat = s.inputs.reshape(len(s.inputs), -1)
    assert np.array_equal(run_sanitized(model, flat, tmp_path), s.golden)


@pytest.mark.parametrize("name", list(SMALL))
def test_reference_interpreter_equals_tflm(name: str) -> None:
    """The stand-in golden runtime is equal to the real one."""
    s = sample(name)
    assert np.array_equal(run_reference(s.program, s.inputs[:4]), s.golden[:4])


@pytest.mark.parametrize("name", list(SMALL))
def test_int8_stays_close_to_float(name: str) -> None:
    """Min/max calibration keeps at least 30 dB on every small network; 35 on the named three."""
    least = 35.0 if name in ("residual-2d", "ds-cnn", "har") else 30.0
    assert sample(name).sqnr_db() >= least


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(SMALL))
def test_generated_c_keeps_its_promises(name: str, tmp_path: Path) -> None:
    """ISO C99 without heap, stdio, recursion or floating point, in every file of every small network."""
    model = generated(planned(sample(name).program))
    sources = write(model, tmp_path)
    for source in sources:
        done = subprocess.run(
            ["gcc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Wvla", "-Werror", "-O2",
             "-mgeneral-regs-only", "-fcallgraph-info", "-c", str(source), "-o", str(source.with_suffix(".o"))],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    calls = [edge for source in sources for edge in _calls(source.with_suffix(".ci"))]
    assert any(caller == "net_invoke" for caller, _ in calls)  # the graph was read
    TopologicalSorter({a: [b for c, b in calls if c == a] for a, _ in calls}).prepare()  # raises CycleError
    names = subprocess.run(
        ["nm", "--undefined-only", *(str(s.with_suffix(".o")) for s in sources)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    undefined = {line.split()[-1] for line in names.splitlines() if " U " in line} - {"_GLOBAL_OFFSET_TABLE_"}
    assert {u for u in undefined if not u.startswith("net_")} <= {"memcpy"}
    assert not re.search(r"\b(malloc|free|printf|alloca)\b", "".join(model.files.values()))


def _calls(callgraph: Path) -> list[tuple[str, str]]:
    """(caller, callee) as GCC saw them; static functions carry their file's name in front."""
    edges = re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', callgraph.read_text())
    return [(caller.rpartition(":")[2], callee.rpartition(":")[2]) for caller, callee in edges]


def test_generated_c_is_deterministic() -> None:
    """Same network, same bytes."""
    s = sample("residual-1d")
    assert generated(planned(s.program)).files == generated(planned(s.program)).files


def test_comparison_names_the_first_difference() -> None:
    """One wrong value among many is an error that says where."""
    golden = Golden("golden", np.zeros((3, 4), np.int8))
    wrong = golden.outputs.copy()
    wrong[2, 1] = 5
    with pytest.raises(MismatchError, match=r"1 of 12 output values differ.*sample 2, value 1: 5 instead of 0"):
        compare(golden, wrong, "here")


def _faults() -> list[tuple[str, str, str, str]]:
    """(what, file, pattern, replacement): a seeded fault in generated C or a kernel."""
    kernel = "kernels/sec_conv2d_s8.h"
    return [
        ("weight", "net_weights.c", r"(net_weights0\[\d+\] = \{\s*)(-?\d+)", r"\g<1>77"),
        ("last weight", "net_weights.c", r"(-?\d+)(\};\s*)\Z", r"3\2"),
        ("bias", "net_weights.c", r"(net_bias2\[\d+\] = \{\s*)(-?\d+)", r"\g<1>99999"),
        ("multiplier", "net_weights.c", r"(net_multiplier1\[\d+\] = \{\s*)(\d+)", r"\g<1>1073741824"),
        ("shift", "net_weights.c", r"(net_shift1\[\d+\] = \{\s*)(-?\d+)", r"\g<1>-1"),
        ("output offset", "net.c", r"\.output_offset = (-?\d+)", ".output_offset = 3"),
        ("clamp low", "net.c", r"\.low = (-?\d+)", ".low = -20"),
        ("clamp high", "net.c", r"\.high = 127", ".high = 90"),
        ("padding", "net.c", r"\.pad_left = 2", ".pad_left = 1"),
        ("stride", "net.c", r"\.stride_w = 2", ".stride_w = 1"),
        ("channels", "net.c", r"\.in_c = 8", ".in_c = 7"),
        ("kernel width", "net.c", r"\.k_w = 3", ".k_w = 2"),
        ("add multiplier", "net.c", r"\.a_multiplier = (\d+)", ".a_multiplier = 1400000000"),
        ("add shift", "net.c", r"\.output_shift = (-?\d+)", ".output_shift = -15"),
        ("mean divisor", "net.c", r"\.positions = (\d+)", ".positions = 24"),
        ("mean zero point", "net.c", r"\.input_zero_point = (-?\d+)", ".input_zero_point = 7"),
        ("arena offset", "net.c", r"a \+ (\d+)\);\n    after\(s, 3\)", "a + 1);\n    after(s, 3)"),
        ("dropped layer", "net.c", r"    sec_add_s8\([^\n]*\n", "    \n"),
        ("swapped layers", "net.c", r"(    sec_conv2d_s8\(&p1[^\n]*\n)(.*?)"
         r"(    sec_conv2d_s8\(&p2[^\n]*\n)", r"\3\2\1"),
        ("rounding", "kernels/sec_common.h", r"\(\(int64_t\)1 << 30\)", "((int64_t)1 << 29)"),
        ("tie rounding", "kernels/sec_common.h", r"product - \(product < 0\)", "product"),
        ("dropped clamp", "kernels/sec_common.h", r"return x < low \? low : x > high \? high : x;",
         "(void)low; (void)high; return x;"),
        ("missed tap", kernel, r"lines,(\n\s*)p->k_w \* group_in, wk", r"lines,\1p->k_w * group_in - 1, wk"),
        ("outside taps", kernel, r"acc\[r\] \+= value \* sum;", "acc[r] += 0 * value * sum;"),
        ("wrong head", "net.c", r"\.out = 7", ".out = 6"),
    ]  # fmt: skip


@pytest.mark.emulator
@pytest.mark.parametrize("what,file,pattern,replacement", _faults(), ids=[f[0] for f in _faults()])
def test_a_seeded_fault_is_reported(what: str, file: str, pattern: str, replacement: str, tmp_path: Path) -> None:
    """The check is itself checked: one wrong constant, offset, bound or line in the C is found by the comparison."""
    s = sample("residual-1d")
    model = generated(planned(s.program))
    flat = s.inputs.reshape(len(s.inputs), -1)
    text = model.files[file]
    broken, changes = re.subn(pattern, replacement, text, count=1, flags=re.S)
    assert changes == 1 and broken != text, f"the fault '{what}' found nothing to change"
    faulty = replace(model, files={**model.files, file: broken})
    outputs = run_library(faulty, flat, tmp_path, ("-O1", "-Wno-error"))
    with pytest.raises(MismatchError):
        compare(Golden("TFLM", s.golden), outputs, what)
