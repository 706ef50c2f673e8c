"""What is installed, what is missing, and the command that installs it.

It only looks: nothing is printed, installed or changed. The lists are read where they are made: Python
packages from our own metadata, Debian packages from `firmware/apt-packages.txt`.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources

from packaging.requirements import Requirement

SEGLEARN = "1.2.5"
SECONDS = 10.0  # a program asked for its version answers within milliseconds, or hangs

NEEDED_FOR = {
    "torch": "reading, cutting and training networks",
    "onnx": "ONNX in and out",
    "onnxscript": "ONNX out",
    "onnxruntime": "proving the ONNX file against the network",
    "numpy": "everything",
    "flatbuffers": "TFLite in and out",
    "ai-edge-litert": "TFLite in and out, second golden runtime",
    "tflite-micro": "golden runtime: every output is compared with it",
    "scikit-learn": "scores, zoo:digits",
    "scipy": "designing resampling filters",
    "pillow": "folders of images",
    "h5py": "Keras in",
    "typer": "the command line",
    "rich": "the command line",
    "jinja2": "report.html and the C project",
    "matplotlib": "charts",
    "safetensors": "weights in and out",
    "jsonschema": "checking report.json",
    "packaging": "secateur doctor",
    "platformio": "secateur build",
    "scons": "secateur build",
    "esptool": "ESP32 images, secateur flash",
    "pyserial": "boards on a serial port",
}

ESP_MACHINES = (("qemu-system-xtensa", "esp32"), ("qemu-system-riscv32", "esp32c3"))


@dataclass(frozen=True)
class Finding:
    """One thing looked for. `version`: as it names itself, None when absent or it does not say.

    `install`: the command that brings it, or a sentence where no single command does.
    `optional`: no target needs it for a verified result.
    """

    name: str
    present: bool
    version: str | None
    needed_for: str
    install: str
    optional: bool = False


def examine() -> list[Finding]:
    """Everything secateur can use on this machine, present or not, in the order a user meets it."""
    return [*_python(), *_packages(), _seglearn(), _codecarbon(), *_commands(), *_esp_machines(), *_serial_ports()]


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("python", sys.version_info >= (3, 11), version, "everything", "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    """The requirements of our own metadata that hold on this platform, extras left out."""
    here = {"extra": "", "platform_system": platform.system(), "platform_machine": platform.machine()}
    for line in metadata.requires("secateur") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate(here):
            continue
        version = _installed(wanted.name)
        fits = version is not None and wanted.specifier.contains(version, prereleases=True)
        yield Finding(
            name=wanted.name,
            present=fits,
            version=version,
            needed_for=NEEDED_FOR[wanted.name],
            install=f"pip install '{wanted.name}{wanted.specifier}'",
        )
    if (here["platform_system"], here["platform_machine"]) != ("Linux", "x86_64"):
        yield Finding(
            name="tflite-micro",
            present=_installed("tflite-micro") is not None,
            version=_installed("tflite-micro"),
            needed_for="golden runtime; here our integer reference interpreter stands in",
            install="no wheel for this platform; on Linux x86-64: pip install tflite-micro",
            optional=True,
        )


def _seglearn() -> Finding:
    version = _installed("seglearn")
    return Finding(
        name="seglearn",
        present=version is not None,
        version=version,
        needed_for="--data zoo:watch, the recordings of make demo",
        # Without its requirements, which could replace packages that are pinned here.
        install=f"pip install --no-deps seglearn=={SEGLEARN}",
        optional=True,
    )


def _codecarbon() -> Finding:
    version = _installed("codecarbon")
    return Finding(
        name="codecarbon",
        present=version is not None,
        version=version,
        needed_for="--energy, what search and recovery take",
        install="pip install 'secateur[energy]'",
        optional=True,
    )


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def debian_packages() -> list[tuple[str, str | None, str]]:
    """(package, the command it brings or None for a library, what it is needed for), as shipped."""
    text = (resources.files("secateur.firmware") / "apt-packages.txt").read_text()
    rows = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            package, command, needed_for = (part.strip() for part in line.split("|"))
            rows.append((package, None if command == "-" else command, needed_for))
    return rows


def _commands() -> Iterator[Finding]:
    for package, command, needed_for in debian_packages():
        if command is None:
            version = _debian_version(package)
            if version is None and shutil.which("dpkg-query") is None:
                continue  # a library, on a system whose packages we cannot ask about
            name, present = package, version is not None
        else:
            name, present, version = command, shutil.which(command) is not None, _version(command)
        yield Finding(name, present, version, needed_for, f"apt-get install {package}")


def _debian_version(package: str) -> str | None:
    said = _said(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package])
    status, _, version = said.partition(" ")
    return version if status == "installed" else None


def _version(command: str) -> str | None:
    """The first dotted number after the parentheses, in which distributions name their packages."""
    first = _said([command, "--version"]).partition("\n")[0]
    found = re.search(r"\d+(\.\d+)+", re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)", "", first))
    return found.group() if found else None


def _said(command: list[str]) -> str:
    """What it prints; empty when it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _esp_machines() -> Iterator[Finding]:
    """Debian's QEMU has no ESP machines; Espressif's has, under the same names of programs."""
    for command, machine in ESP_MACHINES:
        listed = [line.split()[0] for line in _said([command, "-machine", "help"]).splitlines() if line.split()]
        present = machine in listed
        yield Finding(
            name=f"{command} -machine {machine}",
            present=present,
            version=_version(command) if present else None,
            needed_for=f"booting the {machine} image itself, beside the emulator of its instruction set",
            install="Espressif's QEMU, first on PATH",
            optional=True,
        )


def _serial_ports() -> Iterator[Finding]:
    ports = []
    if _installed("pyserial") is not None:
        from serial.tools import list_ports

        # Without a vendor id it is a port of the mainboard, not a board on USB.
        ports = sorted(port.device for port in list_ports.comports() if port.vid is not None)
    yield Finding(
        name="board on a serial port",
        present=bool(ports),
        version=", ".join(ports) or None,
        needed_for="secateur flash, run on a board",
        install="connect a board by USB; on Linux the user must be in the group dialout",
        optional=True,
    )
