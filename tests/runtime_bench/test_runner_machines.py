"""The runners on real builds of a small hand-written model: every back end, every way to fail."""

import stat
import sys

import numpy as np
import pytest
from tiny_firmware import SOURCE, golden, tiny_model, tiny_samples

from secateur.errors import MismatchError, ToolError, UserError
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.runtime_bench import emulator
from secateur.runtime_bench.runner import runner_for
from secateur.targets.target import find

ENDLESS = "calls++;\n    while (calls == 3) (void)*(volatile int *)&calls;"
EMULATORS = ("qemu-cortex-m4", "qemu-riscv32", "qemu-xtensa")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("runners")
    write_project(root, tiny_model(), find("esp32"), tiny_samples(40))
    return {environment: build(root, environment) for environment in ("host", *EMULATORS, "esp32", "esp32c3")}


def changed(tmp_path, environment, old, new, **options):
    """The image of a model whose source differs in one place."""
    assert old in SOURCE
    model = tiny_model(source=SOURCE.replace(old, new))
    write_project(tmp_path, model, find("esp32"), tiny_samples(), **options)
    return build(tmp_path, environment)


@pytest.mark.emulator
@pytest.mark.parametrize("environment", ["host", *EMULATORS])
def test_every_output_of_every_back_end_equals_the_golden(images, environment):
    """40 samples, each of the 200 values."""
    run = runner_for(environment).run(images[environment], 60)
    np.testing.assert_array_equal(run.outputs, golden(tiny_samples(40)))
    assert run.kind == ("host" if environment == "host" else "emulated")
    assert run.cycles is None


@pytest.mark.emulator
@pytest.mark.parametrize("environment", EMULATORS)
def test_counts_and_stack_are_the_same_in_every_run(images, environment):
    """And plausible: layers add up to less than the whole, the larger layer costs more."""
    first, second = (runner_for(environment).run(images[environment], 60) for _ in range(2))
    assert first.instructions == second.instructions
    assert first.layer_instructions == second.layer_instructions
    assert first.stack_bytes == second.stack_bytes
    assert 464 < first.instructions < 100_000
    assert 0.95 * first.instructions < sum(first.layer_instructions) <= first.instructions
    assert first.layer_instructions[0] > 3 * first.layer_instructions[1]
    assert 24 <= first.stack_bytes < 512


@pytest.mark.emulator
@pytest.mark.parametrize("environment", EMULATORS)
def test_known_instructions_more_are_counted_exactly(tmp_path, images, environment):
    """1000 no-operations in a row add 1000 to the count: it is of instructions, and calibrated."""
    nops = 'calls++;\n    __asm__ volatile(".rept 1000\\n nop\\n .endr");'
    before = runner_for(environment).run(images[environment], 60)
    more = runner_for(environment).run(changed(tmp_path, environment, "calls++;", nops), 60)
    eight = runner_for(environment).run(changed(tmp_path, environment, "calls++;", "calls++;"), 60)
    assert more.instructions - eight.instructions == 1000
    assert before.stack_bytes == more.stack_bytes


@pytest.mark.emulator
@pytest.mark.parametrize("environment", EMULATORS)
def test_a_deeper_stack_is_seen_to_the_byte(tmp_path, images, environment):
    """512 bytes more of local array, all touched, make the high water 512 higher."""
    array = "int8_t copy[24 + 512];\n    for (int i = 0; i < 536; i++) ((volatile int8_t *)copy)[i] = 1;"
    before = runner_for(environment).run(images[environment], 60)
    after = runner_for(environment).run(changed(tmp_path, environment, "int8_t copy[24];", array), 60)
    assert after.stack_bytes - before.stack_bytes == 512


@pytest.mark.emulator
@pytest.mark.parametrize("environment", EMULATORS)
def test_a_stack_overflow_is_caught(tmp_path, environment):
    """By the guard words, or (Cortex-M4) by a bus fault: the stack is the lowest thing in RAM."""
    array = "int8_t copy[24 + 1024];\n    for (int i = 0; i < 1048; i++) ((volatile int8_t *)copy)[i] = 1;"
    image = changed(tmp_path, environment, "int8_t copy[24];", array)
    with pytest.raises(ToolError, match=r"stack overflow(ed its 1024 bytes|\))"):
        runner_for(environment).run(image, 60)


@pytest.mark.emulator
@pytest.mark.parametrize("environment", EMULATORS)
def test_a_trap_ends_the_run_at_once(tmp_path, environment):
    """An illegal instruction is not a time-out."""
    # all zeroes are illegal on RISC-V and Xtensa, 0xde00 (udf) on Arm
    word = ".short 0xde00" if environment == "qemu-cortex-m4" else ".byte 0, 0, 0, 0"
    image = changed(tmp_path, environment, "calls++;", f'calls++;\n    __asm__ volatile("{word}");')
    with pytest.raises(ToolError, match="trapped"):
        runner_for(environment).run(image, 20)


@pytest.mark.emulator
@pytest.mark.parametrize("environment", ["host", "qemu-cortex-m4"])
def test_an_endless_model_is_stopped_by_the_time_limit(tmp_path, environment):
    """With the number of lines that came before."""
    image = changed(
        tmp_path, environment, "calls++;", "calls++;\n    while (calls == 3) (void)*(volatile int *)&calls;"
    )
    with pytest.raises(ToolError, match=rf"{environment}: no end after 2 s, \d+ lines"):
        runner_for(environment).run(image, 2)


@pytest.mark.emulator
def test_an_error_code_reaches_the_user(tmp_path):
    """The fourth call of the model fails: sample 3."""
    image = changed(tmp_path, "host", "return calls < 0;", "return calls == 4 ? 7 : 0;")
    with pytest.raises(ToolError, match="tiny returned error 7 at sample 3"):
        runner_for("host").run(image, 20)


@pytest.mark.emulator
def test_a_model_that_forgets_its_input_is_a_mismatch(tmp_path):
    """State that survives an inference gives other outputs the second time."""
    image = changed(tmp_path, "qemu-riscv32", "dense(hidden,", "hidden[0] ^= (int8_t)calls;\n    dense(hidden,")
    with pytest.raises(MismatchError, match="other outputs"):
        runner_for("qemu-riscv32").run(image, 20)


@pytest.mark.emulator
def test_a_missing_emulator_is_named_with_its_package(images, monkeypatch):
    """The next step is in the message."""
    monkeypatch.setattr(emulator.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match=r"qemu-system-xtensa is not installed; sudo apt-get install"):
        runner_for("qemu-xtensa").run(images["qemu-xtensa"], 20)


def test_a_chip_without_board_or_its_emulator_says_what_runs_instead(monkeypatch):
    """Debian's QEMU has no ESP machine; the same instruction set runs elsewhere."""
    monkeypatch.setattr(emulator, "can_boot", lambda environment: False)

    class NoImage:
        environment = "esp32"

    with pytest.raises(ToolError, match=r"no qemu-system-xtensa with machine 'esp32' on PATH.*qemu-xtensa"):
        runner_for("esp32").run(NoImage(), 5)


def test_environments_that_cannot_run_are_refused():
    """Before anything is built or flashed."""
    with pytest.raises(UserError, match="no emulator runs environment 'esp32-idf'"):
        runner_for("esp32-idf")
    with pytest.raises(UserError, match="runs on no board"):
        runner_for("qemu-riscv32", "/dev/ttyUSB0")


@pytest.fixture
def fake_chip_emulator(tmp_path, monkeypatch, images):
    """A `qemu-system-xtensa` that knows -M esp32: checks the flash it is given, then reports like the chip.

    Its report is a real one, of the same firmware on the Xtensa emulator; it never ends by itself.
    """
    machine = emulator.MACHINES["qemu-xtensa"]
    command = [machine.program, *emulator.COMMON, *machine.options, "-kernel", str(images["qemu-xtensa"].elf)]
    report, _ = emulator.output_of(command, "fixture", 60)
    (tmp_path / "report.txt").write_text("ets Jun  8 2016 00:22:57\n" + report)
    program = tmp_path / "qemu-system-xtensa"
    program.write_text(f"""#!{sys.executable}
import re, select, sys, time
if "help" in sys.argv:
    print("esp32                Espressif ESP32 machine")
    sys.exit(0)
flash = open(re.search("file=([^,]*),if=mtd", " ".join(sys.argv))[1], "rb").read()
if len(flash) != 4 << 20 or flash[0x1000] != 0xE9:
    sys.exit("no boot image at 0x1000")
if select.select([sys.stdin], [], [], 0.1)[0]:
    sys.exit("standard input is at its end: the UART of Espressif's machines sends nothing")
print(open({str(tmp_path / "report.txt")!r}).read(), flush=True)
time.sleep(600)
""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    emulator.can_boot.cache_clear()
    yield
    emulator.can_boot.cache_clear()


@pytest.mark.emulator
@pytest.mark.usefixtures("fake_chip_emulator")
def test_a_chip_is_booted_when_an_emulator_on_the_path_has_it(images):
    """From its whole flash; stopped after the last record; no cycles are claimed."""
    assert emulator.can_boot("esp32")
    run = runner_for("esp32").run(images["esp32"], 30)
    np.testing.assert_array_equal(run.outputs, golden(tiny_samples(40)))
    assert run.kind == "emulated" and run.cycles is None and run.instructions is None
