"""Another stack beside ours: the flag, the table, and a library that is linked, run and compared."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from c_host import generated

from secateur.compiler.bench.against import OtherCell, Row, bench, markdown, measure_other
from secateur.compiler.bench.kernels import Cell, from_zoo
from secateur.compiler.bench.stacks import Stack
from secateur.errors import ToolError
from secateur.firmware.board import FOLDER as BOARDS
from secateur.firmware.other_stack import INTERFACE
from secateur.passes.program.cost import plan
from secateur.targets.target import find

SAMPLES = 3

# Our own code in the place of another stack's: what comes out is known.
WRAPPER = """\
#include "sec_other.h"
#include "net.h"
static net_state state;
static void (*hook)(void);
static void after(void *context, int layer) { (void)context; (void)layer; hook(); }
int sec_other_init(uint8_t *arena, size_t arena_bytes, size_t *used_bytes) {
    *used_bytes = NET_ARENA_BYTES;
    return arena_bytes < NET_ARENA_BYTES ? 7 : net_init(&state, arena);
}
int sec_other_invoke(const int8_t *input, int8_t *output, void (*after_layer)(void)) {
    int result;
    hook = after_layer;
    state.after_layer = after_layer ? after : 0;
    result = net_invoke(&state, input, output);
    /*END*/
    return result;
}
"""


def make_library(folder: Path, back_end: str, end: str = "") -> Stack:
    """The zoo's mlp as FOLDER/mlp.BACK_END.a; `end`: what its invoke does last."""
    subject = from_zoo("mlp", SAMPLES)
    model = generated(plan(subject.program, find(back_end)), "net")
    for name, text in {**model.files, "wrapper.c": WRAPPER.replace("/*END*/", end)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    settings = json.loads((BOARDS / f"{back_end}.json").read_text())["build"]
    flags = [*settings["machine"], "-O2", "-ffreestanding", "-fbuiltin", "-ffunction-sections", "-fdata-sections"]
    includes = [f"-I{folder}", f"-I{INTERFACE.parent}"]
    if back_end != "host":
        includes.append(f"-I{BOARDS.parents[1] / 'ports/common/include'}")
    sources = [folder / name for name in ("net.c", "net_weights.c", "wrapper.c")]
    objects = [path.with_suffix(".o") for path in sources]
    for source, to in zip(sources, objects, strict=True):
        subprocess.run([settings["cc"], *flags, *includes, "-c", source, "-o", to], check=True)
    stack = Stack("copy", folder)
    subprocess.run([settings["ar"], "rcs", stack.library("mlp", back_end), *objects], check=True)
    return stack


@pytest.mark.emulator
@pytest.mark.parametrize("back_end", ["host", "qemu-cortex-m4", "qemu-riscv32"])
def test_our_own_code_as_the_other_stack_costs_what_ours_costs(tmp_path: Path, back_end: str) -> None:
    """The same network through the other door: equal arena and outputs, and a few instructions of the wrapper."""
    (row,) = bench([from_zoo("mlp", SAMPLES)], [back_end], [make_library(tmp_path, back_end)])
    ours, (other,) = row.ours, row.others
    assert (other.mismatches, other.values, other.samples) == (0, ours.values, SAMPLES)
    assert other.arena_bytes == ours.arena_bytes
    if back_end == "host":
        assert (other.instructions, other.stack_bytes, other.flash_bytes, other.ram_bytes) == (None,) * 4
        return
    assert other.instructions is not None and ours.instructions is not None
    assert 0 < other.instructions - ours.instructions < 40
    assert other.flash_bytes is not None and 0 < other.flash_bytes - ours.flash_bytes < 160
    assert other.stack_bytes is not None and ours.stack_bytes is not None and other.ram_bytes is not None
    assert 0 <= other.stack_bytes - ours.stack_bytes <= 32
    # the library's own state, and the harness's record of it
    data = other.ram_bytes - other.arena_bytes - other.stack_bytes
    assert data == 12 + 4 + 8


@pytest.mark.emulator
def test_another_output_is_counted_not_an_error(tmp_path: Path) -> None:
    """One value wrong in every sample: the table says so, and the run goes on."""
    stack = make_library(tmp_path, "host", "output[0] ^= 1;")
    found = measure_other(from_zoo("mlp", SAMPLES), "host", stack, tmp_path / "project")
    assert (found.mismatches, found.values) == (SAMPLES, SAMPLES * 3)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "end, says",
    [
        ("return 5;", "returned error 5 at sample 0"),
        ("static int8_t calls; output[0] = calls++;", "other outputs when it ran a second time"),
    ],
)
def test_a_library_that_fails_is_named(tmp_path: Path, end: str, says: str) -> None:
    """An error code, and outputs that differ from run to run, are the library's fault, not ours."""
    stack = make_library(tmp_path, "host", end)
    with pytest.raises(ToolError, match=says) as caught:
        measure_other(from_zoo("mlp", SAMPLES), "host", stack, tmp_path / "project")
    assert str(stack.library("mlp", "host")) in str(caught.value)


INIT = "int sec_other_init(void) { return 0; }"
INVOKE = "int sec_other_invoke(void) { return 0; }"


@pytest.mark.emulator
@pytest.mark.parametrize(
    "source, says",
    [
        (INIT, "undefined reference to `sec_other_invoke'"),
        (
            "void *malloc(unsigned); void *sec_other_init(void) { return malloc(9); }" + INVOKE,
            "reference to `malloc'",
        ),
        (
            INIT + INVOKE + "int x; __attribute__((constructor)) void early(void) { x++; }",
            "constructors that run before main",
        ),
        (
            INIT + 'int x __attribute__((section("odd"))) = 3; int sec_other_invoke(void) { return x; }',
            "sections odd",
        ),
    ],
)
def test_a_library_that_does_not_link_is_named(tmp_path: Path, source: str, says: str) -> None:
    """A missing function, a heap, a constructor that nobody would call, and stray data each end in one line."""
    (tmp_path / "bad.c").write_text(source)
    stack = Stack("bad", tmp_path)
    library = stack.library("mlp", "qemu-cortex-m4")
    machine = json.loads((BOARDS / "qemu-cortex-m4.json").read_text())["build"]["machine"]
    subprocess.run(
        ["arm-none-eabi-gcc", *machine, "-Os", "-fno-builtin", "-c", tmp_path / "bad.c", "-o", tmp_path / "bad.o"],
        check=True,
    )
    subprocess.run(["arm-none-eabi-ar", "rcs", library, tmp_path / "bad.o"], check=True)
    with pytest.raises(ToolError, match=says) as caught:
        measure_other(from_zoo("mlp", SAMPLES), "qemu-cortex-m4", stack, tmp_path / "project")
    assert str(library) in str(caught.value) and "\n" not in str(caught.value)


def test_the_table_has_the_other_stack_under_ours_with_ratios() -> None:
    """Ratios are theirs to ours; what the host cannot tell stays empty."""
    m4 = Row(
        Cell("net", "qemu-cortex-m4", 1000, 900, 4000, 64, 48, 100, 900, "golden", 4, 12, 0, 200),
        (OtherCell("x", "net", "qemu-cortex-m4", 1000, 6000, 640, 300, 1350, 1000, "golden", 4, 12, 3),),
    )
    host = Row(
        Cell("net", "host", 1000, 900, None, 64, 48, None, 900, "golden", 4, 12, 0, None),
        (OtherCell("x", "net", "host", 1000, None, 700, None, None, None, "golden", 4, 12, 0),),
    )
    assert markdown([m4, host]).splitlines()[2:6] == [
        "| net | qemu-cortex-m4 | secateur | 4,000 |  | 4.00 | 64 | 100 | 200 |  | 900 |  | 0 of 12 |",
        "| net | qemu-cortex-m4 | x | 6,000 | 1.50 | 6.00 | 640 | 300 | 1,000 | 5.00 | 1,350 | 1.50 | 3 of 12 |",
        "| net | host | secateur |  |  |  | 64 |  |  |  | 900 |  | 0 of 12 |",
        "| net | host | x |  |  |  | 700 |  |  |  |  |  | 0 of 12 |",
    ]
    assert [d["stack"] for d in m4.documents()] == ["secateur", "x"]
    assert m4.documents()[1]["instructions_per_mac"] == 6.0
