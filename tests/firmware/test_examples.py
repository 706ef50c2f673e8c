"""The examples beside a project: plain C prints Python's decisions on this computer and in each emulator; ESP-IDF's and
Arduino's do so with the vendors' headers replaced by stubs, and a sensor that replays a recording."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_host import SANITIZERS, WARNINGS, generated, planned
from small_streams import SMALL, Small, small_stream_program
from tiny_firmware import tiny_model, tiny_samples

from secateur.compiler.stream_proof import completed_at, decisions_of, pieces, samples_of, stream_of, window_inputs
from secateur.errors import UserError
from secateur.firmware.examples import ACCELERATION, ROTATION, nearest, shown_inputs
from secateur.firmware.generated import Port
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program
from secateur.models.reference import run_reference
from secateur.runtime_bench.console import console
from secateur.targets.target import find

STUBS = Path(__file__).parents[1] / "vendor_stubs"
PLATFORM = Path(__file__).parents[2] / "firmware/platformio"
DEGREES = 180 / np.pi
WATCH = Small(
    FrontEnd(50, 6, 20, 7, (4096.0, 4096.0, 4096.0, *[16.4 * DEGREES] * 3)), Decisions(2, 70, 1, ("b",)), (0.1,), (1.5,)
)
ACCELEROMETER = Small(FrontEnd(100, 3, 16, 8, (16384.0,)), Decisions(), (0.0,), (0.5,))
SENSED = {"acceleration and rotation": WATCH, "acceleration": ACCELEROMETER}


def project(small: Small, root: Path) -> Program:
    program = small_stream_program(small)
    front = program.preprocess.front_end
    assert front is not None
    write_project(root, generated(planned(program)), find("esp32"), pieces(program, stream_of(front, ())))
    return program


def expected(program: Program) -> list[str]:
    """The lines that the plain example must print, by the reference interpreter and exact arithmetic."""
    front = program.preprocess.front_end
    assert front is not None
    lines = lines_of(program, samples_of(program, pieces(program, stream_of(front, ()))))
    assert len({line.split(" ", 1)[1] for line in lines}) > 4
    return lines


def lines_of(program: Program, stream: npt.NDArray[np.int16], before: int = 0) -> list[str]:
    """The decisions of a stream that begins after a reset, `before` samples having been counted."""
    front = program.preprocess.front_end
    assert front is not None
    inputs = window_inputs(program, stream)
    told = decisions_of(program, inputs, run_reference(program, inputs))
    lines = []
    sample_time = int(1000.0 * 2**32 / front.rate_hz)
    for last, decision in zip(completed_at(front, len(inputs)), told, strict=True):
        if decision is not None:
            ms = (before + int(last) + 1) * sample_time >> 32
            label = "unknown" if decision.label < 0 else program.labels[decision.label]
            lines.append(f"{ms // 1000}.{ms % 1000:03} {label} {text_of_real(decision.confidence)}")
    return lines


def text_of_real(real: np.float32) -> str:
    """Three places, exactly rounded, half up."""
    thousandths = int(abs(Fraction(float(real))) * 1000 + Fraction(1, 2))
    return f"{'-' if np.signbit(real) else ''}{thousandths // 1000}.{thousandths % 1000:03}"


def compiled(command: list[str | Path]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["six channels, smoothed", "three for two", "log-mel, smoothed", "reconstruction"])
def test_the_command_in_the_plain_example_builds_it_and_it_prints_pythons_decisions(name, tmp_path):
    """One cc command on this computer, strict and under the sanitizers."""
    program = project(SMALL[name], tmp_path)
    assert ran_plain(tmp_path) == expected(program)


@pytest.mark.emulator
@pytest.mark.parametrize("environment", ["host", "qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa"])
def test_the_plain_example_prints_pythons_decisions_in_each_emulator(environment, tmp_path):
    """Built by the project's own environment, outside the device's limits like the harness."""
    program = project(SMALL["six channels, smoothed"], tmp_path)
    image = build(tmp_path, f"{environment}-example")
    assert console(image, 60).splitlines() == expected(program)
    assert image.arena_bytes == generated(planned(program)).arena_bytes


@pytest.mark.emulator
@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
def test_the_plain_example_builds_for_a_chip_and_says_that_a_board_runs_it(chip, tmp_path):
    """Nothing here can show its lines."""
    project(SMALL["one channel"], tmp_path)
    image = build(tmp_path, f"{chip}-example")
    assert image.binaries
    with pytest.raises(UserError, match="runs on the board alone"):
        console(image, 60)


@pytest.mark.emulator
def test_the_plain_examples_time_goes_on_after_2_to_the_32_ms(tmp_path):
    """49.7 days; here a sample is 14 hours, so that the recording is longer."""
    program = project(replace(SMALL["one channel"], front=replace(SMALL["one channel"].front, rate_hz=2e-5)), tmp_path)
    lines = expected(program)
    assert float(lines[-1].split()[0]) > 2**32 / 1000
    assert ran_plain(tmp_path) == lines


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
def test_the_boards_time_goes_on_after_2_to_the_32_samples(kind, tmp_path):
    """74.6 hours of sound at 16 kHz; the count begins just below."""
    program = project(SMALL["log-mel, smoothed"], tmp_path)
    below = 2**32 - 1000
    main = tmp_path / BOARDS[kind][0]
    text, found = re.subn(r"_t samples(?: = 0)?;", f"_t samples = {below}u;", main.read_text())
    assert found == 1
    main.write_text(text)
    front = program.preprocess.front_end
    assert front is not None
    stream = samples_of(program, pieces(program, stream_of(front, ())))
    truth = [values(line)[0] for line in lines_of(program, stream, below)]
    assert truth[0] < 2**32 / front.rate_hz < truth[-1]
    assert [values(line)[0] for line in boards_main(tmp_path, kind)[:-1]] == [
        pytest.approx(t, abs=0.002) for t in truth
    ]


BOARDS = {
    "esp-idf": ("examples/esp-idf/main/main.c", ["gcc", "-std=c99"], "run.c"),
    "arduino": ("libraries/net/examples/net/net.ino", ["g++", "-std=c++11", "-x", "c++"], "run.cpp"),
}


def boards_main(root: Path, kind: str, *defines: str) -> list[str]:
    """What the example of ESP-IDF or Arduino prints, its component or library beside it, as the vendor sees it."""
    main, compiler, glue = BOARDS[kind]
    library = root / "libraries/net/src"
    strict = ["-Wall", "-Wextra", "-Werror", "-O1", *SANITIZERS, *defines]
    paths = ["-I", library, "-I", STUBS / kind, "-I", STUBS, "-I", root / "examples/plain"]
    files = [*sorted(library.glob("*.c")), root / "examples/plain/recording.c"]
    objects = []
    for at, source in enumerate(files):
        objects.append(root / f"part{at}.o")
        compiled(["gcc", "-std=gnu17", *strict, "-I", library, "-c", source, "-o", objects[-1]])
    for source in (root / main, STUBS / kind / glue):
        objects.append(root / f"main{len(objects)}.o")
        compiled([*compiler, *strict, *paths, "-c", source, "-o", objects[-1]])
    compiled(["g++", *SANITIZERS, *map(str, objects), "-o", str(root / "run")])
    done = subprocess.run([root / "run"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[:3000]
    return done.stdout.splitlines()


def values(line: str) -> tuple[float, str, float]:
    seconds, label, confidence = line.split()
    return float(seconds), label, float(confidence)


def assert_told(said: list[str], truth: list[str]) -> None:
    """printf rounds the last place otherwise than the plain example."""
    assert len(said) == len(truth)
    for line, wanted in zip(said, truth, strict=True):
        assert values(line) == (values(wanted)[0], values(wanted)[1], pytest.approx(values(wanted)[2], abs=0.00101))


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
@pytest.mark.parametrize("name", sorted(SENSED))
def test_the_boards_examples_read_the_sensor_and_print_pythons_decisions(name, kind, tmp_path):
    """Every sample arrives, with its sign and in its place; ranges, rate and filter are those of the training."""
    program = project(SENSED[name], tmp_path)
    *said, setup = boards_main(tmp_path, kind)
    setups = {"acceleration and rotation": "divider 19 filter 4 gyro 24 accel 16",
              "acceleration": "divider 9 filter 3 gyro 0 accel 0"}  # fmt: skip
    assert setup == setups[name]
    assert_told(said, expected(program))


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
def test_another_sensor_and_lost_samples_are_told(kind, tmp_path):
    """WHO_AM_I decides before anything is read; a FIFO that ran over begins anew, and so does the window."""
    project(WATCH, tmp_path)
    stopped = boards_main(tmp_path, kind, "-DWHO=0x70")[0]
    assert stopped == "net: stopped, error -2"
    assert boards_main(tmp_path, kind, "-DBURST=86")[0] == "samples lost"


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
@pytest.mark.parametrize(
    ("defines", "read", "again"),
    [
        (["-DFAIL_AT=40"], 39, 45),  # of samples 39 to 41, and 42 to 44 of the wait
        (["-DPOWER_LOST_AT=40"], 40, 42),
        (["-DPOWER_LOST_AT=40", "-DUNANSWERED=40"], 40, 42),
    ],
    ids=["a burst fails in the middle", "it sleeps", "it answers some of the set-up"],
)
def test_a_sensor_that_failed_is_set_up_anew_before_anything_is_read(defines, read, again, kind, tmp_path):
    """The decisions are those of two streams, one before the gap, one after it; the bus is made once."""
    program = project(WATCH, tmp_path)
    front = program.preprocess.front_end
    assert front is not None
    stream = samples_of(program, pieces(program, stream_of(front, ())))
    before, after = lines_of(program, stream[:read]), lines_of(program, stream[again:], read)
    assert before and after
    *said, setup = boards_main(tmp_path, kind, *defines)
    silence = [line for line in said if line == "the sensor does not answer"]
    assert len(silence) >= 1 + ("-DUNANSWERED=40" in defines)
    assert said[len(before) :][: len(silence)] == silence
    assert_told([line for line in said if line not in silence], before + after)
    assert setup == "divider 19 filter 4 gyro 24 accel 16"


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
@pytest.mark.parametrize("name", sorted(SENSED))
def test_a_sensor_at_its_own_pace_is_not_taken_for_silent(name, kind, tmp_path):
    """Seven samples every seven periods: eight would be too many."""
    program = project(SENSED[name], tmp_path)
    assert program.preprocess.front_end is not None
    period_ms = 1000 // int(program.preprocess.front_end.rate_hz)
    waits = 7 * period_ms // {"esp-idf": 10, "arduino": 1}[kind]
    *said, _ = boards_main(tmp_path, kind, "-DBURST=7", f"-DEVERY={waits}")
    assert_told(said, expected(program))


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
def test_without_a_sensor_that_fits_the_boards_examples_replay_the_recording(kind, tmp_path):
    """One channel of sound, say: the reader replaces read_sensor."""
    program = project(SMALL["log-mel, smoothed"], tmp_path)
    recording = (tmp_path / "examples/plain/recording.c").read_text()
    if kind == "arduino":
        assert (tmp_path / "libraries/net/examples/net/recording.c").read_text() == recording
    else:
        for built, folder in (("examples/esp-idf/main", "../../plain"), ("src", "../examples/plain")):
            listed = (tmp_path / built / "CMakeLists.txt").read_text()
            assert f'"{folder}/recording.c"' in listed and f' "{folder}" PRIV_REQUIRES' in listed
            assert (tmp_path / built / folder / "recording.c").is_file()
    *said, _ = boards_main(tmp_path, kind)
    assert [values(line)[:2] for line in said] == [values(line)[:2] for line in expected(program)]


@pytest.mark.parametrize(
    ("rate_hz", "source"),
    [
        (50, "samples of an MPU-6050 at 50 Hz"), (500, "samples of an MPU-6050 at 500 Hz"),
        (1000 / 3, "samples of an MPU-6050 at 333.333 Hz"),
        (52, "samples of an MPU-6050 at 52.6316 Hz (trained on 52 Hz)"),
        (26, "samples of an MPU-6050 at 26.3158 Hz (trained on 26 Hz)"),
        (400, "a recording"), (416, "a recording"), (104, "a recording"), (3.9, "a recording"), (1001, "a recording"),
    ],
)  # fmt: skip
def test_the_sensor_is_read_where_its_clock_has_a_rate_within_two_percent(rate_hz, source, tmp_path):
    """1000 Hz by a whole number; another rate is told, a wrong one is not taken."""
    project(replace(ACCELEROMETER, front=replace(ACCELEROMETER.front, rate_hz=rate_hz)), tmp_path)
    for main in ("src/main_idf.c", "src/main_arduino.cpp"):
        text = (tmp_path / main).read_text()
        assert (
            text.split("\n", 1)[0].split(": ", 1)[1]
            == f'{source} in, a line "time label confidence" for each decision out. */'
        )
        assert ("MPU_SMPLRT_DIV" in text) == (source != "a recording")


@pytest.mark.emulator
@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
@pytest.mark.parametrize("name", ["front end", "none"])
def test_the_mains_of_the_vendors_platforms_compile_against_their_headers(name, kind, tmp_path):
    """PlatformIO's environments esp32-idf and esp32-arduino take src/; the component's example has the same text."""
    if name == "none":
        write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    else:
        project(WATCH, tmp_path)
    model = "net" if name == "front end" else "tiny"
    header = tmp_path / f"libraries/{model}/src"
    texts = {
        "esp-idf": [tmp_path / "src/main_idf.c", tmp_path / "examples/esp-idf/main/main.c"],
        "arduino": [tmp_path / "src/main_arduino.cpp", tmp_path / f"libraries/{model}/examples/{model}/{model}.ino"],
    }[kind]
    assert texts[0].read_text() == texts[1].read_text()
    compiler = ["g++", "-std=c++11", "-x", "c++"] if kind == "arduino" else ["gcc", "-std=c99"]
    for text in texts:
        quoted = ["-iquote", str(tmp_path / "model"), "-iquote", str(tmp_path / "src")]
        compiled([*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(STUBS / kind), "-I", str(header),
                  *quoted, str(text)])  # fmt: skip


@pytest.mark.emulator
@pytest.mark.parametrize("chip", ["esp32", "esp32c3"])
@pytest.mark.parametrize("name", ["sensor", "recording", "no front end"])
def test_the_chips_compilers_take_component_library_and_their_examples(name, chip, tmp_path):
    """Debian's cross compilers, the instruction set of the chip, the vendors' headers replaced by stubs; not linked."""
    if name == "no front end":
        network(tmp_path)
    else:
        project(WATCH if name == "sensor" else SMALL["log-mel, smoothed"], tmp_path)
    built = json.loads((PLATFORM / f"boards/{chip}.json").read_text())["build"]
    library, plain = tmp_path / "libraries/net", tmp_path / "examples/plain"
    no_libc = ["-idirafter", STUBS / "no_libc", "-idirafter", PLATFORM.parent / "ports/common/include"]
    strict = [
        *built["machine"],
        "-ffreestanding",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        *no_libc,
        "-c",
        "-o",
        tmp_path / "part.o",
    ]
    for source in sorted((library / "src").glob("*.c")):
        compiled([built["cc"], "-std=gnu17", *strict, "-I", library / "src", source])
    idf, arduino = ([*strict, "-I", library / "src", "-I", STUBS / kind] for kind in ("esp-idf", "arduino"))
    main = tmp_path / "examples/esp-idf/main"
    compiled([built["cc"], "-std=gnu17", f"-DCONFIG_IDF_TARGET_{chip.upper()}", *idf, "-I", plain, main / "main.c"])
    sketch = library / "examples/net"
    plus = built["cc"].removesuffix("gcc") + "g++"
    compiled([plus, "-std=gnu++11", "-x", "c++", *arduino, "-I", sketch, sketch / "net.ino"])


def test_component_and_library_are_one_folder_that_names_every_source(tmp_path):
    """What a build system is told is what lies there: the model's own bytes, once; nothing outside is named."""
    project(WATCH, tmp_path)
    library = tmp_path / "libraries/net"
    listed = re.findall(r'"(src/[^"]+\.c)"', (library / "CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(str(p.relative_to(library)) for p in (library / "src").rglob("*.c"))
    for path in sorted((tmp_path / "model").rglob("*.*")):
        text = (library / "src" / path.relative_to(tmp_path / "model")).read_text()
        assert text.endswith(path.read_text()) and text.startswith("#if defined(__GNUC__)") == (path.suffix == ".c")
    assert not [p for p in library.rglob("*") if p.is_file() and '"../' in p.read_text()]
    properties = dict(line.split("=", 1) for line in (library / "library.properties").read_text().splitlines())
    required = "name version author maintainer sentence paragraph category url architectures"
    assert set(required.split()) <= set(properties)
    assert properties["includes"] == "net.h"


@pytest.mark.emulator
def test_an_arduino_library_forbids_fused_products_in_its_sources(tmp_path):
    """A Cortex-M4 has a fused multiply-add, GCC would use it, and a library cannot pass -ffp-contract=off."""
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    source = (tmp_path / "libraries/tiny/src/tiny.c").read_text()
    pragma = source[: source.index('#include "tiny.h"')]
    product = "float fused(float a, float b, float c);\nfloat fused(float a, float b, float c) { return a * b + c; }\n"
    machine = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-O2", "-S"]
    for text, fused in ((product, True), (pragma + product, False)):
        (tmp_path / "product.c").write_text(text)
        compiled([*machine, str(tmp_path / "product.c"), "-o", str(tmp_path / "product.s")])
        assert ("vfma" in (tmp_path / "product.s").read_text()) == fused


def network(root: Path) -> list[str]:
    """A project without a front end; returns the lines that its plain example must print."""
    program = replace(small_stream_program(SMALL["one channel"]), preprocess=Preprocess())
    samples = np.random.default_rng(5).integers(-128, 128, (12, 16)).astype(np.int8)
    write_project(root, generated(planned(program)), find("esp32"), samples)
    outputs = run_reference(program, samples)[:8]
    return [f"{i}: {program.labels[row.argmax()]} {row.max()}" for i, row in enumerate(outputs)]


@pytest.mark.emulator
@pytest.mark.parametrize("environment", ["host", "qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa"])
def test_without_a_front_end_the_plain_example_calls_the_network_in_each_emulator(environment, tmp_path):
    """Eight embedded inputs, a line each: the class of the highest output, and that output."""
    lines = network(tmp_path)
    assert console(build(tmp_path, f"{environment}-example"), 60).splitlines() == lines
    assert len(lines) == 8 and len({line.split()[1] for line in lines}) > 1


@pytest.mark.emulator
@pytest.mark.parametrize("ctype", ["int16_t", "uint8_t", "int32_t", "float"])
def test_the_plain_example_reads_outputs_of_other_types(ctype, tmp_path):
    """The type is the port's; floats are printed to three places, the second output is no class of the first."""
    dtype = {"int16_t": "<i2", "uint8_t": "u1", "int32_t": "<i4", "float": "<f4"}[ctype]
    given = {"uint8_t": [3, 250, 17, 7, 19], "float": [-30, -250, -3.0625, -7.5, -19]}
    values = np.array(given.get(ctype, [-30, -250, -3, -7, -19]), dtype)
    size = values.nbytes
    model = tiny_model()
    header = model.files["tiny.h"].replace("OUTPUT_BYTES 5", f"OUTPUT_BYTES {size + 16}")
    header = header.replace("const int8_t *input, int8_t *output)", "const tiny_inputs *i, const tiny_outputs *o)")
    types = f"struct {{ const int8_t *x; }} tiny_inputs;\ntypedef struct {{ {ctype} *a; int8_t *b; }} tiny_outputs;\n"
    header = header.replace("int tiny_init", f"typedef {types}int tiny_init")
    source = (
        '#include "tiny.h"\nint tiny_init(tiny_state *s, void *arena) {\n    s->arena = arena;\n    return 0;\n}\n'
        "int tiny_invoke(tiny_state *s, const tiny_inputs *i, const tiny_outputs *o) {\n"
        f"    static const {ctype} values[5] = {{{', '.join(map(repr, values.tolist()))}}};\n"
        "    for (int k = 0; k < 5; k++) o->a[k] = values[k];\n    o->b[0] = i->x[0];\n    return s->arena == 0;\n}\n"
    )
    ports = (Port("a", ctype, 0), Port("b", "int8_t", size))
    files = {"tiny.h": header, "tiny.c": source}
    made = replace(model, files=files, inputs=(Port("x", "int8_t", 0),), outputs=ports, output_bytes=size + 16)
    write_project(tmp_path, made, find("esp32"), tiny_samples(2))
    best = int(values.argmax())
    shown = text_of_real(values[best]) if ctype == "float" else str(values[best])
    assert ran_plain(tmp_path) == [f"{i}: {best} {shown}" for i in range(2)]


def ran_plain(root: Path) -> list[str]:
    """The lines of the plain example, built by the command that it names, strictly and under the sanitizers."""
    found = re.search(r"^ +(cc -O2 .*)$", (root / "examples/plain/main.c").read_text(), re.MULTILINE)
    assert found is not None
    done = subprocess.run([*shlex.split(found[1]), *WARNINGS, *SANITIZERS], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    return subprocess.run([root / "example"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_project_without_examples_says_that_it_is_older(tmp_path):
    """One line, and the next step."""
    network(tmp_path)
    shutil.rmtree(tmp_path / "examples")
    with pytest.raises(UserError, match="run `secateur compile` again"):
        build(tmp_path, "host-example")


def test_the_examples_do_not_swell_the_project(tmp_path):
    """The model's text lies there twice, a long recording is cut, and inputs are the first few."""
    second = Small(FrontEnd(16000, 1, 16000, 8000, (1.0,)))
    program = project(second, tmp_path)
    front = program.preprocess.front_end
    assert front is not None and len(stream_of(front, ())) > 200_000
    assert "#define RECORDING_SAMPLES 48000\n" in (tmp_path / "examples/plain/recording.h").read_text()
    text = {name: sum(p.stat().st_size for p in (tmp_path / name).rglob("*")) for name in ("model", "libraries")}
    recording = (tmp_path / "examples/plain/recording.c").stat().st_size
    assert text["libraries"] < 1.05 * text["model"] + recording + 20_000
    big = np.zeros((3, 40_000), np.int8)
    assert [len(shown_inputs(x)) for x in (tiny_samples(12), tiny_samples(3), big)] == [8, 3, 1]


@pytest.mark.parametrize(
    ("counts", "ranges", "number", "unit"),
    [
        (16384, ACCELERATION, 0, "g"), (2048, ACCELERATION, 3, "g"), (1670.7, ACCELERATION, 0, "m/s^2"),
        (4096, ACCELERATION, 2, "g"), (131, ROTATION, 0, "degrees/s"), (1024, ROTATION, 3, "rad/s"),
    ],
)  # fmt: skip
def test_the_sensors_range_is_the_one_whose_counts_are_nearest(counts, ranges, number, unit):
    """By ratio; the unit follows from it, and the generated text says which was taken."""
    found = nearest(counts, ranges)
    assert (found.number, found.unit) == (number, unit)


def test_counts_between_two_ranges_are_scaled(tmp_path):
    """Trained on 1024 counts a rad/s, the sensor gives 939.65: the factor is their ratio in 1/65536."""
    front = replace(WATCH.front, counts_per_unit=(4096.0,) * 3 + (1024.0,) * 3)
    project(replace(WATCH, front=front), tmp_path)
    text = (tmp_path / "examples/esp-idf/main/main.c").read_text()
    assert "factor[NET_CHANNELS] = {65536, 65536, 65536, 71419, 71419, 71419}" in text
    assert round(65536 * 1024 / (16.4 * DEGREES)) == 71419
