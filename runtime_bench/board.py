"""Run on a real chip: flash it, reset it, read its report from the serial port. Cycles are the chip's own."""

from __future__ import annotations

import contextlib
import time

import serial

from secateur.errors import ToolError, UserError
from secateur.firmware.board import load_board
from secateur.firmware.esp import flash_board
from secateur.firmware.image import Image
from secateur.runtime_bench.measure import count
from secateur.runtime_bench.protocol import parse
from secateur.runtime_bench.runner import Run
from secateur.runtime_bench.stream import read_report

BAUD = 115200


class BoardRunner:
    """`port`: a serial device (/dev/ttyUSB0, COM3) or a URL that pyserial knows (socket://host:port)."""

    def __init__(self, environment: str, port: str) -> None:
        """Raises UserError when the environment is no chip that can be flashed."""
        if load_board(environment).chip is None:
            raise UserError(f"environment '{environment}' runs on no board; drop --port, or take --target esp32")
        self.environment = environment
        self.port = port

    def run(self, image: Image, timeout_s: float) -> Run:
        """Raises ToolError when flashing fails or no complete report comes within `timeout_s`."""
        # image.elf is <workspace>/build/<environment>/firmware.elf
        workspace = image.elf.parents[2]
        flash_board(workspace.parent, self.environment, self.port, workspace)
        source = f"{self.environment} at {self.port}"
        result = parse(self._listen(source, timeout_s), source)
        counts = count(result)
        return Run(
            environment=self.environment,
            kind="measured",
            outputs=result.outputs,
            instructions=None,
            cycles=counts.total if counts else None,
            layer_instructions=counts.layers if counts else None,
            stack_bytes=result.stack_bytes,
            arena_bytes=result.arena_bytes,
        )

    def _listen(self, source: str, timeout_s: float) -> str:
        try:
            with serial.serial_for_url(self.port, baudrate=BAUD, timeout=0.2) as line:
                self._reset(line)
                return read_report(lambda: bytes(line.read(max(1, line.in_waiting))), source, timeout_s)
        except serial.SerialException as error:
            raise ToolError(f"{source}: {error}; is the port right, and free?") from error

    def _reset(self, line: serial.SerialBase) -> None:
        """Pull the chip's enable line low for a moment, as the usual USB adapters wire it (RTS)."""
        with contextlib.suppress(OSError, serial.SerialException):  # a socket has no such line
            line.dtr = False
            line.rts = True
            time.sleep(0.1)
            line.rts = False
