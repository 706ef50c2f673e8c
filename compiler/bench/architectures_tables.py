"""The tables and the document of `secateur bench architectures`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from secateur.compiler.bench.architectures import FLOOR, Options, Row
from secateur.compiler.bench.search import machine


def document(rows: list[Row], options: Options) -> dict[str, Any]:
    """For `--json`."""
    return {"rows": [r.document() for r in rows], **asdict(options), "floor": FLOOR, "machine": machine()}


def markdown(rows: list[Row]) -> str:
    """Three tables: what can be removed, what was proven, and the noise of int8."""
    lines = [
        "| architecture | from | size | parameters | layers removable | layers that stay | filter groups removable "
        "| filters | groups that stay |",
        "|---|---|---|---:|---:|---|---:|---:|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r.name} | {r.route} | {r.about} | {r.parameters:,} | {r.removable_layers} of {r.layers} "
            f"({r.removable_layers_floor_1}) | {_listed(r.layers_stay)} | {r.removable_groups} of {r.groups} "
            f"| {r.filters:,} | {_listed(r.groups_stay)} |"
        )
    lines += [
        "",
        "| architecture | from | layers proven | largest difference | groups proven | largest difference | cut: "
        "layers, filters, parameters left | loss, one step | ONNX | int8, dB | worst layer, dB | golden | values | "
        "mismatches |",
        "|---|---|---:|---:|---:|---:|---|---|---:|---:|---:|---|---:|---:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.name} | {r.route} | {r.layers_proven} "
            f"| {f'{r.layer_difference:.1e}' if r.layers_proven else ''} | {r.groups_proven} "
            f"| {r.filter_difference:.1e} | {r.cut_layers}, {r.cut_filters}, {r.cut_parameters / r.parameters:.0%} "
            f"| {r.loss_before:.4f} to {r.loss_after:.4f} | {r.onnx_difference:.1e} | {r.sqnr_db:.1f} "
            f"| {r.layer_db:.1f} | {'TFLM' if 'Micro' in r.golden else 'ours'} | {r.values:,} | {r.mismatches} |"
        )
    lines += [
        "",
        "| architecture | from | trained on CIFAR-10, steps | test accuracy % | int8, dB "
        "| with `--calibration output` | input alone rounded | ONNX Runtime's int8, dB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        learned = "" if r.accuracy is None else f"{r.accuracy:.1f}"
        lines.append(
            f"| {r.name} | {r.route} | {r.steps} | {learned} | {r.sqnr_db:.1f} | {r.output_db:.1f} | {r.input_db:.1f} "
            f"| {r.onnx_runtime_db:.1f} |"
        )
    total, wrong = sum(r.values for r in rows), sum(r.mismatches for r in rows)
    lines.append(f"\n{len(rows)} networks, {total:,} output values compared, {wrong} mismatches. {machine()}.")
    return "\n".join(lines) + "\n"


def _listed(reasons: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in reasons.items())
