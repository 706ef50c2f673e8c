"""The report's reader: complete logs are read, everything less is an error that says what is wrong."""

import zlib
from fractions import Fraction

import numpy as np
import pytest

from secateur.errors import MismatchError, ToolError
from secateur.runtime_bench.measure import count
from secateur.runtime_bench.protocol import finished, parse


def line(text):
    return f"@sec {text} *{zlib.crc32(f'@sec {text}'.encode()):08x}\n"


def complete_log(ticks=(0x1000, 0x1200), layers=(0x500, 0x700), repeat=1, guard=1):
    records = ["begin 1 tiny 00000002 00000003 00000002 00000040 00000020 00000020 00000018 00000010"]
    for sample, value in enumerate(ticks):
        records += [f"out {sample:08x} 00000000 7f80", f"out {sample:08x} 00000002 0{sample}"]
        records += [f"ticks {sample:08x} {value:08x}"]
    records += [f"stack 00000400 00000058 {guard:08x}", f"layers 00000001 {repeat:08x}"]
    records += [f"layer {index:08x} {value:08x}" for index, value in enumerate(layers)]
    records += [f"end {len(records):08x}"]
    return [line(record) for record in records]


def test_a_complete_log_gives_outputs_counts_and_stack():
    """Between a boot ROM's own messages, in chunks of any size."""
    log = parse("ets Jun  8 2016\r\nrst:0x1\n" + "".join(complete_log()), "test")
    np.testing.assert_array_equal(log.outputs, np.array([[127, -128, 0], [127, -128, 1]], np.int8))
    assert log.stack_bytes == 0x58
    counts = count(log)
    assert counts.total == 0x1200 - 0x20  # the longest sample, less the cost of measuring
    assert counts.layers == (0x500 - 0x18, 0x700 - 0x10)


@pytest.mark.parametrize("kept", range(12))
def test_a_log_cut_after_any_record_is_an_error(kept):
    """A board that was unplugged, an emulator that was killed."""
    lines = complete_log()
    assert len(lines) == 12
    with pytest.raises(ToolError, match=r"cut after|reported nothing"):
        parse("".join(lines[:kept]), "test")


@pytest.mark.parametrize("lost", range(1, 11))
def test_a_log_that_lost_a_record_in_the_middle_is_an_error(lost):
    """The last record counts the others."""
    lines = complete_log()
    del lines[lost]
    with pytest.raises(ToolError, match="incomplete"):
        parse("".join(lines), "test")


@pytest.mark.parametrize("at", range(0, 12))
def test_a_flipped_character_is_an_error(at):
    """Each line carries its own CRC-32."""
    lines = complete_log()
    middle = len(lines[at]) // 2
    flipped = "1" if lines[at][middle] != "1" else "2"
    lines[at] = lines[at][:middle] + flipped + lines[at][middle + 1 :]
    with pytest.raises(ToolError, match="damaged line"):
        parse("".join(lines), "test")


def test_a_line_cut_in_the_middle_is_an_error():
    """Also when it is the last."""
    text = "".join(complete_log())
    with pytest.raises(ToolError, match="damaged line"):
        parse(text[:-4], "test")
    assert finished(text) and not finished(text[:-4])


def test_a_second_beginning_discards_what_came_before():
    """A board that is reset while we listen starts again."""
    lines = complete_log()
    assert parse("".join(lines[:4] + lines), "test").stack_bytes == 0x58


def test_other_outputs_in_the_second_run_are_our_bug():
    """The same input twice: a difference is a mismatch, never a warning."""
    with pytest.raises(MismatchError, match="sample 1 gave other outputs"):
        parse("".join(complete_log(repeat=0)), "test")


def test_a_hit_stack_guard_is_an_error_with_the_reserved_size():
    """The stack ran over its end, so nothing else in the log can be trusted."""
    with pytest.raises(ToolError, match="stack overflowed its 1024 bytes"):
        parse("".join(complete_log(guard=0)), "test")


def test_an_error_code_of_the_model_is_reported_with_its_sample():
    """WATCH_E_* codes reach the user."""
    lines = [complete_log()[0], line("error 00000003 00000007")]
    assert finished("".join(lines))
    with pytest.raises(ToolError, match="tiny returned error 7 at sample 3"):
        parse("".join(lines), "test")


def test_a_counter_that_wrapped_twice_is_unwrapped_by_the_layers():
    """32-bit counters wrap within one inference of a large network; single layers stay below."""
    total = 2 * (1 << 32) + 1000
    layers = [3_000_000_000, total - 3_000_000_000 - (1 << 32), (1 << 32) - 100]
    log = parse("".join(complete_log()), "test")
    log.layers, log.layer_ticks = 3, dict(enumerate(layers))
    log.ticks = {0: (total + 0x20) % (1 << 32), 1: (total + 0x20 - 77) % (1 << 32)}
    assert count(log).total == total


def test_ticks_become_whole_instructions():
    """10.24 ticks an instruction, one tick of jitter: the same count."""
    log = parse("".join(complete_log(ticks=(0x20, 0x20 + 10240))), "test")
    assert count(log, Fraction(1024, 100)).total == 1000
    log.ticks[1] += 1
    assert count(log, Fraction(1024, 100)).total == 1000
