"""Run an example's image: what it prints is for people, there is no report to read."""

from __future__ import annotations

from secateur.errors import UserError
from secateur.firmware.image import Image
from secateur.runtime_bench.emulator import MACHINES, text_of
from secateur.runtime_bench.process import output_of


def console(image: Image, timeout_s: float) -> str:
    """What the program prints until it ends.

    Raises UserError where neither this computer nor an emulator runs it, ToolError when it fails or does not end.
    """
    if image.environment == "host":
        text, _ = output_of([str(image.elf)], "host", timeout_s)
        return text
    if image.environment not in MACHINES:
        known = ", ".join(f"{name}-example" for name in ("host", *MACHINES))
        raise UserError(f"{image.environment}: its example runs on the board alone; flash it, or run one of {known}")
    return text_of(image, timeout_s)
