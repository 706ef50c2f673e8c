"""Run the native build: checks every output, says nothing about a device's time or stack."""

from __future__ import annotations

from secateur.errors import ToolError
from secateur.firmware.image import Image
from secateur.runtime_bench.process import output_of
from secateur.runtime_bench.protocol import parse
from secateur.runtime_bench.runner import Run


class HostRunner:
    """Starts the program on this computer."""

    def run(self, image: Image, timeout_s: float) -> Run:
        """Raises ToolError when it crashes or takes longer than `timeout_s`."""
        text, status = output_of([str(image.elf)], image.environment, timeout_s)
        log = parse(text, image.environment)
        if status != 0:
            raise ToolError(f"{image.environment}: the program ended with status {status}")
        return Run(image.environment, "host", log.outputs, None, None, None, None, log.arena_bytes)
