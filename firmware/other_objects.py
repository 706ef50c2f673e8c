"""Objects of another stack's sources, kept until the command, the compiler, the source or a header of it changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ToolError

JOBS = 2
TOLD_EVERY = 25
COMPILE_TIMEOUT_S = 600.0

ERROR = re.compile(r"\berror: ")
NAME, ESCAPED = re.compile(r"(?:\\.|[^\\\s])+"), re.compile(r"\\([ #])")

Stamp = list[int]
"""Time of the last change, ns, and bytes."""


@dataclass(frozen=True)
class Job:
    """`command`: the compiler and its flags, without the names of source and object."""

    source: Path
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        digest = hashlib.sha256("\0".join((*self.command, str(self.source))).encode()).hexdigest()
        return f"{digest[:16]}-{self.source.stem}"


def compile_all(
    jobs: Sequence[Job], folder: Path, what: str, tell: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """The objects, in the order of the jobs, in `folder`; `what` stands before each line of progress.

    Raises ToolError with the compiler's first error and the log's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamps: dict[str, Stamp | None] = {}
    todo = list(dict.fromkeys(job for job in jobs if not _fresh(job, folder, stamps)))
    if todo:
        tell(f"{what}: {len(todo)} of {len(jobs)} sources to compile")
    with ThreadPoolExecutor(JOBS) as pool:
        running = [pool.submit(_compile, job, folder) for job in todo]
        try:
            for count, done in enumerate(as_completed(running), 1):
                done.result()
                if count % TOLD_EVERY == 0 and count < len(todo):
                    tell(f"{what}: {count} of {len(todo)} compiled")
        finally:
            pool.shutdown(cancel_futures=True)
    return [folder / f"{job.name}.o" for job in jobs]


def archive(archiver: str, objects: Sequence[Path], to: Path) -> Path:
    """A static library."""
    to.unlink(missing_ok=True)
    done = subprocess.run([archiver, "rcs", str(to), *map(str, objects)], capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{archiver}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return to


def _fresh(job: Job, folder: Path, stamps: dict[str, Stamp | None]) -> bool:
    """Whether the object is there and everything that it was made from is as it was."""
    record = folder / f"{job.name}.json"
    try:
        made_from: dict[str, Stamp] = json.loads(record.read_text())
    except (OSError, ValueError):
        return False
    for path in made_from:
        if path not in stamps:
            stamps[path] = _stamp(path)
    same = all(stamps[path] == stamp for path, stamp in made_from.items())
    return same and (folder / f"{job.name}.o").is_file()


def _stamp(path: str) -> Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size]


def _compile(job: Job, folder: Path) -> None:
    target, record, log = (folder / f"{job.name}.{end}" for end in ("o", "json", "log"))
    part, needs = (folder / f"{job.name}.{os.getpid()}.{end}" for end in ("part", "d"))
    record.unlink(missing_ok=True)
    command = [*job.command, "-MD", "-MF", str(needs), "-c", str(job.source), "-o", str(part)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=COMPILE_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{job.source}: {command[0]} took longer than {COMPILE_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        log.write_text(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
        part.unlink(missing_ok=True)
        needs.unlink(missing_ok=True)
        lines = done.stderr.splitlines() or ["no message"]
        first = next((line for line in lines if ERROR.search(line)), lines[0]).removeprefix(f"{job.source}:")
        raise ToolError(f"{job.source} does not compile: {first.strip()} (all of it: {log})")
    log.unlink(missing_ok=True)
    made_from = [str(shutil.which(command[0])), *_prerequisites(needs)]
    stamps = {path: stamp for path in made_from if (stamp := _stamp(path)) is not None}
    part.replace(target)
    record.write_text(json.dumps(stamps))
    needs.unlink()


def _prerequisites(needs: Path) -> list[str]:
    """Of the compiler's rule for make, where spaces and hashes have a backslash before them and a dollar is double."""
    text = needs.read_text(errors="replace").replace("\\\n", " ").replace("$$", "$")
    return [ESCAPED.sub(r"\1", name) for name in NAME.findall(text.partition(": ")[2])]
