"""Another stack's source tree: what it is, which of its sources are compiled, and what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from other_tree import CMSIS_FILES, KERNELS, LITE, MICRO, TFLM_FILES, write_tree

from secateur.errors import UserError
from secateur.firmware.other_trees import CmsisNn, Operator, Tflm, recognise

FULLY_CONNECTED = Operator("FULLY_CONNECTED", "AddFullyConnected", f"{KERNELS}/fully_connected.cc")


def tflm(root: Path, files: dict[str, str] = TFLM_FILES) -> Tflm:
    tree = recognise(write_tree(root, files))
    assert isinstance(tree, Tflm)
    return tree


def test_a_tree_is_recognised_by_what_is_in_it(tmp_path: Path) -> None:
    """Whatever its name; another folder is neither."""
    assert recognise(write_tree(tmp_path / "a", TFLM_FILES)) == Tflm(tmp_path / "a")
    assert recognise(write_tree(tmp_path / "b", CMSIS_FILES)) == CmsisNn(tmp_path / "b")
    assert recognise(tmp_path) is None


def test_sources_are_the_interpreter_and_the_kernels_of_the_operators(tmp_path: Path) -> None:
    """No test, fake, vendor's file or other operator's kernel; CMSIS-NN's variant stands for the reference."""
    tree = tflm(tmp_path)
    assert tree.core == (f"{MICRO}/micro_interpreter.cc",)
    found = tree.operators(["FULLY_CONNECTED", "FULLY_CONNECTED"])
    assert found == [FULLY_CONNECTED]
    common = f"{KERNELS}/fully_connected_common.cc"
    assert tree.kernels(found) == [f"{KERNELS}/fully_connected.cc", common]
    assert tree.kernels(found, "cmsis_nn") == [f"{KERNELS}/cmsis_nn/fully_connected.cc", common]
    assert CmsisNn(write_tree(tmp_path / "c", CMSIS_FILES)).sources == ("Source/Functions/arm_value.c",)


def test_a_kernel_brings_the_kernels_that_it_includes(tmp_path: Path) -> None:
    """NAME.h stands for NAME.cc and NAME_common.cc, through headers too."""
    include = '#include "tensorflow/lite/micro/kernels/{}"\n'
    more = {
        f"{KERNELS}/fully_connected.cc": include.format("shared.h") + TFLM_FILES[f"{KERNELS}/fully_connected.cc"],
        f"{KERNELS}/shared.h": include.format("deep.h") + include.format("fully_connected.h"),
        f"{KERNELS}/deep.h": "",
        f"{KERNELS}/deep.cc": "",
    }
    tree = tflm(tmp_path, TFLM_FILES | more)
    names = ("deep", "fully_connected", "fully_connected_common")
    assert tree.kernels([FULLY_CONNECTED]) == [f"{KERNELS}/{name}.cc" for name in names]


def test_the_interpreter_brings_what_it_includes_elsewhere(tmp_path: Path) -> None:
    """NAME.h of another folder stands for NAME.cc there; a kernel's header does not, the resolver names them all."""
    elsewhere = "tensorflow/compiler/schema/utils"
    lines = [f'#include "{elsewhere}.h"', f'  # include "{KERNELS}/fully_connected.h"']
    more = {f"{MICRO}/context.cc": "\n".join(lines), f"{elsewhere}.h": "", f"{elsewhere}.cc": ""}
    found = tflm(tmp_path, TFLM_FILES | more).core
    assert found == (f"{elsewhere}.cc", f"{MICRO}/context.cc", f"{MICRO}/micro_interpreter.cc")


def test_operators_without_a_kernel_are_listed(tmp_path: Path) -> None:
    """All of them at once, with the folder: ADD is known to the resolver, but nothing registers it."""
    with pytest.raises(UserError, match=r"kernels: no kernel for ADD, CUSTOM; leave that network out"):
        tflm(tmp_path).operators(["FULLY_CONNECTED", "CUSTOM", "ADD"])


@pytest.mark.parametrize("place", ["third_party", f"{MICRO}/tools/make/downloads", ".."])
def test_headers_of_others_lie_in_one_of_three_places(tmp_path: Path, place: str) -> None:
    """In a generated tree, in a checkout after its own make, or beside the tree, be that a link to it."""
    moved = {name.replace("third_party", place): text for name, text in TFLM_FILES.items()}
    write_tree(tmp_path / "real" / "tree", moved)
    folders = [
        (tmp_path / "real" / "tree" / place).resolve() / name for name in ("flatbuffers/include", "gemmlowp", "ruy")
    ]
    if place == "..":
        (tmp_path / "real" / "tree").rename(tmp_path / "elsewhere")
        (tmp_path / "real" / "tree").symlink_to(tmp_path / "elsewhere")
    tree = recognise(tmp_path / "real" / "tree")
    assert isinstance(tree, Tflm)
    assert [tree.root, *folders] == [*tree.includes]


@pytest.mark.parametrize("project, header", [("gemmlowp", "fixedpoint/fixedpoint.h"), ("ruy", "instrumentation.h")])
def test_a_missing_header_names_the_folders_looked_in(tmp_path: Path, project: str, header: str) -> None:
    """One line with the project, the header and all three folders."""
    tree = tflm(tmp_path / "t", {k: v for k, v in TFLM_FILES.items() if not k.endswith(header)})
    with pytest.raises(UserError) as caught:
        _ = tree.includes
    looked = (f"t/third_party/{project}", f"t/{MICRO}/tools/make/downloads/{project}", f"{tmp_path}/{project}")
    assert all(text in str(caught.value) for text in (f"needs {project}'s headers", header, *looked))


def test_another_version_of_flatbuffers_is_named(tmp_path: Path) -> None:
    """The compiler's message would be a failed assertion in a generated file."""
    schema = TFLM_FILES[f"{LITE}/schema/schema_generated.h"].replace("== 2", "== 9")
    tree = tflm(tmp_path, TFLM_FILES | {f"{LITE}/schema/schema_generated.h": schema})
    says = r"made for flatbuffers 1\.9\.3, .*third_party/flatbuffers/include is 1\.2\.3; check out flatbuffers v1\.9\.3"
    with pytest.raises(UserError, match=says) as caught:
        _ = tree.includes
    assert not re.search("\n", str(caught.value))
