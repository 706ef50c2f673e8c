"""The written project: the same bytes every time, the target's limits in it, refusals of unusable samples."""

import configparser
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_firmware import tiny_model, tiny_samples

from secateur.errors import UserError
from secateur.firmware.board import environments, load_board
from secateur.firmware.project import write_project
from secateur.targets.target import find

EXPECTED = {"host", "qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa", "esp32", "esp32c3"}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def configuration(root: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(root / "platformio.ini")
    return parser


def test_two_writings_have_the_same_bytes_and_name_no_folder_of_this_machine(tmp_path):
    """Reproducible output: nothing depends on when or where the project was written."""
    for name in ("a", "b"):
        write_project(tmp_path / name, tiny_model(), find("esp32"), tiny_samples())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not [n for n, data in contents(tmp_path / "a").items() if str(tmp_path).encode() in data]


def test_writing_again_leaves_no_file_of_the_previous_model_but_keeps_the_builds(tmp_path):
    """A stale C file in model/ would be compiled into the next firmware."""
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    (tmp_path / "model/old.c").write_text("int old;")
    (tmp_path / ".pio").mkdir()
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    assert not (tmp_path / "model/old.c").exists()
    assert (tmp_path / ".pio").exists()


def test_every_environment_is_there_and_the_vendors_too(tmp_path):
    """Environments are named as targets; the vendor's are for production."""
    write_project(tmp_path, tiny_model(), find("esp32"), tiny_samples())
    sections = configuration(tmp_path).sections()
    assert set(environments()) == EXPECTED
    assert {f"env:{e}" for e in EXPECTED} <= set(sections)
    assert {"env:esp32-idf", "env:esp32-arduino", "env:esp32c3-idf"} <= set(sections)


def test_limits_are_the_targets_also_in_the_emulators(tmp_path):
    """A model that does not fit the device must not fit the emulator either."""
    target = find("qemu-cortex-m4")
    write_project(tmp_path, tiny_model(), target, tiny_samples())
    for environment in EXPECTED - {"host"}:
        board, section = load_board(environment), configuration(tmp_path)[f"env:{environment}"]
        assert int(section["custom_ram_bytes"]) == min(target.ram_bytes, board.ram_bytes)
        assert int(section["custom_flash_bytes"]) == min(target.flash_bytes, board.flash_bytes)


def test_without_limits_the_machines_own_memory_is_used(tmp_path):
    """A baseline that is too big can still be measured."""
    write_project(tmp_path, tiny_model(), find("qemu-cortex-m4"), tiny_samples(), limits="none")
    section = configuration(tmp_path)["env:qemu-cortex-m4"]
    assert int(section["custom_ram_bytes"]) == 4 << 20


def test_samples_are_embedded_value_by_value(tmp_path):
    """What the emulator runs is what was asked for, extremes included."""
    samples = tiny_samples(3)
    samples[0, :2] = (-128, 127)
    write_project(tmp_path, tiny_model(), find("host"), samples)
    body = (tmp_path / "harness/samples.c").read_text().split("= {")[1]
    assert [int(v) for v in re.findall(r"-?\d+", body)] == samples.ravel().tolist()


@pytest.mark.parametrize(
    "samples",
    [tiny_samples().astype(np.int16), tiny_samples()[:, 1:], tiny_samples()[0], tiny_samples(0)],
    ids=["type", "size", "rank", "none"],
)
def test_unusable_samples_are_refused_with_both_shapes(tmp_path, samples):
    """One line that says what was given and what the model takes; nothing is written."""
    with pytest.raises(UserError, match=r"tiny takes int8 \(n, 24\)"):
        write_project(tmp_path, tiny_model(), find("host"), samples)
    assert not list(tmp_path.iterdir())


def test_an_unknown_environment_is_refused_with_the_known_ones():
    """The message is the list to choose from."""
    with pytest.raises(UserError, match=r"unknown environment 'avr'.*qemu-riscv32"):
        load_board("avr")
