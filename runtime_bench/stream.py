"""Read a report that comes from something which never ends by itself: a chip, real or emulated."""

from __future__ import annotations

import os
import subprocess
import threading
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
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, bufsize=0) as process:
        watchdog = threading.Timer(timeout_s, process.kill)  # a read on a silent pipe would wait for ever
        watchdog.start()
        try:
            return read_report(lambda: _chunk(process, source, timeout_s), source, timeout_s)
        finally:
            watchdog.cancel()
            process.kill()


def _chunk(process: subprocess.Popen[bytes], source: str, timeout_s: float) -> bytes:
    assert process.stdout is not None and process.stderr is not None
    data = os.read(process.stdout.fileno(), 65536)
    if not data:
        process.wait()
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
        last = said[-1] if said else f"no complete report in {timeout_s:g} s"
        raise ToolError(f"{source}: the emulator ended with status {process.returncode}: {last}")
    return data
