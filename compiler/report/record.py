"""What a run found, as frozen records: the shape of `report.json`, schema 1.

Every number that a reader may act on is a `Measured`: value, how it was got, and from what. Writing splits
the two (`document.py`): the value stays in place, kind and source go to `provenance` under the value's JSON
pointer. An unknown is None, never 0. Accuracies are percent (0 to 100), drops are points, sizes bytes,
1 KiB = 1024 bytes. Nothing volatile (times, host, command) is in here; that is run.json's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Kind = Literal["exact", "predicted", "emulated", "measured"]
"""exact: counted, or computed bit for bit. predicted: by a model. emulated: ran in QEMU. measured: on a board
(and accuracies: on samples)."""

Met = Literal["measured", "emulated", "predicted", "no"]
LimitName = Literal["ram_bytes", "flash_bytes", "latency_ms", "accuracy", "evidence"]

V = TypeVar("V", covariant=True)


@dataclass(frozen=True)
class Measured(Generic[V]):
    """A value with its provenance: `source` names what it was got from, in words that a reader can check."""

    value: V
    kind: Kind
    source: str

    def __post_init__(self) -> None:
        assert self.source, f"a value of {self.value} that names no source"


Count = Measured[int] | None
Real = Measured[float] | None
Interval = Measured[tuple[float, float]] | None


@dataclass(frozen=True)
class Tool:
    version: str
    seed: int


@dataclass(frozen=True)
class TargetFacts:
    """The device: its own sizes, and the clock that the image really sets."""

    name: str
    isa: str
    clock_hz: int
    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class Layer:
    """One operator of the int8 program. `instructions`: of one inference."""

    name: str
    op: str
    macs: Count = None
    instructions: Count = None


@dataclass(frozen=True)
class Side:
    """The network before (`baseline`) or after (`result`), accuracies on the test set.

    Accuracies are the percentage of `Report.metric`, whatever it is.

    `accuracy_interval`: of the int8 accuracy, bootstrap by group. `arena_lower_bound_bytes`: what no plan can
    go below. `ram_bytes`: arena, .data, .bss, stack high water, and weights where they are held in RAM.
    `flash_bytes`: all loaded sections. `latency_ms`: one number where cycles are measured, else None and the
    range holds.
    """

    accuracy_float: Real = None
    accuracy_int8: Real = None
    accuracy_interval: Interval = None
    macs: Count = None
    params: Count = None
    arena_bytes: Count = None
    arena_lower_bound_bytes: Count = None
    stack_bytes: Count = None
    ram_bytes: Count = None
    weights_bytes: Count = None
    flash_bytes: Count = None
    instructions: Count = None
    cycles: Count = None
    latency_ms: Real = None
    latency_ms_low: Real = None
    latency_ms_high: Real = None
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Violation:
    """A limit that does not hold. `value`: what was reached (None: unknown), `why`: one sentence."""

    limit: LimitName
    value: float | None
    allowed: float | None
    why: str


@dataclass(frozen=True)
class Budget:
    """The limits (None: no limit), and whether they hold on evidence at least as strong as `require`.

    `max_drop`: points of validation accuracy, int8 result against float input network; or `min_accuracy`.
    """

    ram_bytes: int | None
    flash_bytes: int | None
    latency_ms: float | None
    max_drop: float | None
    met: Met
    violations: tuple[Violation, ...] = ()
    min_accuracy: float | None = None
    require: Literal["predicted", "emulated", "measured"] = "predicted"

    def violated(self, limit: LimitName) -> bool:
        return any(v.limit == limit for v in self.violations)


@dataclass(frozen=True)
class Verification:
    """`outputs`: values compared, over all samples. `golden`: the reference. `runner`: what ran ours."""

    golden: str
    samples: int
    outputs: int
    mismatches: int
    runner: str


RESTORE_LAYER = "restore_layer"
"""A step's `pass` where a layer is put back."""


@dataclass(frozen=True)
class Step:
    """One removal, or a layer put back; `score`: similarity that it was chosen by.

    Accuracies are of the float network on validation.
    `samples`: recovery samples that the candidates were scored on, 0 where the score looks at none. `margin`: by how
    much the second best score is worse than the best, with its standard error; `tie`: whether that is within the noise.
    """

    pass_name: str = field(metadata={"key": "pass"})
    unit: str
    score: Real = None
    accuracy_cut: Real = None
    accuracy_recovered: Real = None
    macs: Count = None
    ram_bytes: Count = None
    flash_bytes: Count = None
    latency_ms: Real = None
    samples: Count = None
    margin: Real = None
    margin_error: Real = None
    tie: bool | None = None


@dataclass(frozen=True)
class Confusion:
    """`counts[true][predicted]`: samples of `split`, by the int8 program unless `program` says float."""

    split: str
    program: Literal["float", "int8"]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Placement:
    """A tensor in the arena, alive in the operator steps `first_step` to `last_step`, both included.

    `region`: whose arena, that in RAM or that in slow memory; offsets are from its start.
    """

    tensor: str
    offset_bytes: int
    size_bytes: int
    first_step: int
    last_step: int
    region: Literal["ram", "slow"] = "ram"


@dataclass(frozen=True)
class MemoryMap:
    """The planned arena. `steps`: operator names in order; `live_bytes[i]`: bytes of RAM in use during step i.

    `slow_accesses` of `accesses` (elements read or written in one inference, by the planner's model) go to the arena in
    slow memory; all are 0 where there is none.
    """

    arena_bytes: int
    steps: tuple[str, ...]
    live_bytes: tuple[int, ...]
    tensors: tuple[Placement, ...]
    slow_arena_bytes: int = 0
    slow_arena_lower_bound_bytes: int = 0
    slow_accesses: int = 0
    accesses: int = 0


@dataclass(frozen=True)
class Clock:
    """What the result would take at a clock that the chip has and this image does not set."""

    clock_hz: int
    latency_ms_low: Real = None
    latency_ms_high: Real = None


@dataclass(frozen=True)
class LayerError:
    """Signal to quantization noise of one layer's output against the float network, decibels."""

    layer: str
    sqnr_db: float


@dataclass(frozen=True)
class Sizes:
    recovery: int
    validation: int
    test: int


@dataclass(frozen=True)
class DataFacts:
    """`seen`: the input network was trained on it, so it certifies nothing."""

    name: str
    groups: Sizes
    samples: Sizes
    seen: bool


@dataclass(frozen=True)
class Certificate:
    """What the data can say about the drop in accuracy: positive drops are losses, in points.

    `validation_drop`: the number that the budget was held against. `test_drop`, `test_drop_interval`: float
    input network less int8 result, paired bootstrap by group at `level` (0 to 1). `certified`: the
    interval's upper end is within the drop asked for; None where no drop was asked for. `why`: one sentence.
    """

    validation_drop: Real
    test_drop: Real
    test_drop_interval: Interval
    level: float
    certified: bool | None
    why: str


@dataclass(frozen=True)
class Attempt:
    """A network that the search kept: its folder or file in OUT, and what it reached."""

    name: str
    path: str
    fits: bool
    accuracy_int8: Real = None
    ram_bytes: Count = None
    flash_bytes: Count = None
    latency_ms: Real = None


@dataclass(frozen=True)
class Control:
    """Another way to the same budget with the same total training, one accuracy (test, int8) a seed."""

    name: str
    accuracies: tuple[Measured[float], ...]
    macs: Count = None
    ram_bytes: Count = None
    flash_bytes: Count = None
    latency_ms: Real = None


@dataclass(frozen=True)
class Patches:
    """Layers of the result that run band of rows by band of rows. `extra_macs`: of rows computed more than once."""

    first: str
    last: str
    layers: int
    bands: int
    extra_macs: int


@dataclass(frozen=True)
class Measure:
    """What else the answers on the test set say. `before`: float input network, `after`: the result.

    `unit`: % or what the values are in. `samples`: that it is of, where not of all.
    """

    name: str
    unit: str
    before: Real = None
    after: Real = None
    samples: int | None = None


@dataclass(frozen=True)
class Training:
    """One of several ways of training that were compared on validation, where the better one was kept.

    `program`: what `percent` of the metric is of; `steps`: optimizer steps in all; `said`: one sentence more, or ''.
    """

    name: str
    program: Literal["float", "int8"]
    steps: int
    percent: Real
    kept: bool
    said: str = ""


@dataclass(frozen=True)
class Stress:
    """Accuracies under one disturbance; of the networks before and after, float and int8.

    `kind`: clean; attack: each network is attacked itself; transfer: with what was crafted on the input network;
    corruption; mean: of a corruption's severities, or of all. `strength`: eps in `Robustness.unit`, or a severity.
    `change_float`, `change_int8`: result less baseline, points.
    """

    kind: Literal["clean", "attack", "transfer", "corruption", "mean"]
    name: str
    strength: float | None
    baseline_float: Real = None
    baseline_int8: Real = None
    result_float: Real = None
    result_int8: Real = None
    change_float: Real = None
    change_int8: Real = None


@dataclass(frozen=True)
class Robustness:
    """`samples` of the test set's `of`. `unit`: what an attack's strength is in."""

    inputs: Literal["pictures", "windows"]
    samples: int
    of: int
    unit: str
    rows: tuple[Stress, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClockEnergy:
    """Energy of one inference at one clock, (low, high) in millijoules: an estimate, nothing measured.

    `saved_mj`: baseline less result at the same current. `inferences_per_kwh`: that save one kWh; None: none is saved.
    """

    clock_hz: int
    current_ma: tuple[float, float]
    baseline_mj: Interval = None
    result_mj: Interval = None
    saved_mj: Interval = None
    inferences_per_kwh: Interval = None


@dataclass(frozen=True)
class Energy:
    """What the device needs; what the search needed is volatile, and so run.json's.

    `why`: one sentence where there are no numbers, or not at the clock that the image sets.
    """

    supply_volts: float | None
    current_source: str
    carbon_intensity: float
    clocks: tuple[ClockEnergy, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class Details:
    """What report.html shows and the rest of schema 1 does not name.

    `arithmetic`: of the result and what `accuracy_int8` and its like are about: int8, int16, float32, or several.
    """

    model: str
    labels: tuple[str, ...] = ()
    clock_source: str | None = None
    data: DataFacts | None = None
    certificate: Certificate | None = None
    confusion_baseline: Confusion | None = None
    confusion_result: Confusion | None = None
    memory_baseline: MemoryMap | None = None
    memory_result: MemoryMap | None = None
    clocks: tuple[Clock, ...] = ()
    quantization_errors: tuple[LayerError, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    controls: tuple[Control, ...] = ()
    patches: tuple[Patches, ...] = ()
    notes: tuple[str, ...] = ()
    arithmetic: str = "int8"
    measures: tuple[Measure, ...] = ()
    trainings: tuple[Training, ...] = ()


@dataclass(frozen=True)
class Report:
    """`report.json`, schema 1, less `provenance`, which its `Measured` leaves carry.

    `task`, `metric`: what accuracies are of; None where no data was given.
    """

    tool: Tool
    target: TargetFacts
    baseline: Side
    result: Side
    budget: Budget
    verification: Verification | None
    steps: tuple[Step, ...]
    details: Details
    schema: int = 1
    task: str | None = "classification"
    metric: str | None = "accuracy"
    robustness: Robustness | None = None
    energy: Energy | None = None
