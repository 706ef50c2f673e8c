"""Where another stack's networks come from: libraries of the user's, or source trees that are compiled here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from other_tree import CMSIS_FILES, KERNELS, TFLM_FILES, write_tree

from secateur.compiler.bench.against import bench
from secateur.compiler.bench.kernels import from_zoo
from secateur.compiler.bench.stacks import SourceStack, Stack, parse_stacks
from secateur.errors import ToolError, UserError
from secateur.firmware.other_trees import CmsisNn, Tflm

SAMPLES = 3
TREES = "SECATEUR_OTHER_STACKS"
"""Environment variable: a folder with tflite-micro (and its third-party headers) and CMSIS-NN."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if TREES not in os.environ:
        monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "values, says",
    [
        (["x"], "give NAME=FOLDER"),
        (["=x"], "give NAME=FOLDER"),
        (["x="], "give NAME=FOLDER"),
        (["x=/no/such"], "there is no folder /no/such"),
        (["secateur=."], "'secateur' is taken"),
        (["x=.", "x=."], "'x' is taken"),
    ],
)
def test_a_bad_flag_is_refused(values: list[str], says: str) -> None:
    """Another form, a missing folder, and a name that the table could not tell apart."""
    with pytest.raises(UserError, match=says):
        parse_stacks(values)


def test_the_flag_may_be_repeated(tmp_path: Path) -> None:
    """Stacks keep their order; a folder may have an equals sign in its name; trees are known by what is in them."""
    folder = tmp_path / "a=b"
    folder.mkdir()
    cmsis, tflm = write_tree(tmp_path / "c", CMSIS_FILES), write_tree(tmp_path / "t", TFLM_FILES)
    stacks = parse_stacks([f"two={folder}", f"arm={cmsis}", f"one={tmp_path}", f"reference={tflm}"])
    assert stacks == [
        Stack("two", folder),
        SourceStack("arm", Tflm(tflm), CmsisNn(cmsis)),
        Stack("one", tmp_path),
        SourceStack("reference", Tflm(tflm)),
    ]


def test_cmsis_nn_alone_is_refused(tmp_path: Path) -> None:
    """Its kernels have no main program of their own."""
    folder = write_tree(tmp_path, CMSIS_FILES)
    with pytest.raises(UserError, match=rf"cmsis-nn={folder}: .*add --against tflm=FOLDER"):
        parse_stacks([f"cmsis-nn={folder}"])


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    """It says which names were looked for; one fitting library is enough."""
    stack, subject = Stack("x", tmp_path), from_zoo("mlp", SAMPLES)
    says = r"there is no mlp\.host\.a nor any of 1 others.*micro_interpreter\.h.*arm_nnfunctions\.h.*sec_other\.h"
    with pytest.raises(UserError, match=says):
        stack.check([subject], ["host", "qemu-riscv32"])
    (tmp_path / "mlp.qemu-riscv32.a").touch()
    stack.check([subject], ["host", "qemu-riscv32"])


def test_a_network_that_the_tree_has_no_kernel_for_is_refused(tmp_path: Path) -> None:
    """Before anything is compiled, with the network's name."""
    files = {name: text for name, text in TFLM_FILES.items() if name != f"{KERNELS}/fully_connected.cc"}
    (stack,) = parse_stacks([f"tflm={write_tree(tmp_path, files)}"])
    with pytest.raises(UserError, match=r"^mlp: .*no kernel for FULLY_CONNECTED"):
        bench([from_zoo("mlp", SAMPLES)], ["host"], [stack])


@pytest.mark.emulator
def test_trees_become_rows(tmp_path: Path) -> None:
    """Each with the kernel of its variant, counted against the golden outputs; the second run compiles nothing."""
    tflm, cmsis = write_tree(tmp_path / "t", TFLM_FILES), write_tree(tmp_path / "c", CMSIS_FILES)
    stacks = parse_stacks([f"cmsis-nn={cmsis}", f"tflm={tflm}"])
    lines: list[str] = []
    (row,) = bench([from_zoo("mlp", SAMPLES)], ["host"], stacks, lines.append)
    assert [(cell.stack, cell.arena_bytes, cell.values) for cell in row.others] == [
        ("cmsis-nn", 77, 3 * SAMPLES),
        ("tflm", 77, 3 * SAMPLES),
    ]
    # the made-up kernels give 34 and 17, which the network does not
    assert [cell.mismatches for cell in row.others] == [3 * SAMPLES, 3 * SAMPLES]
    # interpreter, kernel, its common part, our main, the model, arm_value; interpreter and model serve both
    told = [line for line in lines if "compile" in line]
    assert told == [
        "mlp on host: cmsis-nn: 6 of 6 sources to compile",
        "mlp on host: tflm: 3 of 5 sources to compile",
    ]
    bench([from_zoo("mlp", SAMPLES)], ["host"], stacks, lines.append)
    assert [line for line in lines if "compile" in line] == told


@pytest.mark.emulator
def test_a_source_that_does_not_compile_is_named(tmp_path: Path) -> None:
    """The first error in one line, with the log."""
    name = f"{KERNELS}/fully_connected_common.cc"
    (stack,) = parse_stacks([f"tflm={write_tree(tmp_path / 't', TFLM_FILES | {name: '#error broken here'})}"])
    with pytest.raises(ToolError, match=rf"{name} does not compile: .*broken here \(all of it: {tmp_path}/cache/"):
        bench([from_zoo("mlp", SAMPLES)], ["host"], [stack])


@pytest.mark.emulator
def test_a_compiler_that_is_of_no_use_leaves_the_row_out(tmp_path: Path) -> None:
    """With its reason; asked for alone it is an error."""
    (stack,) = parse_stacks([f"tflm={write_tree(tmp_path, TFLM_FILES)}"])
    subject = from_zoo("mlp", SAMPLES)
    stack.check([subject], ["host", "qemu-xtensa"])
    assert "no floating-point routines" in str(stack.left_out("mlp", "qemu-xtensa"))
    with pytest.raises(UserError, match=r"no floating-point routines.*choose other targets"):
        stack.check([subject], ["qemu-xtensa"])


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.skipif(TREES not in os.environ, reason=f"{TREES} names no folder with tflite-micro and CMSIS-NN")
def test_real_trees_agree_with_the_golden_runtime() -> None:
    """The interpreter, with its own kernels and with CMSIS-NN's, gives every output byte that the wheel gives."""
    folder = Path(os.environ[TREES])
    stacks = parse_stacks([f"tflm={folder / 'tflite-micro'}", f"cmsis-nn={folder / 'CMSIS-NN'}"])
    (row,) = bench([from_zoo("mlp", SAMPLES)], ["qemu-cortex-m4"], stacks)
    assert [(cell.stack, cell.mismatches) for cell in row.others] == [("tflm", 0), ("cmsis-nn", 0)]
    assert all(cell.instructions is not None and cell.instructions > 0 for cell in row.others)
