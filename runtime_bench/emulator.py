"""Run images in QEMU. Instruction counts are exact and the same in every run; cycles are not modelled."""

from __future__ import annotations

import functools
import logging
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction

from secateur.errors import ToolError, UserError
from secateur.firmware.esp import merge_flash
from secateur.firmware.image import Image
from secateur.runtime_bench.measure import count
from secateur.runtime_bench.process import output_of
from secateur.runtime_bench.protocol import parse
from secateur.runtime_bench.runner import Run
from secateur.runtime_bench.stream import read_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """How QEMU runs an environment.

    `ticks_per_instruction`: with -icount shift=S an instruction takes 2^S ns of virtual time, in which the
    port's counter advances so far; instructions come out whole after rounding (the jitter is one tick).
    """

    program: str
    package: str
    options: tuple[str, ...]
    ticks_per_instruction: Fraction


# Extensions that an ESP32-C3 lacks, switched off so that a stray instruction traps here too.
RV32_OFF = ("a", "f", "d", "v", "h", "zba", "zbb", "zbc", "zbs")
# On by default from QEMU 8 (there spelled with a capital), unknown before; QEMU 8 refuses to start with them
# and without a and f.
RV32_OFF_WHERE_KNOWN = ("zawrs", "zfa")
COMMON = ("-display", "none", "-monitor", "none", "-parallel", "none")
STDIO = ("-serial", "stdio")

MACHINES = {
    "qemu-riscv32": Machine(
        "qemu-system-riscv32",
        "qemu-system-misc",
        (
            "-M",
            "virt",
            "-m",
            "128M",
            "-bios",
            "none",
            "-serial",
            "stdio",
            "-icount",
            "shift=0",
        ),
        Fraction(1),  # minstret
    ),
    "qemu-cortex-m4": Machine(
        "qemu-system-arm",
        "qemu-system-arm",
        ("-M", "mps2-an386", *STDIO, "-semihosting", "-icount", "shift=8"),
        Fraction(256 * 25, 1000),  # 25 MHz timer
    ),
    "qemu-xtensa": Machine(
        "qemu-system-xtensa",
        "qemu-system-misc",
        ("-M", "sim", "-m", "128M", "-cpu", "lx106", "-serial", "none", "-semihosting", "-icount", "shift=8"),
        Fraction(256 * 40, 1000),  # CCOUNT at 40 MHz
    ),
}

# Machines of a QEMU with Espressif's chips: environment -> (program, machine).
CHIPS = {"esp32": ("qemu-system-xtensa", "esp32"), "esp32c3": ("qemu-system-riscv32", "esp32c3")}


class EmulatorRunner:
    """Runs an emulator's own environment, or boots a chip's image where QEMU has the chip."""

    def __init__(self, environment: str) -> None:
        """Raises UserError when no emulator runs this environment."""
        if environment not in MACHINES and environment not in CHIPS:
            known = ", ".join([*MACHINES, *CHIPS])
            raise UserError(f"no emulator runs environment '{environment}'. Known: {known}")
        self.environment = environment

    def run(self, image: Image, timeout_s: float) -> Run:
        """Raises ToolError when QEMU is missing or fails, the model traps, or `timeout_s` passes."""
        if self.environment in CHIPS:
            return boot(image, timeout_s)
        machine = MACHINES[self.environment]
        text = text_of(image, timeout_s)
        result = parse(text, self.environment)
        counts = count(result, machine.ticks_per_instruction)
        return Run(
            environment=self.environment,
            kind="emulated",
            outputs=result.outputs,
            instructions=counts.total if counts else None,
            cycles=None,
            layer_instructions=counts.layers if counts else None,
            stack_bytes=result.stack_bytes,
            arena_bytes=result.arena_bytes,
        )


def text_of(image: Image, timeout_s: float) -> str:
    """What an image of an emulator's own environment prints until it ends. Raises ToolError as EmulatorRunner.run."""
    environment, machine = image.environment, MACHINES[image.environment]
    if shutil.which(machine.program) is None:
        raise ToolError(f"{environment}: {machine.program} is not installed; sudo apt-get install {machine.package}")
    cpu = ["-cpu", _rv32imc()] if environment == "qemu-riscv32" else []
    command = [machine.program, *COMMON, *machine.options, *cpu, "-kernel", str(image.elf)]
    text, status = output_of(command, environment, timeout_s)
    if status == TRAPPED:
        raise ToolError(f"{environment}: the firmware trapped (illegal instruction or access, or stack overflow)")
    return text


@functools.cache
def _rv32imc() -> str:
    """The core's name and switches for the QEMU on PATH, which refuses switches that it does not know."""
    command = [MACHINES["qemu-riscv32"].program, "-device", "rv32-riscv-cpu,help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    known = {line.strip().partition("=")[0] for line in done.stdout.splitlines()}
    spelled = [name if name in known else name.capitalize() for name in RV32_OFF_WHERE_KNOWN]
    return ",".join(["rv32", *(f"{name}=off" for name in (*RV32_OFF, *(n for n in spelled if n in known)))])


TRAPPED = 99  # the ports' exception handlers end the run with this status


@functools.cache
def can_boot(environment: str) -> bool:
    """True when a QEMU on PATH has this chip's machine (Espressif's, or a fork; not Debian's)."""
    if environment not in CHIPS:
        return False
    program, machine = CHIPS[environment]
    if shutil.which(program) is None:
        return False
    done = subprocess.run([program, "-M", "help"], capture_output=True, text=True, timeout=30)
    return any(line.split()[:1] == [machine] for line in done.stdout.splitlines())


def boot(image: Image, timeout_s: float) -> Run:
    """Boot a chip's whole flash through its mask ROM and read the harness's report from UART0.

    Outputs and stack only: the machine's cycle counter follows virtual time, not the chip.
    Raises ToolError when no QEMU with the chip is on PATH (`can_boot`), or the report does not come.
    """
    if not can_boot(image.environment):
        program, machine = CHIPS.get(image.environment, ("QEMU", image.environment))
        raise ToolError(
            f"{image.environment}: no {program} with machine '{machine}' on PATH; install Espressif's QEMU, "
            "or run the environment of the same instruction set (qemu-xtensa, qemu-riscv32)"
        )
    program, machine = CHIPS[image.environment]
    flash = merge_flash(image.binaries, image.elf.parent / "flash.bin")
    command = [program, *COMMON, "-M", machine, "-serial", "stdio", "-icount", "shift=4", "-no-reboot"]
    command += ["-drive", f"file={flash},if=mtd,format=raw"]
    result = parse(read_process(command, image.environment, timeout_s), f"{image.environment} in QEMU")
    return Run(image.environment, "emulated", result.outputs, None, None, None, result.stack_bytes, result.arena_bytes)
