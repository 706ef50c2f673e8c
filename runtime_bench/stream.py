"""Read a report that comes from something which never ends by itself: a chip, real or emulated."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable

from secateur.errors import ToolError
from secateur.runtime_bench.protocol import finished


def read_report(read: Callable[[], bytes], source: str, timeout_s: float) -> str:
    """Call `read` (short blocking, b"" when nothing came) until the last record is there.

    Raises ToolError after `timeout_s`.
    """
    data = bytearray()
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        chunk = read()
        data += chunk
        if chunk and finished(data.decode(errors="replace")):
            return data.decode(errors="replace")
    last = data.decode(errors="replace").split("\n")[-1][:80]
    raise ToolError(f"{source}: no complete report in {timeout_s:g} s; {len(data)} bytes came, last: {last!r}")


def read_process(command: list[str], source: str, timeout_s: float) -> str:
    """The report on a program's standard output; the program is stopped afterwards."""
    pipe = subprocess.PIPE
    # Standard input stays open and silent: where it ends, UARTs of QEMU's ESP machines drop all that they send.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        try:
            return read_report(lambda: _chunk(process, source), source, timeout_s)
        finally:
            process.kill()


def _chunk(process: subprocess.Popen[bytes], source: str) -> bytes:
    assert process.stdout is not None and process.stderr is not None
    if not select.select([process.stdout], [], [], 0.2)[0]:
        return b""
    data = os.read(process.stdout.fileno(), 65536)
    if not data:
        process.wait()
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
        last = said[-1] if said else "no output"
        raise ToolError(f"{source}: the emulator ended with status {process.returncode}: {last}")
    return data
