"""A made-up but realistic report: a watch network cut for an ESP32."""

import random
from dataclasses import replace
from typing import Any

import pytest

from secateur.compiler.report.record import (
    Attempt,
    Budget,
    Certificate,
    Clock,
    ClockEnergy,
    Confusion,
    Control,
    DataFacts,
    Details,
    Energy,
    Layer,
    LayerError,
    Measured,
    MemoryMap,
    Placement,
    Report,
    Robustness,
    Side,
    Sizes,
    Step,
    Stress,
    TargetFacts,
    Tool,
    Verification,
    Violation,
)

LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius",
    "row",
)
ELF, RUN, PLAN = (
    "sections of firmware.elf",
    "qemu-xtensa, 32 samples, largest",
    "memory plan of the int8 program",
)
TEST = "int8 program, test set"


def memory(blocks: int, channels: int) -> MemoryMap:
    """A residual chain: stem, then two convolutions and an add a block, pool and head."""
    size = channels * 64
    steps, tensors = ["stem.conv"], [Placement("input", size, 768, 0, 0)]
    tensors.append(Placement("stem.relu", 0, size, 0, 3))
    for b in range(blocks):
        at = 1 + 3 * b
        steps += [f"block{b}.conv1", f"block{b}.conv2", f"block{b}.add"]
        tensors.append(Placement(f"block{b}.relu1", size, size, at, at + 1))
        tensors.append(Placement(f"block{b}.conv2", 2 * size, size, at + 1, at + 2))
        if b:
            tensors.append(Placement(f"block{b - 1}.out", 0, size, at - 1, at + 2))
    last = len(steps)
    steps += ["pool", "head.linear"]
    tensors += [
        Placement("out", 0, size, last - 1, last),
        Placement("pooled", size, channels, last, last + 1),
    ]
    tensors.append(Placement("logits", 0, 7, last + 1, last + 1))
    live = [sum(t.size_bytes for t in tensors if t.first_step <= i <= t.last_step) for i in range(len(steps))]
    return MemoryMap(3 * size, tuple(steps), tuple(live), tuple(tensors))


def layers(blocks: int, channels: int) -> tuple[Layer, ...]:
    noise = random.Random(1)
    found = [("stem.conv", "CONV_2D", 6 * 5 * channels * 64)]
    for b in range(blocks):
        found += [(f"block{b}.conv{i}", "CONV_2D", channels * channels * 3 * 64) for i in (1, 2)]
        found.append((f"block{b}.add", "ADD", 0))
    found += [("pool", "MEAN", 0), ("head.linear", "FULLY_CONNECTED", channels * 7)]
    return tuple(
        Layer(n, op, Measured(m, "exact", "shapes"),
              Measured(round(m * noise.uniform(4.2, 5.1)) + 64 * channels * 9, "emulated", RUN))
        for n, op, m in found
    )  # fmt: skip


def side(blocks: int, channels: int, accuracy: float, low: float, high: float) -> Side:
    plan, found = memory(blocks, channels), layers(blocks, channels)
    instructions = sum(x.instructions.value for x in found if x.instructions)
    weights = blocks * 2 * channels * channels * 3 + 2600
    cpi = f"{RUN}, x 1 to 2 cycles per instruction (assumed) / 40 MHz"
    return Side(
        accuracy_float=Measured(accuracy + 0.4, "measured", "float network, test set"),
        accuracy_int8=Measured(accuracy, "measured", TEST),
        accuracy_interval=Measured((low, high), "measured", TEST + ", bootstrap of 2000 by person"),
        macs=Measured(sum(x.macs.value for x in found if x.macs), "exact", "shapes"),
        params=Measured(weights, "exact", "shapes"),
        arena_bytes=Measured(plan.arena_bytes, "exact", PLAN),
        arena_lower_bound_bytes=Measured(max(plan.live_bytes), "exact", PLAN),
        stack_bytes=Measured(624, "emulated", "stack high water, qemu-xtensa"),
        ram_bytes=Measured(plan.arena_bytes + 1840, "emulated", ELF + " and stack high water"),
        weights_bytes=Measured(weights, "exact", "int8 program"),
        flash_bytes=Measured(weights + 18_320, "exact", ELF),
        instructions=Measured(instructions, "emulated", RUN),
        latency_ms_low=Measured(instructions / 40e3, "predicted", cpi),
        latency_ms_high=Measured(instructions / 20e3, "predicted", cpi),
        layers=found,
    )


def confusion(wrong: float) -> Confusion:
    noise = random.Random(round(wrong * 100))
    counts = [[0] * 7 for _ in range(7)]
    for i in range(7):
        for _ in range(90 + 12 * i):
            j = (i + noise.choice((1, 2, 5))) % 7 if noise.random() < wrong else i
            counts[i][j] += 1
    return Confusion("test", "int8", tuple(tuple(row) for row in counts))


def removals(before: Side, after: Side, count: int = 8) -> tuple[Step, ...]:
    """Sizes fall from `before` to `after`; filters lower RAM, layers the rest."""
    noise, found = random.Random(3), []

    def between(name: str, share: float) -> float:
        low, high = getattr(after, name).value, getattr(before, name).value
        return float(high * (low / high) ** share)

    for i in range(1, count + 1):
        layer = i % 4 != 0
        share, ram_share = i / count, (i // 4) * 4 / count
        cut = 92.0 - i * 0.5 - noise.uniform(0, 6)
        found.append(
            Step(
                "remove_layers" if layer else "remove_filters",
                f"block{i}" if layer else f"stream, {64 - 4 * (i - 4)} to {64 - 4 * i} filters",
                Measured(0.995 - 0.011 * i, "measured", "debiased CKA, recovery samples"),
                Measured(cut, "measured", "float network, validation set"),
                Measured(92.6 - i * 0.1 - noise.uniform(0, 0.5), "measured", "float network, validation set"),
                Measured(round(between("macs", share)), "exact", "shapes"),
                Measured(round(between("ram_bytes", ram_share)), "predicted", "plan, code and stack margin"),
                Measured(round(between("flash_bytes", share)), "predicted", "weights, and the code margin"),
                Measured(between("latency_ms_high", share), "predicted", "MACs x 4.6 x 2 cycles / 40 MHz"),
                Measured(1024, "exact", "of the recovery set"),
                Measured(0.001 * i, "measured", "second best score less the best"),
                Measured(0.002, "measured", "its standard error over the samples"),
                i < 4,
            )
        )
    return tuple(found)


def stress(kind: Any, name: str, strength: float | None, before: float, after: float) -> Stress:
    values = (before, before - 0.5, after, after - 0.5, after - before, after - before)
    return Stress(kind, name, strength, *(Measured(v, "measured", "256 test samples") for v in values))


@pytest.fixture(scope="session")
def example() -> Report:
    """Met, emulated: the demo's shape."""
    before, after = side(9, 64, 92.1, 88.0, 95.4), side(4, 32, 91.5, 87.2, 94.9)
    high = after.latency_ms_high
    assert high is not None
    at = "instructions as emulated, at this clock"
    return Report(
        tool=Tool("0.1.0", 0),
        target=TargetFacts("esp32", "xtensa-lx6", 40_000_000, 192_512, 4_194_304),
        baseline=before,
        result=after,
        budget=Budget(8 * 1024, 64 * 1024, 450.0, 1.0, "emulated", require="emulated"),
        verification=Verification("TensorFlow Lite Micro", 32, 224, 0, "qemu-xtensa"),
        steps=removals(before, after),
        details=Details(
            model="watch-resnet",
            labels=LABELS,
            clock_source="crystal; the bare image leaves the PLL off",
            data=DataFacts("zoo:shoulder-exercises", Sizes(6, 2, 2), Sizes(4212, 1380, 882), False),
            certificate=Certificate(
                Measured(0.7, "measured", "validation set"),
                Measured(1.0, "measured", "test set"),
                Measured((-0.6, 2.4), "measured", "paired bootstrap of 2000 by person"),
                0.9,
                False,
                "2 people in test cannot show a drop under 1.0 points: the interval ends at 2.4",
            ),
            confusion_baseline=confusion(0.08),
            confusion_result=confusion(0.09),
            memory_baseline=memory(9, 64),
            memory_result=memory(4, 32),
            clocks=tuple(
                Clock(hz, *(Measured(high.value * cycles / hz, "predicted", at) for cycles in (20e6, 40e6)))
                for hz in (160_000_000, 240_000_000)
            ),
            quantization_errors=(LayerError("block0.conv1", 24.1), LayerError("stem.conv", 31.7)),
            attempts=(
                Attempt("most accurate", "checkpoints/step-4", False,
                        Measured(92.0, "measured", "validation set"), Measured(14_000, "predicted", "plan")),
            ),
            controls=tuple(
                Control(n, tuple(Measured(a + s, "measured", TEST) for s in (-0.6, 0.2, 0.5)),
                        ram_bytes=Measured(7984, "predicted", "plan and margin"))
                for n, a in (("random block", 90.6), ("first block", 89.9), ("L1", 90.8), ("scratch", 91.0))
            ),
            notes=("The ESP32 image was built; the same code ran on the Xtensa emulator (lx106).",),
        ),
        robustness=Robustness(
            "windows", 256, 882, "standard deviations of each channel on the recovery set",
            tuple(
                stress(kind, name, strength, b, a)
                for kind, name, strength, b, a in (
                    ("clean", "no change", None, 92.1, 91.5), ("attack", "FGSM", 0.1, 70.0, 71.0),
                    ("transfer", "FGSM", 0.1, 70.0, 80.0), ("corruption", "gain_drift", 1.0, 91.0, 90.0),
                    ("mean", "gain_drift", None, 85.0, 83.0),
                )
            ),
            ("int8 is attacked with examples crafted on its float twin.",),
        ),
        energy=Energy(
            3.3, "a data sheet", 0.432,
            (
                ClockEnergy(
                    160_000_000, (27.0, 44.0),
                    *(Measured(ends, "predicted", "3.3 V x current x time")
                      for ends in ((7.1, 23.2), (6.3, 20.5), (0.8, 2.7), (1.4e9, 4.5e9))),
                ),
                ClockEnergy(240_000_000, (30.0, 68.0)),
            ),
            "the image sets 40 MHz, of which the source gives no current",
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def bare(example: Report) -> Report:
    """Not met, and nearly nothing known: no steps, no data, no run."""
    why = "block0.conv1 alone needs 12,288 bytes; try --max-ram 16K"
    return replace(
        example,
        baseline=Side(ram_bytes=Measured(31_000, "predicted", PLAN)),
        result=Side(ram_bytes=Measured(14_128, "predicted", PLAN)),
        budget=Budget(8192, None, 20.0, None, "no", (Violation("ram_bytes", 14_128, 8192, why),)),
        verification=None,
        steps=(),
        details=Details("watch-resnet"),
        robustness=None,
        energy=None,
    )
