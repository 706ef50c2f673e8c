"""From what a run found to the report's record: every number with how it was got."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Literal

import numpy as np

from secateur import __version__
from secateur.compiler.deploy import Deployed
from secateur.compiler.driver import Compiled
from secateur.compiler.energy import device_energy
from secateur.compiler.judge import Judged, Scores, reached
from secateur.compiler.report import record
from secateur.compiler.report.record import Kind, Measured
from secateur.compiler.report.words import name_text, plural, slow_memory_text, trainings_text
from secateur.firmware.front_end.image import parts as image_parts
from secateur.models.data import Data
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.image import ImageChain
from secateur.models.metrics import bootstrap, can_certify, confusion, paired_bootstrap
from secateur.models.program import op_macs
from secateur.models.reference_float import arithmetic
from secateur.models.task import Classification
from secateur.passes.network.removal import RESTORED
from secateur.passes.program.cost import latency_ms

LEVEL = 0.9


def to_report(found: Compiled) -> record.Report:
    """The report of one run. Accuracies are the test set's; without data they are None."""
    target = found.target
    return record.Report(
        tool=record.Tool(__version__, found.options.seed),
        target=record.TargetFacts(target.name, target.isa, target.clock_hz, target.ram_bytes, target.flash_bytes),
        baseline=_side(found, found.before),
        result=_side(found, found.after),
        budget=_budget(found),
        verification=_verification(found),
        steps=_steps(found),
        details=_details(found),
        task=None if found.data is None else found.data.task.name,
        metric=None if found.data is None else found.data.task.metric,
        robustness=found.robustness,
        energy=None if found.carbon_intensity is None else device_energy(
            found.target, found.before.deployed, found.after.deployed, found.carbon_intensity
        ),
    )  # fmt: skip


def _side(found: Compiled, judged: Judged) -> record.Side:
    d, target, scores = judged.deployed, found.target, judged.test
    p = d.planned.program
    kind: Kind = "predicted" if d.kind == "predicted" else "emulated" if d.kind == "emulated" else "measured"
    where = f"{d.ran_on}" if d.kind != "predicted" else "cost model (firmware/kernels/costs.toml)"
    size_kind: Kind = "predicted" if d.image is None else "exact"
    size_from = "cost model" if d.image is None else f"sections of the {d.image.environment} image"
    ran = d.run is not None and d.run.kind != "host"
    counted = "instructions in " + where if ran else where
    limits = reached(d, target)
    latency_from = f"{counted} x {target.cycles_per_instruction} cycles / {target.clock_hz} Hz ({target.cycles_source})"
    if d.planned.memory.slow.buffers:
        latency_from += ", without what slow memory takes longer"
    timed: Kind = "predicted" if cycles_of(d) is None else "measured"  # an emulator counts instructions, not time
    instructions = None if d.instructions is None else Measured(d.instructions, kind, counted)
    counted_cycles = cycles_of(d)
    cycles = None if counted_cycles is None else Measured(counted_cycles, "measured", where)
    samples = "" if scores is None else f"{len(scores.split)} test samples"
    accuracy_float = None
    if scores is not None and scores.float_guess is not None:
        accuracy_float = Measured(scores.float_percent, "measured", f"float network, {samples}")
    constants = d.cost.constant_bytes if d.image is None else d.image.weights_bytes  # equal tables are one in C
    stack = d.stack_bytes
    stack_from = f"high water in {where}" if ran else where
    entry, end = (sum(p.bytes_of(i) for i in ends) for ends in (p.inputs, p.outputs))
    computes = arithmetic(p)
    counts = (
        f"{'stack high water' if stack is not None else 'stack unknown'}; not the caller's own buffers "
        f"({end} B of output, and {entry} B of input unless it is filled in place)"
    )
    return record.Side(
        accuracy_float=accuracy_float,
        accuracy_int8=None if scores is None else Measured(scores.int8_percent, "measured", f"{computes}, {samples}"),
        accuracy_interval=None if scores is None else _interval(scores, samples),
        macs=Measured(judged.macs + _computed_again(d), "exact", f"shapes of the {computes} program"),
        params=Measured(judged.parameters, "exact", f"weights and biases of the {computes} program"),
        arena_bytes=Measured(d.cost.arena_bytes, "exact", "memory plan"),
        arena_lower_bound_bytes=Measured(d.cost.arena_lower_bound_bytes, "exact", "live bytes less safe overlap"),
        stack_bytes=None if stack is None else Measured(stack, kind if ran else "predicted", stack_from),
        ram_bytes=Measured(d.ram_bytes, kind if ran else "predicted", f"arena and state in {size_from}; {counts}"),
        weights_bytes=Measured(constants, "exact", "constant tables of the generated C"),
        flash_bytes=Measured(d.flash_bytes, size_kind, size_from),
        instructions=instructions,
        cycles=cycles,
        latency_ms=None if cycles is None else Measured(limits.latency_ms or 0.0, "measured", where),
        latency_ms_low=None if limits.latency_low_ms is None else Measured(limits.latency_low_ms, timed, latency_from),
        latency_ms_high=None if limits.latency_ms is None else Measured(limits.latency_ms, timed, latency_from),
        layers=_layers(judged, kind, counted),
    )


def _computed_again(deployed: Deployed) -> int:
    """Multiply-accumulates that patches add."""
    return sum(p.extra_macs for p in deployed.planned.patches)


def cycles_of(deployed: Deployed) -> int | None:
    """Cycles that a board measured."""
    return None if deployed.run is None else deployed.run.cycles


def _layers(judged: Judged, kind: Kind, source: str) -> tuple[record.Layer, ...]:
    d = judged.deployed
    counts = d.layer_counts
    if counts is None:
        counts, kind = d.cost.layer_instructions, "predicted"
    program = d.planned.program
    bands = Counter(op.name for op in program.ops) if d.planned.patches else Counter[str]()
    sums: dict[tuple[str, str, int], tuple[int, int]] = {}  # the bands of one layer are one layer
    for i, (op, kernel) in enumerate(zip(program.ops, d.planned.selection, strict=True)):
        if kernel.free:
            continue
        banded = bands[op.name] > 1
        key = (op.name, op.kind, -1) if banded else (program.tensors[op.outputs[0]].name, op.kind, i)
        macs, count = sums.get(key, (0, 0))
        sums[key] = macs + op_macs(program, op), count + (0 if counts is None else counts[i])
    front: tuple[record.Layer, ...] = ()
    if d.front_end_instructions:
        front = (record.Layer("front end", "FRONT_END", None, Measured(d.front_end_instructions, kind, source)),)
    return front + tuple(
        record.Layer(
            name,
            op_kind,
            Measured(macs, "exact", "shapes") if macs else None,
            None if counts is None else Measured(count, kind, source),
        )
        for (name, op_kind, _), (macs, count) in sums.items()
    )


def _interval(scores: Scores, samples: str) -> record.Interval:
    interval = bootstrap(scores.task.tally(scores.split, scores.int8_guess), level=LEVEL)
    if interval.low is None or interval.high is None:
        return None
    groups = len(np.unique(scores.split.groups))
    source = f"bootstrap over {groups} groups at {LEVEL:.0%}, {samples}"
    if groups == 2:
        source = f"the lower and the higher of 2 groups, {samples}"
    return Measured((interval.low, interval.high), "measured", source)


def _budget(found: Compiled) -> record.Budget:
    b = found.budget
    names = {"ram_bytes", "flash_bytes", "latency_ms", "accuracy", "evidence"}
    violations = tuple(
        record.Violation(name, value, allowed, why)  # type: ignore[arg-type]
        for name, value, allowed, why in found.outcome.broken
        if name in names
    )
    drop = b.max_drop if b.min_accuracy is None and found.state is not None else None
    return record.Budget(
        b.ram_bytes,
        b.flash_bytes,
        b.latency_ms,
        drop,
        found.outcome.met,
        violations,
        b.min_accuracy,
        b.require,
    )


def _verification(found: Compiled) -> record.Verification | None:
    d = found.after.deployed
    if d.comparison is None or d.ran_on is None:
        return None
    c = d.comparison
    return record.Verification(c.golden, c.samples, c.values, c.mismatches, d.ran_on)


def _steps(found: Compiled) -> tuple[record.Step, ...]:
    if found.state is None:
        return ()
    model, told = "cost model", []
    validation = f"float network, validation set of {found.data.name}" if found.data else "validation"
    for s in found.state.steps:
        name = {"layer": "remove_layer", RESTORED: record.RESTORE_LAYER}.get(s.kind, "remove_filters")
        unit = s.unit + (f" (-{len(s.classes)})" if s.classes else "")
        if s.more:
            also = sum(len(r.classes) for r in s.more)
            unit += f" and {len(s.more)} more" + (f" (-{also})" if also else "")
        score = None if s.similarity is None else Measured(s.similarity, "measured", "debiased CKA, recovery samples")
        seen = s.evidence
        apart, noise = (None, None) if seen is None else (seen.margin, seen.margin_error)
        latency = None if s.reached.latency_ms is None else Measured(s.reached.latency_ms, "predicted", model)
        step = record.Step(
            pass_name=name,
            unit=unit,
            score=score,
            accuracy_cut=Measured(s.accuracy_cut, "measured", validation),
            accuracy_recovered=Measured(s.accuracy_recovered, "measured", validation),
            macs=Measured(s.macs, "exact", "shapes"),
            ram_bytes=Measured(s.reached.ram_bytes, "predicted", model),
            flash_bytes=Measured(s.reached.flash_bytes, "predicted", model),
            latency_ms=latency,
            samples=None if seen is None else Measured(seen.samples, "exact", "of the recovery set"),
            margin=None if apart is None else Measured(apart, "measured", "second best score less the best"),
            margin_error=None if noise is None else Measured(noise, "measured", "its standard error over the samples"),
            tie=None if seen is None else seen.tie,
        )
        told.append(step)
    return tuple(told)


def _details(found: Compiled) -> record.Details:
    target, after = found.target, found.after
    clocks = []
    instructions = after.deployed.instructions
    if instructions is not None:
        for hz in target.other_clocks_hz:
            low, high = latency_ms(instructions, target, hz)
            source = f"the same instructions at {hz} Hz; this image does not set that clock"
            clocks.append(record.Clock(hz, Measured(low, "predicted", source), Measured(high, "predicted", source)))
    notes = list(found.notes)
    if after.deployed.run is not None and target.environment != after.deployed.ran_on and target.environment != "host":
        notes.append(
            f"The {target.environment} image was built and is what a board gets; the same code ran on "
            f"{after.deployed.ran_on}, which is where outputs, stack and instruction counts come from."
        )
    notes += [
        f"For the RAM limit, {plural(p.layers, 'layer')}, {name_text(p.first)} to {name_text(p.last)}, run in "
        f"{p.bands} bands of rows, one after the other: {p.extra_macs:,} MACs are computed again."
        for p in after.deployed.planned.patches
    ]
    front = _front_end(after.deployed)
    if front:
        notes.append(front)
    slow = slow_memory_text(after.deployed.planned.memory)
    if slow:
        notes.append(f"For the RAM limit, {slow}: a latency that is not measured leaves it out.")
    if after.deployed.booted is not None:
        notes.append(f"The image itself booted in an emulated {target.environment} and gave equal outputs.")
    notes += [trainings_text(trainings) for trainings in _compared(found)]
    if found.state is not None and found.state.spent_steps != found.state.network_steps:
        own, spent = found.state.network_steps, found.state.spent_steps
        notes.append(f"The result was trained with {plural(own, 'step')}; {spent:,} were taken in all, kept or not.")
    labels = found.data.labels if found.data else after.deployed.planned.program.labels
    return record.Details(
        model=after.deployed.planned.program.name,
        labels=labels,
        clock_source=target.clock_source,
        data=None if found.data is None else _data(found.data),
        certificate=_certificate(found),
        confusion_baseline=_confusion(found.before, len(labels)),
        confusion_result=_confusion(after, len(labels)),
        memory_baseline=_memory(found.before),
        memory_result=_memory(after),
        clocks=tuple(clocks),
        quantization_errors=tuple(record.LayerError(name, db) for name, db in after.errors),
        attempts=tuple(_attempt(a.name, a.path, a.judged, found) for a in found.attempts),
        patches=tuple(record.Patches(**asdict(p)) for p in after.deployed.planned.patches),
        notes=tuple(notes),
        arithmetic=arithmetic(after.deployed.planned.program),
        measures=_measures(found, labels),
        trainings=_trainings(found),
    )


def _compared(found: Compiled) -> list[tuple[record.Training, ...]]:
    """The trainings by what they were compared in."""
    trainings = _trainings(found)
    parts = [tuple(t for t in trainings if t.program == program) for program in ("float", "int8")]
    return [part for part in parts if part]


def _trainings(found: Compiled) -> tuple[record.Training, ...]:
    if found.state is None or found.data is None:
        return ()
    of = f"validation set of {found.data.name}"
    return tuple(
        record.Training(
            t.name, t.program, t.steps, Measured(t.percent, "measured", f"{t.program} network, {of}"), t.kept, t.said
        )
        for t in found.state.trainings
    )


def _data(data: Data) -> record.DataFacts:
    splits = (data.recovery, data.validation, data.test)
    groups = record.Sizes(*(len(np.unique(s.groups)) for s in splits))
    return record.DataFacts(data.name, groups, record.Sizes(*(len(s) for s in splits)), data.seen)


def _certificate(found: Compiled) -> record.Certificate | None:
    before, after, data = found.before, found.after, found.data
    if data is None or found.state is None or before.validation is None or after.validation is None:
        return None
    if before.test is None or after.test is None or before.test.float_guess is None:
        return None
    was = data.task.tally(data.test, before.test.float_guess)
    now = data.task.tally(data.test, after.test.int8_guess)
    interval = paired_bootstrap(was, now, level=LEVEL)
    drop = before.validation.float_percent - after.validation.int8_percent
    source = "float input network less int8 result, test samples"
    between = None
    if interval.low is not None and interval.high is not None:
        between = Measured((0.0 - interval.high, 0.0 - interval.low), "measured", f"{source}, bootstrap by group")
    asked = found.budget.max_drop if found.budget.min_accuracy is None else None
    certified: bool | None = None
    why = "no drop was asked for"
    if asked is not None:
        verdict = can_certify(was, now, asked, seen=data.seen, level=LEVEL)
        certified = verdict.possible and interval.low is not None and interval.low >= -asked
        why = verdict.reason
        if verdict.possible and not certified and interval.low is not None:
            why = f"it may be {-interval.low:.1f} points at {100 * LEVEL:.0f} %, {asked:g} may be lost"
    return record.Certificate(
        validation_drop=Measured(drop, "measured", f"validation set of {data.name}"),
        test_drop=Measured(before.test.float_percent - after.test.int8_percent, "measured", source),
        test_drop_interval=between,
        level=LEVEL,
        certified=certified,
        why=why,
    )


def _confusion(judged: Judged, classes: int) -> record.Confusion | None:
    scores = judged.test
    if scores is None or not isinstance(scores.task, Classification):
        return None
    counts = confusion(scores.split.y, scores.int8_guess, classes)
    program: Literal["float", "int8"] = "float" if arithmetic(judged.deployed.planned.program) == "float32" else "int8"
    return record.Confusion("test", program, tuple(tuple(int(n) for n in row) for row in counts))


def _measures(found: Compiled, labels: tuple[str, ...]) -> tuple[record.Measure, ...]:
    """The task's other numbers of the float input network and of the result, in the task's order."""
    before, after = found.before.test, found.after.test
    if after is None:
        return ()
    computes = arithmetic(found.after.deployed.planned.program)
    was = {}
    if before is not None and before.float_guess is not None:
        was = {m.name: m.value for m in before.task.measures(before.split, before.float_guess, labels)}
    return tuple(
        record.Measure(
            m.name, m.unit,
            Measured(was[m.name], "measured", "float network, test samples") if m.name in was else None,
            Measured(m.value, "measured", f"{computes}, test samples"),
            m.samples,
        )
        for m in after.task.measures(after.split, after.int8_guess, labels)
    )  # fmt: skip


def _memory(judged: Judged) -> record.MemoryMap:
    planned = judged.deployed.planned
    memory, program = planned.memory, planned.program
    last = len(program.ops) - 1
    slow = memory.slow
    tensors = tuple(
        record.Placement(
            b.name, offset, b.size, max(0, b.first), min(max(0, b.last), last), "slow" if i in slow.buffers else "ram"
        )
        for i, (b, offset) in enumerate(zip(memory.buffers, memory.offsets, strict=True))
    )
    names = tuple(f"{op.kind} {program.tensors[op.outputs[0]].name}" for op in program.ops)
    return record.MemoryMap(
        memory.arena_bytes, names, memory.live_bytes, tensors, slow.arena_bytes, slow.lower_bound_bytes,
        slow.accesses, slow.all_accesses,
    )  # fmt: skip


def _attempt(name: str, path: str, judged: Judged, found: Compiled) -> record.Attempt:
    side = _side(found, judged)
    scores = judged.validation
    percent = None
    if scores is not None:
        computes = arithmetic(judged.deployed.planned.program)
        percent = Measured(scores.int8_percent, "measured", f"{computes}, validation samples")
    fits = not any(
        limit is not None and value is not None and value.value > limit
        for value, limit in (
            (side.ram_bytes, found.budget.ram_bytes),
            (side.flash_bytes, found.budget.flash_bytes),
            (side.latency_ms_high, found.budget.latency_ms),
        )
    )
    return record.Attempt(name, path, fits, percent, side.ram_bytes, side.flash_bytes, side.latency_ms_high)


def _front_end(deployed: Deployed) -> str:
    """What lies between sensor and decision, and what it costs; empty without a front end."""
    pre = deployed.planned.program.preprocess
    front, how = pre.front_end, pre.decisions
    if front is None:
        return ""
    parts, what = (
        (_of_pictures(deployed, front), "picture") if isinstance(front, ImageChain) else (_of_a_stream(front), "window")
    )
    told = f"the mean of {how.smooth} {what}s" if how.smooth > 1 else f"each {what}"
    if how.threshold:
        told += f", {'anomaly' if how.reconstructs else 'unknown'} {'from' if how.reconstructs else 'below'} "
        told += f"{how.threshold:,} steps"
    text = f"The front end is in the image: {', '.join(parts)}; a decision is of {told}."
    if deployed.front_end_instructions:
        text += (
            f" It takes {deployed.front_end_instructions:,} of {deployed.instructions:,} instructions a decision, and "
            f"{deployed.cost.front_end_bytes:,} bytes of RAM beside the arena."
        )
    if isinstance(front, ImageChain):
        text += f" The camera's frame, {front.frame_bytes:,} bytes, is the caller's and in no number."
    return text


def _of_pictures(deployed: Deployed, chain: ImageChain) -> list[str]:
    parts = [f"frames of {chain.size} {chain.order}"]
    if (chain.crop_width, chain.crop_height) != (chain.width, chain.height):
        parts.append(f"the middle {chain.crop_width}x{chain.crop_height}")
    parts.append(f"{chain.resize} to {chain.out_width}x{chain.out_height} {chain.out_order}")
    made = image_parts(deployed.planned.program)
    exact = made is not None and made.offset is not None
    parts.append(f"scale, mean and std {'in the zero point, exactly' if exact else 'in one multiplication a value'}")
    return parts


def _of_a_stream(front: FrontEnd) -> list[str]:
    parts = [f"raw samples of {plural(front.channels, 'channel')} at {front.rate_hz:g} Hz"]
    if front.resampler is not None:
        parts.append(f"resampled by {front.resampler.up}/{front.resampler.down}")
    if front.features is not None:
        parts.append(f"{front.features.count} {type(front.features).__name__} features a frame")
    if front.detrend != "none":
        parts.append(f"less the window's {'mean' if front.detrend == 'mean' else 'line'}")
    parts.append(f"windows of {front.window}, a hop of {front.hop}")
    return parts
