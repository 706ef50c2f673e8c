"""Write the PlatformIO project of a compiled model: it builds by itself, anywhere, to the same bytes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.firmware.board import EXAMPLE, environments, load_board
from secateur.firmware.codegen import STACK_BYTES
from secateur.firmware.examples import FOLDERS, example_files, samples_source, shown_inputs
from secateur.firmware.generated import GeneratedModel, Port
from secateur.targets.target import Target

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
UNLIMITED_STACK_BYTES = 16384
OWNED = ("model", "harness", "ports", "platform", "src", *FOLDERS)

Limits = Literal["target", "none"]
Optimize = Literal["balanced", "size", "speed"]

SLOW_TEXT = """,
              and {}_SLOW_ARENA_BYTES more, which may be slower memory: the second arena of its init"""

VENDOR_BOARDS = {"esp32": "esp32dev", "esp32c3": "esp32-c3-devkitm-1"}


def write_project(
    root: Path,
    model: GeneratedModel,
    target: Target,
    samples: npt.NDArray[np.int8],
    *,
    limits: Limits = "target",
    optimize: Optimize = "balanced",
    stack_bytes: int | None = None,
    build_flags: str = "",
) -> None:
    """Replace the project at `root` (build results under `root/.pio` stay).

    `samples`: (n, input_bytes) int8, n >= 1, embedded in the test harness.
    `limits`: "target" links into the target's RAM and flash, in the emulators too; "none" into all memory
    that the machine has, so that a model that is too big can still be measured.
    `stack_bytes`: RAM reserved for the stack of one inference, a multiple of 16.
    `build_flags`: more of PlatformIO's, in every environment that is ours.
    Raises UserError when samples do not have the model's input size.
    """
    piece = model.piece_bytes[0]
    if samples.dtype != np.int8 or samples.ndim != 2 or samples.shape[1] != piece or not len(samples):
        raise UserError(f"samples are {samples.dtype} {samples.shape}; {model.name} takes int8 (n, {piece}), n >= 1")
    if stack_bytes is None:
        stack_bytes = STACK_BYTES if limits == "target" else UNLIMITED_STACK_BYTES
    if stack_bytes < 64 or stack_bytes % 16:
        raise UserError(f"stack of {stack_bytes} bytes: give a multiple of 16, at least 64")

    for name in OWNED:
        shutil.rmtree(root / name, ignore_errors=True)
    _write(root / "model", model.files)
    _copy(FOLDER / "templates" / "harness", root / "harness")
    _copy(FOLDER / "platformio", root / "platform")
    _copy(FOLDER / "ports", root / "ports")
    _write(
        root,
        {
            "harness/sec_model.h": model_header(model, len(samples)),
            "harness/samples.c": samples_source(samples),
            "platformio.ini": _configuration(target, limits, optimize, stack_bytes, build_flags),
            "README.txt": _read_me(model, target),
            ".gitignore": ".pio/\n",
        },
    )
    _write(root, example_files(model, samples, {n: model_header(model, n) for n in (0, len(shown_inputs(samples)))}))
    log.debug("wrote project %s: %d files of %s, %d samples", root, len(model.files), model.name, len(samples))


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _copy(source: Path, to: Path) -> None:
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), copy_function=shutil.copyfile)


def model_header(model: GeneratedModel, samples: int) -> str:
    """The names that the harness (and the vendor's main) use, whatever the model is called."""
    lower, upper = model.name, model.name.upper()
    lines = [
        "/* Generated: the compiled model under names that do not depend on it. */",
        "#ifndef SEC_MODEL_H",
        "#define SEC_MODEL_H",
        f'#include "{lower}.h"',
        f'#define SEC_NAME "{lower}"',
        f"typedef {lower}_state sec_state;",
        f"#define SEC_INIT {lower}_init",
        f"#define SEC_STATEFUL {int(model.stateful)}",
        *(f"#define SEC_{what} {upper}_{what}" for what in ("ARENA_BYTES", "ARENA_ALIGNMENT")),
        *(f"#define SEC_{w}_BYTES {n}" for w, n in zip(("INPUT", "OUTPUT"), model.piece_bytes, strict=True)),
        f"#define SEC_LAYERS {len(model.layers)}",
        *_invoke(model),
    ]
    if model.slow_arena_bytes:
        lines.append(f"#define SEC_SLOW_ARENA_BYTES {upper}_SLOW_ARENA_BYTES")
    if samples:
        lines += [
            f"#define SEC_SAMPLES {samples}",
            "extern const int8_t sec_samples[SEC_SAMPLES][SEC_INPUT_BYTES];",
        ]
    return "\n".join([*lines, "#endif", ""])


def _invoke(model: GeneratedModel) -> list[str]:
    """SEC_INVOKE takes one piece of int8 each way; other inputs and outputs lie in it at their offsets."""
    name = model.name
    if model.stream is not None:
        text = (FOLDER / "templates" / "harness_stream.h").read_text(encoding="utf-8")
        for key, value in (("NAME_UPPER", name.upper()), ("NAME", name), ("CHUNK", str(model.stream.chunk))):
            text = text.replace(f"@{key}@", value)
        return text.splitlines()
    if model.picture is not None:
        text = (FOLDER / "templates" / "harness_picture.h").read_text(encoding="utf-8")
        return text.replace("@NAME@", name).splitlines()
    if not model.inputs:
        return [f"#define SEC_INVOKE {name}_invoke"]

    def places(ports: tuple[Port, ...], piece: str, const: str) -> list[str]:
        return [f"({const}{p.ctype} *)({const}void *)({piece} + {p.offset})" for p in ports]

    given = (("input", places(model.inputs, "input", "const ")), ("output", places(model.outputs, "output", "")))
    several = max(len(values) for _, values in given) > 1
    lines = [f"static inline int sec_invoke({name}_state *s, const int8_t *input, int8_t *output) {{"]
    if several:
        lines += [f"    const {name}_{what}s {what}s = {{{', '.join(values)}}};" for what, values in given]
        lines += [f"    return {name}_invoke(s, &inputs, &outputs);", "}"]
    else:
        lines += [f"    return {name}_invoke(s, {given[0][1][0]}, {given[1][1][0]});", "}"]
    return [*lines, "#define SEC_INVOKE sec_invoke"]


def _configuration(target: Target, limits: Limits, optimize: Optimize, stack_bytes: int, build_flags: str) -> str:
    lines = [
        f"; A compiled model for {target.name}. `pio run -e ENVIRONMENT` builds one; see README.txt.",
        "[platformio]",
        f"default_envs = {target.environment}",
        "",
        "[secateur]",
        "platform = symlink://./platform",
        "lib_ldf_mode = off",
        f"custom_optimize = {optimize}",
        f"custom_stack_bytes = {stack_bytes}",
        *([f"build_flags = {build_flags}"] if build_flags else []),
    ]
    for environment in environments():
        board = load_board(environment)
        lines += ["", f"[env:{environment}]", "extends = secateur", f"board = {environment}"]
        if board.bare:
            ram, flash = board.ram_bytes, board.flash_bytes
            if limits == "target":
                ram, flash = min(ram, target.ram_bytes), min(flash, target.flash_bytes)
            lines += [f"custom_ram_bytes = {ram}", f"custom_flash_bytes = {flash}"]
        lines += ["", f"[env:{environment}{EXAMPLE}]", f"extends = env:{environment}", "custom_main = examples/plain"]
    lines += ["", "; The vendor's platform, for production: downloads its toolchain on first use."]
    for chip, vendor_board in VENDOR_BOARDS.items():
        for name, framework in (("idf", "espidf"), ("arduino", "arduino")):
            lines += [
                "",
                f"[env:{chip}-{name}]",
                "platform = espressif32",
                f"board = {vendor_board}",
                f"framework = {framework}",
                "lib_ldf_mode = off",
                "monitor_speed = 115200",
                "build_flags = -iquote model -iquote src -iquote examples/plain -ffp-contract=off",
                f"build_src_filter = +<main_{name}.*> +<../examples/plain/recording.c> +<../model/*.c>",
            ]
    return "\n".join([*lines, ""])


def _read_me(model: GeneratedModel, target: Target) -> str:
    template = (FOLDER / "templates" / "README.txt").read_text(encoding="utf-8")
    calls = f"{model.name}_invoke"
    if model.stream is not None or model.picture is not None:
        calls = f"{model.name}_{'push' if model.stream is not None else 'picture'} and {model.name}_poll"
    values = {
        "CALLS": calls,
        "NAME": model.name,
        "UPPER": model.name.upper(),
        "TARGET": target.name,
        "ENV": target.environment,
        "SLOW": SLOW_TEXT.format(model.name.upper()) if model.slow_arena_bytes else "",
    }
    for key, value in values.items():
        template = template.replace(f"@{key}@", value)
    return template
