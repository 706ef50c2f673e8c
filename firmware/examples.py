"""Examples for firmware people, written beside every project: plain C, an ESP-IDF component, an Arduino library.

Behind a front end they push raw samples, or show frames, and print decisions; without one they call the network once a
second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.firmware.generated import GeneratedModel, StreamShape

TEMPLATES = Path(__file__).parent / "templates"
FOLDERS = ("examples", "libraries")
MOST_VALUES = 1 << 15
"""Of a recording in the examples, unless some decisions need more: 64 KiB of a device's flash."""
MOST_INPUTS = 8

# Counts of an MPU-6050 in one unit, at its ranges 0 to 3 (datasheet PS-MPU-6000A, 6.1 and 6.2).
G = 9.80665
ACCELERATION: dict[str, tuple[float, ...]] = {"g": (16384.0, 8192.0, 4096.0, 2048.0)}
ACCELERATION["m/s^2"] = tuple(counts / G for counts in ACCELERATION["g"])
ROTATION: dict[str, tuple[float, ...]] = {"degrees/s": (131.0, 65.5, 32.8, 16.4)}
ROTATION["rad/s"] = tuple(counts * 180 / math.pi for counts in ROTATION["degrees/s"])
CLOCK_HZ = 1000
RATE_TOLERANCE = 0.02
FIFO_BYTES = 1024
FILTERS = {6: 5, 5: 10, 4: 21, 3: 44, 2: 94, 1: 184}
"""DLPF_CFG -> bandwidth of acceleration, Hz."""

NO_CONTRACTION = """#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off") /* an Arduino library has no flags of its own; a fused product rounds once */
#endif
"""


@dataclass(frozen=True)
class Range:
    """One of the sensor's settings: `counts` in one `unit`."""

    number: int
    unit: str
    counts: float


def example_files(model: GeneratedModel, samples: npt.NDArray[np.int8], headers: Mapping[int, str]) -> dict[str, str]:
    """Path below the project -> text. `samples`: as for the harness.

    `headers`: number of embedded samples -> `sec_model.h`, for 0 and for as many as `shown_inputs` takes.
    """
    n = model.name
    library = f"libraries/{n}"
    files = {f"{library}/{name}": text for name, text in _library(model).items()}
    if model.stream is None:
        if model.picture is None:
            idf, sketch = (_template(f"src/main_{kind}") for kind in ("idf.c", "arduino.cpp"))
            main = _network_main(model)
        else:
            camera = {"CAMERA": _template("examples/camera.c")}
            idf, sketch = (_filled(name, model, camera) for name in ("idf_picture.c", "arduino_picture.cpp"))
            main = _picture_main(model)
        beside = {"sec_model.h": headers[0]}
        shown = shown_inputs(samples)
        plain = {"main.c": main, "sec_model.h": headers[len(shown)], "samples.c": samples_source(shown)}
        files["src/sec_model.h"] = headers[0]
    else:
        idf, sketch = (_stream_main(model, model.stream, kind) for kind in ("idf", "arduino"))
        recording = _recording(model.stream, samples)
        beside = {} if _has_sensor(model.stream) else recording
        sources = " ".join(plain_sources(model))
        values = {"SENSOR": _recorded(model, model.stream), "PLAIN": _decisions(), "SOURCES": sources}
        plain = {"main.c": _filled("plain.c", model, values), **recording}
    files |= {f"examples/plain/{name}": text for name, text in plain.items()}
    files |= {"src/main_idf.c": idf, "src/main_arduino.cpp": sketch, "src/CMakeLists.txt": _main_component(model)}
    files["examples/esp-idf/main/main.c"] = idf
    files |= {f"{library}/examples/{n}/{name}": text for name, text in {f"{n}.ino": sketch, **beside}.items()}
    files |= {f"examples/esp-idf/main/{name}": text for name, text in beside.items() if model.stream is None}
    recorded = "recording.c" in beside
    files["examples/esp-idf/main/CMakeLists.txt"] = (
        f'{I2C}idf_component_register(SRCS {RECORDED_SOURCE * recorded}"main.c"'
        f' INCLUDE_DIRS "."{RECORDED_FOLDER * recorded} PRIV_REQUIRES {n} ${{i2c}})\n'
    )
    files["examples/esp-idf/CMakeLists.txt"] = (
        "cmake_minimum_required(VERSION 3.16)\n"
        'set(EXTRA_COMPONENT_DIRS "../../libraries")\n'
        "include($ENV{IDF_PATH}/tools/cmake/project.cmake)\n"
        f"project({n}_example)\n"
    )
    return files


def shown_inputs(samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Of a network without a front end: the first few of the harness's inputs."""
    return samples[: max(1, min(MOST_INPUTS, 2 * MOST_VALUES // samples.shape[1]))]


def samples_source(samples: npt.NDArray[np.int8]) -> str:
    """The C file that holds inputs; `sec_model.h` declares them."""
    lines = [
        "/* Generated: inputs, one row a sample. */",
        '#include "sec_model.h"',
        "const int8_t sec_samples[SEC_SAMPLES][SEC_INPUT_BYTES] __attribute__((aligned(16))) = {",
    ]
    for row in samples:
        lines.append("{")
        lines += [",".join(map(str, row[at : at + 32].tolist())) + "," for at in range(0, len(row), 32)]
        lines.append("},")
    return "\n".join([*lines, "};", ""])


def plain_sources(model: GeneratedModel) -> list[str]:
    """The C files of the plain example, below the project."""
    embedded = "samples" if model.stream is None else "recording"
    model_files = [f"model/{name}" for name in sorted(model.files) if name.endswith(".c")]
    return ["examples/plain/main.c", f"examples/plain/{embedded}.c", *model_files]


RECORDED_SOURCE, RECORDED_FOLDER = '"../../plain/recording.c" ', ' "../../plain"'
I2C = """if("${IDF_VERSION_MAJOR}.${IDF_VERSION_MINOR}" VERSION_LESS "5.3")
    set(i2c driver)
else()
    set(i2c esp_driver_i2c)
endif()
"""


def _main_component(model: GeneratedModel) -> str:
    """`src/CMakeLists.txt`: what PlatformIO's ESP-IDF builds of main and model."""
    sources = [f"../model/{name}" for name in model.files if name.endswith(".c") and "/" not in name]
    folders = '"." "../model"'
    if model.stream is not None and not _has_sensor(model.stream):
        sources.append("../examples/plain/recording.c")
        folders += ' "../examples/plain"'
    listed = " ".join(f'"{name}"' for name in sorted(sources))
    return (
        "# The component that ESP-IDF builds (environments esp32-idf and esp32c3-idf).\n"
        f"{I2C}"
        f'idf_component_register(SRCS "main_idf.c" {listed} INCLUDE_DIRS {folders} PRIV_REQUIRES ${{i2c}})\n'
        "target_compile_options(${COMPONENT_LIB} PRIVATE -ffp-contract=off)\n"
    )


def _library(model: GeneratedModel) -> dict[str, str]:
    """The model once more, as one folder to be copied elsewhere: ESP-IDF's component and Arduino's library at once."""
    n = model.name
    files = {f"src/{name}": NO_CONTRACTION + t if name.endswith(".c") else t for name, t in model.files.items()}
    listed = " ".join(f'"src/{name}"' for name in sorted(model.files) if name.endswith(".c"))
    what = f"The network {n}, compiled by secateur"
    files["CMakeLists.txt"] = (
        "# ESP-IDF's: the folder's name is the component's\n"
        f'idf_component_register(SRCS {listed} INCLUDE_DIRS "src")\n'
        "# a fused multiply-add rounds once instead of twice: another result than the one that was proven\n"
        "target_compile_options(${COMPONENT_LIB} PRIVATE -ffp-contract=off)\n"
    )
    files["idf_component.yml"] = f'version: "1.0.0"\ndescription: "{what}"\ndependencies:\n  idf: ">=5.2"\n'
    properties = {
        "name": n, "version": "1.0.0", "author": "secateur", "maintainer": "secateur", "sentence": f"{what}.",
        "paragraph": "Generated C99 without heap; one .c file of calls, one of weights, kernels as headers.",
        "category": "Data Processing", "url": "", "architectures": "*", "includes": f"{n}.h",
    }  # fmt: skip
    files["library.properties"] = "".join(f"{key}={value}\n" for key, value in properties.items())
    return files


def _network_main(model: GeneratedModel) -> str:
    """The plain example without a front end: the first output's highest value of each embedded input."""
    out = model.outputs[0].ctype if model.outputs else "int8_t"
    end = model.outputs[1].offset if len(model.outputs) > 1 else model.output_bytes
    real = out == "float"
    upper = model.name.upper()
    values = {
        "PLAIN": _template("examples/plain_lines.c") + "\n" + _template(f"examples/plain_{REAL[real]}.c"),
        "TYPE": out, "OUTPUT_BYTES": str(end), "ADD": f"add_{REAL[real]}",
        "VALUE_TEXT": "as it is" if real else "real = SCALE * (value - ZERO_POINT), both in the header",
        "LABEL": LABEL.replace("@UPPER@", upper).replace("@NAME@", model.name),
        "SOURCES": " ".join(plain_sources(model)),
    }  # fmt: skip
    return _filled("network.c", model, values)


def _picture_main(model: GeneratedModel) -> str:
    """The plain example behind a front end of pictures: the decision on each embedded frame."""
    return _filled("picture.c", model, {"PLAIN": _decisions(), "SOURCES": " ".join(plain_sources(model))})


def _decisions() -> str:
    """What the plain examples print decisions with."""
    return "\n".join(_template(f"examples/plain_{part}.c") for part in ("lines", "real", "decision"))


REAL = {True: "real", False: "integer"}
LABEL = """#if @UPPER@_LABELS
    if (best < @UPPER@_LABELS) {
        add_text(@NAME@_labels[best]);
    } else {
        add_number((uint32_t)best, 1);
    }
#else
    add_number((uint32_t)best, 1);
#endif"""


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _filled(name: str, model: GeneratedModel, values: Mapping[str, str]) -> str:
    text, memory = _template(f"examples/{name}"), _template("examples/board_memory.c")
    names = {"NAME": model.name, "UPPER": model.name.upper(), "HEADER": f"{model.name}.h"}
    for key, value in {**values, "MEMORY": memory, **names}.items():
        text = text.replace(f"@{key}@", value)
    return text


def _recorded(model: GeneratedModel, stream: StreamShape) -> str:
    channels = "one value" if stream.channels == 1 else f"{stream.channels} values a sample"
    return _filled("recorded.c", model, {"CHANNELS_TEXT": channels, "RATE": f"{stream.rate_hz:g}"})


def _recording(stream: StreamShape, samples: npt.NDArray[np.int8]) -> dict[str, str]:
    """The stream of the compile-time proof, or its beginning, a row a sample."""
    rows = np.ascontiguousarray(samples).view("<i2").reshape(-1, stream.channels)
    rows = rows[: max(stream.some_decisions, MOST_VALUES // stream.channels)]
    per_line = max(1, 24 // stream.channels)
    cells = ["{" + ", ".join(map(str, row)) + "}" for row in rows.tolist()]
    lines = [", ".join(cells[at : at + per_line]) + "," for at in range(0, len(cells), per_line)]
    return {
        "recording.h": (
            "/* Generated: raw samples as a sensor gives them. */\n#ifndef RECORDING_H\n#define RECORDING_H\n"
            "#include <stdint.h>\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
            f"#define RECORDING_SAMPLES {len(rows)}\n"
            f"extern const int16_t recording[RECORDING_SAMPLES][{stream.channels}];\n"
            "#ifdef __cplusplus\n}\n#endif\n#endif\n"
        ),
        "recording.c": "\n".join([
            '#include "recording.h"', "",
            f"const int16_t recording[RECORDING_SAMPLES][{stream.channels}] = {{", *lines, "};", "",
        ]),
    }  # fmt: skip


def _has_sensor(stream: StreamShape) -> bool:
    """Whether the boards' examples can read an MPU-6050: acceleration, or acceleration and rotation, at its rates."""
    if stream.channels not in (3, 6) or not CLOCK_HZ / 256 <= stream.rate_hz <= CLOCK_HZ:
        return False
    return abs(_sensor_hz(stream) / stream.rate_hz - 1) <= RATE_TOLERANCE


def _sensor_hz(stream: StreamShape) -> float:
    """The sensor's rate: its clock by a whole number."""
    return CLOCK_HZ / round(CLOCK_HZ / stream.rate_hz)


def _stream_main(model: GeneratedModel, stream: StreamShape, kind: str) -> str:
    suffix = "c" if kind == "idf" else "cpp"
    if _has_sensor(stream):
        given, wanted = f"{_sensor_hz(stream):g}", f"{stream.rate_hz:g}"
        source = f"samples of an MPU-6050 at {given} Hz" + f" (trained on {wanted} Hz)" * (given != wanted)
        sensor = _template(f"examples/{kind}_bus.{suffix}") + _filled("mpu6050.c", model, _mpu6050(stream))
    else:
        source = "a recording"
        sensor = _template("examples/recorded_board.c") + _recorded(model, stream)
    return _filled(f"{kind}_stream.{suffix}", model, {"SENSOR": sensor, "SOURCE_TEXT": source})


def _mpu6050(stream: StreamShape) -> dict[str, str]:
    """Ranges whose counts are nearest to those of the training, and the factors that are left."""
    wanted = stream.counts_per_unit * (stream.channels // len(stream.counts_per_unit))
    acceleration, rotation = nearest(wanted[0], ACCELERATION), nearest(wanted[-1], ROTATION)
    given = [acceleration.counts] * 3 + ([rotation.counts] * 3 if stream.channels == 6 else [])
    passing = [number for number, hz in FILTERS.items() if 2 * hz <= stream.rate_hz] or [6]
    said = [f"acceleration {wanted[0]:g} a {acceleration.unit}"]
    said += [f"rotation {wanted[-1]:g} a {rotation.unit}"] if stream.channels == 6 else []
    text = f"Counts of the training, taken for: {', '.join(said)}. If the units were others, change range and factor."
    return {
        "SENSOR_TEXT": text,
        "SILENT_MS": str(max(100, math.ceil(8000 / stream.rate_hz))),
        "FIFO_MS": str(int(1000 * (FIFO_BYTES // (2 * stream.channels)) / _sensor_hz(stream))),
        "FACTORS": ", ".join(str(round(65536 * w / g)) for w, g in zip(wanted, given, strict=True)),
        "FIFO_EN": "0x78" if stream.channels == 6 else "0x08",
        "DIVIDER": str(round(CLOCK_HZ / stream.rate_hz) - 1), "SENSOR_RATE": f"{_sensor_hz(stream):g}",
        "FILTER": str(passing[-1]), "BANDWIDTH": str(FILTERS[passing[-1]]),
        "GYRO_RANGE": str(rotation.number if stream.channels == 6 else 0), "ACCEL_RANGE": str(acceleration.number),
    }  # fmt: skip


def nearest(counts: float, ranges: Mapping[str, tuple[float, ...]]) -> Range:
    """The range whose counts in a unit are nearest by ratio.

    >>> nearest(1000, ROTATION)
    Range(number=3, unit='rad/s', counts=939.650784067453)
    """
    known = [Range(i, unit, c) for unit, values in ranges.items() for i, c in enumerate(values)]
    return min(known, key=lambda r: abs(math.log(counts / r.counts)))
