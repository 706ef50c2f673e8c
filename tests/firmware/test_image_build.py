"""Builds with the real compilers: sizes, limits, chip images, and flashing against esptool's protocol."""

import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from c_host import generated, planned
from exported import sample
from tiny_firmware import HIDDEN, INPUTS, OUTPUTS, SOURCE, tiny_model, tiny_samples

from secateur.errors import ToolError
from secateur.firmware import image as image_module
from secateur.firmware.esp import flash_board, merge_flash
from secateur.firmware.image import DoesNotFitLink, build
from secateur.firmware.project import write_project
from secateur.targets.target import find

pytestmark = pytest.mark.emulator

BARE = ("qemu-cortex-m4", "qemu-riscv32", "qemu-xtensa", "esp32", "esp32c3")
WEIGHTS = INPUTS * HIDDEN + HIDDEN * OUTPUTS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("firmware")
    write_project(root, tiny_model(), find("esp32"), tiny_samples())
    return root


@pytest.mark.parametrize("environment", ["host", *BARE])
def test_weights_arena_and_data_are_counted_to_the_byte(project, environment):
    """The tables are known; code is more than nothing and, without the harness, less than 4 KiB."""
    image = build(project, environment)
    assert image.weights_bytes == WEIGHTS
    assert image.arena_bytes == 64
    state = 0 if environment == "host" else 12  # the caller's; the host's sizes are of the model's objects alone
    assert image.data_bytes == 0 and image.bss_bytes == 4 + state
    assert 200 < image.code_bytes < 4096
    assert image.flash_bytes == image.code_bytes + image.weights_bytes + image.data_bytes


@pytest.mark.parametrize("environment", BARE)
def test_labels_are_in_the_flash_that_is_counted(tmp_path, project, environment):
    """The harness prints none, an application does: 100 more characters in one are 100 more bytes."""
    longer = SOURCE.replace('"a"', '"' + 100 * "l" + 'a"')
    write_project(tmp_path, tiny_model(source=longer), find("esp32"), tiny_samples())
    grown = build(tmp_path, environment).code_bytes - build(project, environment).code_bytes
    assert 100 <= grown < 104


@pytest.mark.parametrize("environment", ["qemu-cortex-m4", "esp32", "esp32c3"])
def test_the_number_of_samples_changes_no_size(tmp_path, project, environment):
    """Sample buffers belong to the harness, which is outside of what is counted."""
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples(200))
    few, many = build(project, environment), build(tmp_path, environment)
    assert replace(few, elf=many.elf, binaries=many.binaries, application=many.application) == many


@pytest.mark.parametrize("environment", BARE)
def test_ram_over_the_limit_stops_the_linker_with_the_bytes_over(tmp_path, environment):
    """RAM holds stack, zeroed data (16 with its padding) and arena: 1024 + 16 + 4096 in 4096 is 1040 over."""
    target = replace(find("esp32"), ram_bytes=4096)
    write_project(tmp_path, tiny_model(arena_bytes=4096), target, tiny_samples())
    with pytest.raises(DoesNotFitLink, match="RAM by 1040 bytes") as caught:
        build(tmp_path, environment)
    assert caught.value.overflow_bytes == {"RAM": 1040}
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("environment", BARE)
def test_flash_over_the_limit_stops_the_linker_and_one_byte_less_does_not(tmp_path, environment):
    """The limit is the sum of code and constants, wherever the chip puts each."""
    target = find("esp32")
    write_project(tmp_path, tiny_model(extra_weights=20_000), target, tiny_samples())
    image = build(tmp_path, environment)
    assert image.weights_bytes == WEIGHTS + 20_000
    small = replace(target, flash_bytes=image.flash_bytes - 100)
    write_project(tmp_path, tiny_model(extra_weights=20_000), small, tiny_samples())
    with pytest.raises(DoesNotFitLink) as caught:
        build(tmp_path, environment)
    # sections are aligned in their region, so up to two times 15 bytes may come on top
    assert 100 <= caught.value.overflow_bytes["FLASH"] <= 130
    enough = replace(target, flash_bytes=image.flash_bytes + 32)
    write_project(tmp_path, tiny_model(extra_weights=20_000), enough, tiny_samples())
    assert build(tmp_path, environment).flash_bytes == image.flash_bytes


def test_a_model_too_big_for_the_target_builds_without_limits(tmp_path):
    """So that a baseline can be measured before it is pruned."""
    small = replace(find("qemu-cortex-m4"), ram_bytes=2048)
    write_project(tmp_path, tiny_model(arena_bytes=4096), small, tiny_samples(), limits="none")
    assert build(tmp_path, "qemu-cortex-m4").arena_bytes == 4096


def test_a_project_that_was_moved_builds_again(tmp_path):
    """Nothing in the project holds its own place."""
    write_project(tmp_path / "old", tiny_model(), find("esp32"), tiny_samples())
    first = build(tmp_path / "old", "qemu-riscv32")
    sizes = (first.code_bytes, first.elf.read_bytes())
    (tmp_path / "old").rename(tmp_path / "new harness")
    second = build(tmp_path / "new harness", "qemu-riscv32")
    assert (second.code_bytes, second.elf.read_bytes()) == sizes


def test_optimizing_for_size_and_for_speed_give_different_code(tmp_path):
    """The option reaches the compiler."""
    sizes = {}
    for choice in ("size", "speed"):
        write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples(), optimize=choice)
        sizes[choice] = build(tmp_path, "qemu-cortex-m4").code_bytes
    assert sizes["size"] < sizes["speed"]


def test_a_warning_in_the_generated_code_fails_the_build_with_its_line(tmp_path):
    """-Werror: the promise of clean C is checked on every build."""
    faulty = SOURCE.replace("    calls++;", "    int unused_here;\n    calls++;")
    write_project(tmp_path, tiny_model(source=faulty), find("esp32"), tiny_samples())
    with pytest.raises(ToolError, match=r"host: the build failed: model/tiny.c:\d+.*unused_here"):
        build(tmp_path, "host")


def test_a_missing_compiler_is_named_with_its_package(project, monkeypatch):
    """The next step is in the message."""
    monkeypatch.setattr(image_module.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match=r"xtensa-lx106-elf-gcc is not installed; .*gcc-xtensa-lx106"):
        build(project, "esp32")


@pytest.mark.parametrize(("environment", "chip"), [("esp32", "Chip ID: 0 (ESP32)"), ("esp32c3", "Chip ID: 5")])
def test_esptool_accepts_the_chip_images(project, environment, chip):
    """`esptool image-info` reads them, checksum and hash valid."""
    image = build(project, environment)
    command = [sys.executable, "-m", "esptool", "--chip", environment, "image-info", str(image.application)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert chip in done.stdout
    assert done.stdout.count("(valid)") == 2


def test_esp32_constants_lie_at_the_page_that_the_code_maps(project):
    """The flash offset of the constants is the page number that the start-up code writes into the MMU."""
    image = build(project, "esp32")
    (boot_at, boot), (constants_at, constants) = image.binaries
    assert boot_at == 0x1000 and constants_at == 0x10000
    assert boot_at + boot.stat().st_size <= constants_at
    assert constants.stat().st_size >= WEIGHTS
    flash = merge_flash(image.binaries, image.elf.parent / "merged.bin").read_bytes()
    assert len(flash) == 4 << 20
    assert flash[0x1000] == 0xE9 and flash[0x10000 : 0x10000 + WEIGHTS] == constants.read_bytes()[:WEIGHTS]


def test_esp32c3_image_starts_with_the_direct_boot_words(project):
    """The ROM looks for 0xAEDB041D twice at flash 0."""
    ((offset, path),) = build(project, "esp32c3").binaries
    assert offset == 0 and path.read_bytes()[:8] == bytes.fromhex("1d04dbae") * 2


@pytest.fixture
def mock_chip():
    """Starts esp32-mock-bootloader for a chip and gives its URL."""
    program = shutil.which("esp32-mock-bootloader", path=f"{sys.prefix}/bin") or shutil.which("esp32-mock-bootloader")
    if program is None:
        pytest.skip("esp32-mock-bootloader is not installed (pip install esp32-mock-bootloader)")
    running = []

    def start(chip):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [program, "run", "--chip", chip, "--port", str(port)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(0.3)
        return f"socket://127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("environment", ["esp32", "esp32c3"])
def test_flashing_writes_verifies_and_reads_back(project, mock_chip, environment):
    """Against a program that speaks the chip's boot loader protocol."""
    build(project, environment)
    flash_board(project, environment, mock_chip(environment))


def test_a_corrupted_file_is_refused_before_it_reaches_the_chip(tmp_path, mock_chip):
    """The checksum that was kept at build time decides."""
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    path = build(tmp_path, "esp32").binaries[1][1]
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(ToolError, match=r"constants.bin is not the file that was built .* refused"):
        flash_board(tmp_path, "esp32", "socket://127.0.0.1:1")


def test_flashing_without_a_chip_says_so(project):
    """A tool's failure, with esptool's own words."""
    build(project, "esp32c3")
    with pytest.raises(ToolError, match=r"esp32c3: esptool.* failed"):
        flash_board(project, "esp32c3", "socket://127.0.0.1:1")


@pytest.mark.parametrize("name", ["features", "sec", "class", "string"])
def test_a_model_may_be_called_like_a_header_or_a_keyword(tmp_path, name):
    """The C prefix steps aside, and the model's folder hides no system header."""
    s = sample("mlp")
    model = generated(planned(s.program), name)
    write_project(tmp_path, model, find("host"), s.inputs[:1].reshape(1, -1))
    assert build(tmp_path, "host").weights_bytes > 0
    header = f'#include "{model.name}.h"\nint main() {{ return {model.name.upper()}_OK; }}\n'
    (tmp_path / "main.cpp").write_text(header)
    command = [
        "g++",
        "-std=c++11",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Werror",
        "-fsyntax-only",
        "-iquote",
    ]
    subprocess.run([*command, str(tmp_path / "model"), str(tmp_path / "main.cpp")], check=True)
