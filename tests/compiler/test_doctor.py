"""secateur doctor's findings: right on this machine, and right on machines where things are missing."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from serial.tools import list_ports

from secateur.compiler import doctor

ROOT = Path(__file__).parents[2]


def by_name(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    """Findings under their names, which are unique."""
    named = {f.name: f for f in findings}
    assert len(named) == len(findings)
    return named


def program(folder: Path, name: str, prints: str) -> None:
    """A program of that name that prints the text, whatever it is asked."""
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
    path.chmod(0o755)


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands first on PATH, with only `cat` and `sh` of the machine behind it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cat", "sh"):
        (tools / name).symlink_to(f"/bin/{name}")
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{tools}")
    return folder


def test_every_requirement_of_the_project_is_examined() -> None:
    """A dependency that pyproject.toml gains is found by doctor, with a word on what needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {Requirement(line).name for line in project["dependencies"]}
    assert names <= doctor.NEEDED_FOR.keys(), "say in doctor.NEEDED_FOR what the new dependency is for"
    assert doctor.NEEDED_FOR.keys() <= names, "doctor.NEEDED_FOR names something that is no dependency"


@pytest.mark.emulator
def test_what_runs_these_tests_is_present_with_their_versions() -> None:
    """What the test environment surely has is found, with the version that is installed."""
    found = by_name(doctor.examine())
    assert found["torch"].present
    assert found["torch"].version == metadata.version("torch")
    assert found["python"].present
    assert all(f.needed_for and f.install for f in found.values())


def test_the_demo_data_is_the_version_that_setup_installs() -> None:
    """The command that doctor names brings the recordings that the demo was tested with."""
    pinned = re.search(r"^seglearn==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert doctor.SEGLEARN == pinned.group(1)
    assert doctor.SEGLEARN in by_name(doctor.examine())["seglearn"].install


def test_a_missing_or_old_package_is_reported_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent: no version. Too old: the version is shown, and it does not count as present."""
    versions = {"torch": None, "onnx": "1.3.0"}
    real = metadata.version

    def version(name: str) -> str:
        if name not in versions:
            return real(name)
        if (faked := versions[name]) is None:
            raise metadata.PackageNotFoundError(name)
        return faked

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = by_name(doctor.examine())
    assert (found["torch"].present, found["torch"].version) == (False, None)
    assert found["torch"].install.startswith("pip install 'torch>=")
    assert (found["onnx"].present, found["onnx"].version) == (False, "1.3.0")


@pytest.mark.parametrize(("machine", "optional"), [("x86_64", False), ("aarch64", True)])
def test_the_golden_runtime_is_optional_only_where_it_has_no_wheel(
    monkeypatch: pytest.MonkeyPatch, machine: str, optional: bool
) -> None:
    """On Linux x86-64 nothing replaces it; elsew."""
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.platform, "machine", lambda: machine)
    golden = by_name(doctor.examine())["tflite-micro"]
    assert golden.optional is optional
    assert ("stands in" in golden.needed_for) is optional


def test_without_compilers_each_names_its_debian_package(path_folder: Path) -> None:
    """On an empty PATH every command is missing, none has a version, and apt-get is told what to install."""
    found = by_name(doctor.examine())
    commands = [(package, command) for package, command, _ in doctor.debian_packages() if command is not None]
    assert len(commands) >= 7
    for package, command in commands:
        assert found[command] == doctor.Finding(
            command, False, None, found[command].needed_for, f"apt-get install {package}"
        )


@pytest.mark.parametrize(
    ("prints", "version"),
    [
        ("riscv64-unknown-elf-gcc (12.2.0-14+deb12u1+11+b2) 12.2.0\nCopyright (C) 2022", "12.2.0"),
        ("arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205", "12.2.1"),
        ("gcc (Ubuntu 13.3.0-6ubuntu2~24.04 (a b)) 13.3.0", "13.3.0"),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", "7.2.22"),
        ("GNU size (GNU Binutils for Debian) 2.40", "2.40"),
        ("some compiler without a number", None),
    ],
)
def test_the_version_is_the_programs_own_not_the_distributions(
    path_folder: Path, prints: str, version: str | None
) -> None:
    """Distributions write their package's version in parentheses before it."""
    program(path_folder, "gcc", prints)
    gcc = by_name(doctor.examine())["gcc"]
    assert (gcc.present, gcc.version) == (True, version)


def test_a_program_that_hangs_is_present_without_a_version(path_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken compiler must not hang the command that is asked why things do not work."""
    (path_folder / "gcc").write_text("#!/bin/sh\nwhile :; do :; done\n")
    (path_folder / "gcc").chmod(0o755)
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    gcc = by_name(doctor.examine())["gcc"]
    assert (gcc.present, gcc.version) == (True, None)


def test_espressifs_qemu_is_told_from_debians(path_folder: Path) -> None:
    """Both have the same program names; only the list of machines tells whether a real image can boot."""
    program(path_folder, "qemu-system-xtensa", "Supported machines are:\nsim    sim machine (default)")
    program(path_folder, "qemu-system-riscv32", "Supported machines are:\nesp32c3   Espressif ESP32-C3 machine")
    found = by_name(doctor.examine())
    assert not found["qemu-system-xtensa -machine esp32"].present
    assert found["qemu-system-riscv32 -machine esp32c3"].present


def test_a_board_on_usb_is_named_and_the_mainboards_port_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ports with a USB vendor id can be a board."""
    ports = [
        SimpleNamespace(device="/dev/ttyS0", vid=None),
        SimpleNamespace(device="/dev/ttyUSB0", vid=0x10C4),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    board = by_name(doctor.examine())["board on a serial port"]
    assert (board.present, board.version) == (True, "/dev/ttyUSB0")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Findings are data; only the command line prints."""
    doctor.examine()
    assert capfd.readouterr() == ("", "")
