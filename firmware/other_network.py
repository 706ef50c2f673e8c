"""One network of TFLite Micro, as the static library that `templates/other_stack/sec_other.h` asks for.

Compiled from the user's trees: the interpreter, the kernels of the network's operators (with CMSIS-NN's tree: those
that call it, and all of CMSIS-NN), and our `templates/other_stack/tflm.cc` over them. The linker takes what is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from secateur.firmware.other_objects import Job, archive, compile_all
from secateur.firmware.other_stack import INTERFACE, TEMPLATES
from secateur.firmware.other_toolchain import Toolchain
from secateur.firmware.other_trees import CmsisNn, Operator, Tflm

VARIANT = "cmsis_nn"
DEFINES = (
    "-DTF_LITE_STATIC_MEMORY",
    "-DTF_LITE_MCU_DEBUG_LOG",
    "-DTF_LITE_STRIP_ERROR_STRINGS",  # texts that our firmware has none of
    "-DTF_LITE_DISABLE_X86_NEON",
    "-DKERNELS_OPTIMIZED_FOR_SPEED",
    "-DFLATBUFFERS_LOCALE_INDEPENDENT=0",
    "-DNDEBUG",
)
FOREIGN = "-w"  # warnings in others' sources are not ours to mend
OURS = ("-Wall", "-Wextra", "-Werror")
BYTES_PER_LINE = 32


def build_library(
    to: Path,
    toolchain: Toolchain,
    tflm: Tflm,
    cmsis: CmsisNn | None,
    content: bytes,
    operators: Sequence[Operator],
    variables: int,
    folder: Path,
    what: str,
    tell: Callable[[str], None],
) -> Path:
    """The library in `to`. `content`: the `.tflite` file, with that many variables; `folder`: where objects are kept.

    Raises ToolError when a source does not compile.
    """
    network = _write_network(folder / "networks", content, operators, variables)
    jobs = [*_interpreter_jobs(toolchain, tflm, cmsis, operators), *_network_jobs(toolchain, tflm, cmsis, network)]
    if cmsis is not None:
        jobs += _function_jobs(toolchain, cmsis)
    return archive(toolchain.archiver, compile_all(jobs, folder / "objects", what, tell), to)


def _interpreter_jobs(
    toolchain: Toolchain, tflm: Tflm, cmsis: CmsisNn | None, operators: Sequence[Operator]
) -> list[Job]:
    """The interpreter knows nothing of CMSIS-NN, so that its objects serve both stacks."""
    core = (FOREIGN, *DEFINES, *(f"-I{path}" for path in tflm.includes))
    kernels = (*core, *_cmsis_flags(cmsis, "-I"))
    names = [(name, core) for name in tflm.core]
    names += [(name, kernels) for name in tflm.kernels(operators, VARIANT if cmsis else "")]
    return [_job(toolchain, tflm.root / name, more) for name, more in names]


def _network_jobs(toolchain: Toolchain, tflm: Tflm, cmsis: CmsisNn | None, network: Path) -> list[Job]:
    includes = [part for path in tflm.includes for part in ("-isystem", str(path))]
    main = (*OURS, *DEFINES, f"-I{network}", f"-I{INTERFACE.parent}", *includes, *_cmsis_flags(cmsis, "-isystem"))
    return [_job(toolchain, TEMPLATES / "tflm.cc", main), _job(toolchain, network / "model.c", OURS)]


def _function_jobs(toolchain: Toolchain, cmsis: CmsisNn) -> list[Job]:
    more = (FOREIGN, *(f"-I{path}" for path in cmsis.includes))
    return [_job(toolchain, cmsis.root / name, more) for name in cmsis.sources]


def _cmsis_flags(cmsis: CmsisNn | None, include: str) -> list[str]:
    if cmsis is None:
        return []
    return ["-DCMSIS_NN", *(part for path in cmsis.includes for part in (include, str(path)))]


def _job(toolchain: Toolchain, source: Path, more: Sequence[str]) -> Job:
    return Job(source, toolchain.command(source, *more))


def _write_network(folder: Path, content: bytes, operators: Sequence[Operator], variables: int) -> Path:
    """A folder with the model as a table and the list of its operators; files that are there stay as they are."""
    header = "\n".join(
        [
            "/* Generated: the operators of one network. */",
            "#define OTHER_OPERATORS(X) " + " ".join(f"X({op.name}, {op.add})" for op in operators),
            f"#define OTHER_OPERATOR_COUNT {len(operators)}",
            f"#define OTHER_VARIABLES {variables}",
            "",
        ]
    )
    digest = hashlib.sha256(content + header.encode()).hexdigest()[:16]
    rows = [content[i : i + BYTES_PER_LINE] for i in range(0, len(content), BYTES_PER_LINE)]
    table = [
        "/* Generated: the .tflite file. */",
        "extern const unsigned char other_model[];",
        f"const unsigned char other_model[{len(content)}] __attribute__((aligned(16))) = {{",
        *(",".join(map(str, row)) + "," for row in rows),
        "};",
        "",
    ]
    at = folder / digest
    at.mkdir(parents=True, exist_ok=True)
    for name, text in (("network.h", header), ("model.c", "\n".join(table))):
        path = at / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
    return at
