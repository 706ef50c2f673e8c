"""Weights rounded so that a layer's output, not each weight, is near: rounding errors that the inputs let cancel do.

Source: Frantar et al. 2023, "GPTQ", equations 2 and 3, after Hassibi and Stork 1993: weights are rounded one input at a
time, and those not yet rounded take up the error by the inverse of H = E x x^T. Layer by layer, on the inputs that the
int8 network computes. The bias then makes the mean of the output that of the float network (Nagel et al. 2019, section
4.2, by samples), so what clipping and earlier layers shifted is shifted back; H is of x less its mean for that reason.
Deviations: inputs in falling order of their variance (GPTQ's "act-order"); at most `PIECE` of them share their errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from secateur.compiler.export.calibrate import Value, first, run_op, sides
from secateur.compiler.export.quantize import WEIGHT_AXIS
from secateur.models.program import Op, Program, Tensor

SAMPLES = 128
ROWS = 8192
"""Positions of all samples that a layer is fitted on."""
BATCH = 16
PIECE = 1024
DAMPING = 0.01
"""Of the mean variance, added to each: what the samples do not show may still occur."""
BYTES = 1 << 29
"""Of activations at a time."""


def round_weights(program: Program, quantized: Program, samples: npt.NDArray[np.float32]) -> Program:
    """`quantized` (by `quantize`, of `program`) with other integers in weights and biases; scales stay."""
    count = min(len(samples), SAMPLES, max(1, BYTES // (8 * _peak(program))))
    chosen = samples[np.linspace(0, len(samples) - 1, count).astype(int)]
    tensors = list(quantized.tensors)
    entry, last = program.inputs[0], _last_uses(program)
    exact = {entry: torch.from_numpy(np.ascontiguousarray(chosen))}
    rough = {entry: on_grid(exact[entry], tensors[entry])}
    with torch.no_grad():
        for position, op in enumerate(program.ops):
            out = op.outputs[0]
            if op.kind in WEIGHT_AXIS:
                linear = run_op(program, replace(op, options=replace(op.options, activation="NONE")), exact)
                _round(op, tensors, program.tensors, rough[op.inputs[0]], linear)
            exact[out] = run_op(program, op, exact)
            rough[out] = on_grid(run_op(_dequantized(program, op, tensors), op, rough), tensors[out])
            for i in program.activations(op):
                if last[i] == position:
                    exact.pop(i, None)
                    rough.pop(i, None)
    return replace(quantized, tensors=tuple(tensors))


def on_grid(value: Value, tensor: Tensor) -> Value:
    """Rounded to the int8 values of `tensor`; as it is where that has no scale."""
    if tensor.quantization is None:
        return value
    return (torch.round(value / tensor.scale + tensor.zero_point).clamp(-128, 127) - tensor.zero_point) * tensor.scale


def fit(weights: Value, moments: Value, scale: Value) -> Value:
    """Integers -127 .. 127 for weights (groups, inputs, outputs): `moments` (groups, inputs, inputs) is H.

    `scale`: (groups, outputs).
    """
    groups, inputs, outputs = weights.shape
    variance = torch.diagonal(moments, dim1=1, dim2=2)
    added = (DAMPING * variance.mean(1, keepdim=True)).clamp(min=1e-12).expand(groups, inputs)
    order = torch.argsort(-variance, dim=1, stable=True)
    rows = order[:, :, None].expand(groups, inputs, inputs)
    h = torch.gather(torch.gather(moments + torch.diag_embed(added), 1, rows), 2, rows.transpose(1, 2))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    columns = order[:, :, None].expand(groups, inputs, outputs)
    left, found = torch.gather(weights, 1, columns), torch.zeros_like(weights)
    for k in range(inputs):
        found[:, k] = torch.round(left[:, k] / scale).clamp(-127, 127)
        error = (left[:, k] - found[:, k] * scale) / upper[:, k, k, None]
        left[:, k + 1 :] -= upper[:, k, k + 1 :, None] * error[:, None]
    return torch.zeros_like(found).scatter(1, columns, found)


def _round(op: Op, tensors: list[Tensor], floats: tuple[Tensor, ...], x: Value, linear: Value) -> None:
    """Replace weights and bias of one operator. `linear`: its float output without the activation."""
    weights, bias = tensors[op.inputs[1]], tensors[op.inputs[2]]
    assert weights.quantization is not None and bias.quantization is not None
    grouped = _grouped(op, torch.from_numpy(np.ascontiguousarray(floats[op.inputs[1]].data)).double(), x.shape[-1])
    groups, inputs, outputs = grouped.shape
    scale = torch.tensor(weights.quantization.scale, dtype=torch.float64)
    scale = scale.expand(groups * outputs).reshape(groups, outputs)
    mean, parts = _moments(op, weights.shape[1:3], x, groups, inputs)
    q = torch.cat([fit(grouped[:, at], h, scale) for at, h in parts], 1)
    rest = linear.reshape(-1, groups, outputs).double().mean(0) - torch.einsum("gi,gio->go", mean, q * scale[:, None])
    steps = np.asarray(bias.quantization.scale, np.float64)
    limit = (1 << 31) - 1
    moved = np.clip(np.rint(rest.reshape(-1).numpy() / steps), -limit, limit).astype(np.int32)
    data = _ungrouped(op, q, weights.shape).numpy().astype(np.int8)
    tensors[op.inputs[1]] = replace(weights, data=np.ascontiguousarray(data))
    tensors[op.inputs[2]] = replace(bias, data=moved)


def _grouped(op: Op, weights: Value, channels: int) -> Value:
    """(groups, inputs, outputs) of the group, inputs in the order of `_rows`."""
    if op.kind == "FULLY_CONNECTED":
        return weights.T[None]
    if op.kind == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, channels, weights.shape[3] // channels).permute(1, 0, 2)
    groups = channels // weights.shape[3]
    return weights.permute(0, 3, 1, 2).reshape(groups, len(weights) // groups, -1).transpose(1, 2)


def _ungrouped(op: Op, found: Value, shape: tuple[int, ...]) -> Value:
    if op.kind == "FULLY_CONNECTED":
        return found[0].T
    if op.kind == "DEPTHWISE_CONV_2D":
        return found.permute(1, 0, 2).reshape(shape)
    return found.transpose(1, 2).reshape(shape[0], shape[3], *shape[1:3]).permute(0, 2, 3, 1)


def _rows(op: Op, kernel: tuple[int, ...], x: Value) -> Value:
    """What each output position reads, (n, positions, channels x height x width of the kernel)."""
    if op.kind == "FULLY_CONNECTED":
        return x.reshape(len(x), 1, -1)
    padded = functional.pad(first(x), sides(op))
    return functional.unfold(padded, kernel, op.options.dilation, 0, op.options.stride).transpose(1, 2)


def _moments(
    op: Op, kernel: tuple[int, ...], x: Value, groups: int, inputs: int
) -> tuple[Value, list[tuple[slice, Value]]]:
    """The mean of the rows, (groups, inputs), over all positions; their second moments about it, piece by piece."""
    batches = range(0, len(x), BATCH)
    rows = (_rows(op, kernel, x[i : i + BATCH]) for i in batches)
    total, seen = torch.zeros(groups * inputs, dtype=torch.float64), 0
    kept = []
    for part in rows:
        flat = part.reshape(-1, groups * inputs)
        total, seen = total + flat.double().sum(0), seen + len(flat)
        kept.append(flat[:: max(1, -(-len(flat) * len(batches) // ROWS))])
    mean = total / seen
    centred = (torch.cat(kept).double() - mean).reshape(-1, groups, inputs).transpose(0, 1)
    found = []
    for start in range(0, inputs, PIECE):
        at = slice(start, min(start + PIECE, inputs))
        piece = centred[:, :, at]
        found.append((at, piece.transpose(1, 2) @ piece / piece.shape[1]))
    return mean.reshape(groups, inputs), found


def _dequantized(program: Program, op: Op, tensors: list[Tensor]) -> Program:
    """`program` whose constants of `op` are the real values of the integers."""
    table = list(program.tensors)
    for i in op.inputs:
        tensor, grid = tensors[i], tensors[i].quantization
        if tensor.data is None or grid is None:
            continue
        along = [1] * tensor.data.ndim
        along[grid.axis if tensor.dtype == "int8" else 0] = -1
        zero = np.asarray(grid.zero_point, np.float64).reshape(along)
        real = (tensor.data - zero) * np.asarray(grid.scale, np.float64).reshape(along)
        table[i] = replace(table[i], data=real.astype(np.float32))
    return replace(program, tensors=tuple(table))


def _last_uses(program: Program) -> dict[int, int]:
    found = {i: position for position, op in enumerate(program.ops) for i in op.inputs}
    return found | dict.fromkeys(program.outputs, len(program.ops))


def _peak(program: Program) -> int:
    """The most values of one sample that are needed at a time."""
    last, live, most = _last_uses(program), set(program.inputs), 1
    for position, op in enumerate(program.ops):
        live.add(op.outputs[0])
        most = max(most, sum(program.tensors[i].elements for i in live))
        live = {i for i in live if last.get(i, position) > position}
    return most
