"""Objects of another stack's sources are made once, and again when something that they are made from changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.errors import ToolError
from secateur.firmware.other_objects import Job, archive, compile_all
from secateur.firmware.other_toolchain import NoFloats, find_toolchain

pytestmark = pytest.mark.emulator
SPELLED = "it's so urce#1 $2"


def jobs(folder: Path, *more: str) -> list[Job]:
    """Two sources and a header in a folder with a space, a hash, a quote and a dollar in its name."""
    folder.mkdir(exist_ok=True)
    for name, text in (("a.c", '#include "h.h"\nint a = N;\n'), ("b.c", "int b;\n"), ("h.h", "#define N 1\n")):
        (folder / name).write_text(text)
    return [Job(folder / name, ("gcc", *more)) for name in ("a.c", "b.c")]


def test_an_object_is_kept_until_what_made_it_changes(tmp_path: Path) -> None:
    """A second run compiles nothing; a header's change only what includes it; another flag is another object."""
    lines: list[str] = []
    given, folder = jobs(tmp_path / SPELLED), tmp_path / "objects"
    first = compile_all(given, folder, "x", lines.append)
    assert [path.stem.split("-")[1] for path in first] == ["a", "b"]
    assert lines == ["x: 2 of 2 sources to compile"]
    made = [path.stat().st_mtime_ns for path in first]
    assert compile_all(given, folder, "x", lines.append) == first
    assert [path.stat().st_mtime_ns for path in first] == made
    assert len(lines) == 1

    (tmp_path / SPELLED / "h.h").write_text("#define N 23\n")
    assert compile_all(given, folder, "x", lines.append) == first
    assert lines[1:] == ["x: 1 of 2 sources to compile"]
    assert [path.stat().st_mtime_ns == before for path, before in zip(first, made, strict=True)] == [False, True]

    assert not {*compile_all(jobs(tmp_path / SPELLED, "-O2"), folder, "x")} & {*first}
    assert {path.suffix for path in folder.iterdir()} == {".o", ".json"}


def test_a_lost_object_or_record_is_made_again(tmp_path: Path) -> None:
    """An interrupted run leaves neither half."""
    given, folder, lines = jobs(tmp_path / "s"), tmp_path / "objects", list[str]()
    first, second = compile_all(given, folder, "x")
    first.unlink()
    second.with_suffix(".json").write_text("{")
    compile_all(given, folder, "x", lines.append)
    assert lines == ["x: 2 of 2 sources to compile"]
    assert archive("ar", [first, second], tmp_path / "lib.a").stat().st_size > 0


def test_the_first_error_and_the_log_are_named(tmp_path: Path) -> None:
    """One line; the log holds the command and all of the compiler's words, and goes when the source is mended."""
    source, folder = tmp_path / "bad.c", tmp_path / "objects"
    source.write_text("int f(void) { int unused; return first; }\nint g(void) { return second; }\n")
    job = Job(source, ("gcc", "-Wall"))
    with pytest.raises(ToolError, match=r"bad\.c does not compile: 1:\d+: error: .first. undeclared") as caught:
        compile_all([job], folder, "x")
    log = folder / f"{job.name}.log"
    assert "\n" not in str(caught.value) and str(log) in str(caught.value)
    assert "second" in log.read_text() and "gcc -Wall" in log.read_text()
    source.write_text("int f(void) { return 0; }\n")
    compile_all([job], folder, "x")
    assert not log.exists()


def test_a_compiler_without_floating_point_is_of_no_use() -> None:
    """Debian's for Xtensa; the host's and its flags serve."""
    with pytest.raises(NoFloats, match="xtensa-lx106-elf-gcc has no floating-point routines"):
        find_toolchain("qemu-xtensa")
    host = find_toolchain("host")
    assert host.command(Path("x.cc"), "-DX")[0] == "g++"
    assert host.command(Path("x.c"), "-DX")[0] == "gcc" and "-fno-rtti" not in host.command(Path("x.c"))
