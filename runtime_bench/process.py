"""Run a program that reports through its output, with a time limit."""

from __future__ import annotations

import subprocess

from secateur.errors import ToolError


def output_of(command: list[str], source: str, timeout_s: float) -> tuple[str, int]:
    """Standard output and exit status. Raises ToolError after `timeout_s`, saying what came until then."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode(errors="replace").splitlines()
        last = repr(lines[-1][:80]) if lines else "none"
        raise ToolError(
            f"{source}: no end after {timeout_s:g} s, {len(lines)} lines of output, last: {last}; raise the time limit"
        ) from error
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0 and "@sec" not in text:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ToolError(f"{source}: {command[0]} ended with {done.returncode}: {said[-1] if said else 'no output'}")
    return text, done.returncode
