"""Descriptors of the kernels with weights: convolution, depthwise convolution, fully connected."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import (
    Arguments,
    Block,
    Call,
    Constant,
    Kernel,
    Ref,
    Windows,
    block_overlap,
    compute_types,
    nhwc,
)
from secateur.models.fixed_point import activation_range, quantize_multiplier, wrap32
from secateur.models.program import Op, Program, op_macs

BLOCK = 4  # output channels computed together: sec_conv2d_s8_dot, sec_depthwise_conv2d_s8_run4


def constant_bytes(program: Program, op: Op, multipliers: int) -> int:
    """Weights, an int32 bias a channel, an int32 multiplier and an int8 shift each."""
    weights = program.tensors[op.inputs[1]]
    return weights.elements + 4 * program.tensors[op.outputs[0]].shape[-1] + 5 * multipliers


def constants(program: Program, op: Op, axis: int, one_multiplier: bool) -> tuple[Constant, ...]:
    """Weights as they are, bias with the input's zero point folded in, multiplier and shift a channel.

    `axis`: the weights' output channel. `one_multiplier`: a per-tensor FULLY_CONNECTED takes one for all channels.
    """
    x, weights, out = (program.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    assert weights.data is not None and weights.quantization is not None
    channels = out.shape[-1]
    scales = np.asarray(weights.quantization.scale, dtype=np.float32)
    products = np.float64(x.scale) * scales.astype(np.float64)
    pairs = [quantize_multiplier(float(p / np.float64(out.scale))) for p in products]
    if len(pairs) == 1 and not one_multiplier:
        pairs *= channels  # the convolution kernels take one multiplier a channel
    others = tuple(i for i in range(weights.data.ndim) if i != axis)
    total = weights.data.astype(np.int64).sum(axis=others)
    has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
    bias_data = program.tensors[op.inputs[2]].data if has_bias else None
    bias = np.zeros(channels, np.int64) if bias_data is None else bias_data.astype(np.int64)
    return (
        Constant("weights", "int8_t", weights.data),
        Constant("bias", "int32_t", wrap32(bias - x.zero_point * total)),
        Constant("multiplier", "int32_t", np.array([m for m, _ in pairs], np.int64)),
        Constant("shift", "int8_t", np.array([s for _, s in pairs], np.int64)),
    )


def geometry(program: Program, op: Op) -> dict[str, int]:
    """The fields that the parameter structs of both convolutions share."""
    _, in_h, in_w, in_c = nhwc(program.tensors[op.inputs[0]])
    _, out_h, out_w, out_c = nhwc(program.tensors[op.outputs[0]])
    _, k_h, k_w, _ = nhwc(program.tensors[op.inputs[1]])
    o = op.options
    return {
        "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w, "out_c": out_c,
        "k_h": k_h, "k_w": k_w, "stride_h": o.stride[0], "stride_w": o.stride[1],
        "dilation_h": o.dilation[0], "dilation_w": o.dilation[1],
        "pad_top": o.padding.top, "pad_left": o.padding.left,
    }  # fmt: skip


def windows(program: Program, op: Op) -> Windows:
    g, o = geometry(program, op), op.options
    return Windows(
        (g["out_h"], g["out_w"]), (g["in_h"], g["in_w"]), (g["k_h"], g["k_w"]), o.stride, o.dilation,
        (o.padding.top, o.padding.left),
    )  # fmt: skip


def channel_blocks(count: int) -> list[tuple[int, int]]:
    """[first, end) of the blocks of output channels that are computed together."""
    return [(c, min(c + BLOCK, count)) for c in range(0, count, BLOCK)]


def output_stage(program: Program, op: Op) -> dict[str, int]:
    out = program.tensors[op.outputs[0]]
    low, high = activation_range(op.options.activation, out.scale, out.zero_point)
    return {"output_offset": out.zero_point, "low": low, "high": high}


def refuse_types(program: Program, op: Op) -> str | None:
    """These kernels take int8 throughout, batch 1 and constant, symmetric weights."""
    tensors = [program.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0])]
    if {t.dtype for t in tensors} != compute_types(program):
        return "types " + ", ".join(t.dtype for t in tensors)
    weights = tensors[1]
    if weights.data is None:
        return "weights are computed, not constant"
    if weights.quantization is not None and any(weights.quantization.zero_point):
        return "weights with a zero point"
    return None


class Conv2d(Kernel):
    name, header, kinds = "conv2d_s8", "sec_conv2d_s8.h", ("CONV_2D",)
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        if nhwc(program.tensors[op.inputs[0]])[0] != 1:
            return "batch above 1"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        g = geometry(program, op)
        groups = self._groups(program, op)
        group_in, group_out = g["in_c"] // groups, g["out_c"] // groups
        blocks = tuple(
            Block(i * group_out + first, i * group_out + end, i * group_in, (i + 1) * group_in)
            for i in range(groups)
            for first, end in channel_blocks(group_out)
        )
        return block_overlap(windows(program, op), blocks, g["in_c"], g["out_c"], self.descending)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return constant_bytes(program, op, program.tensors[op.outputs[0]].shape[-1])

    def work(self, program: Program, op: Op) -> dict[str, int]:
        g, groups = geometry(program, op), self._groups(program, op)
        pixels, macs = g["out_h"] * g["out_w"], op_macs(program, op)
        whole, rest = divmod(g["out_c"] // groups, BLOCK)
        blocked = macs * whole * BLOCK * groups // g["out_c"]
        # one run a kernel row where taps are contiguous, one a tap where they are not
        runs = g["k_h"] * (1 if groups == 1 and g["dilation_w"] == 1 else g["k_w"])
        blocks = pixels * groups * (whole + (rest > 0))
        return {
            "mac_blocked": blocked, "mac_single": macs - blocked, "block": blocks, "run": blocks * runs,
            "output": pixels * g["out_c"],
        }  # fmt: skip

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        params = geometry(program, op) | {"groups": self._groups(program, op), "step": self.step}
        params |= {"input_offset": -program.tensors[op.inputs[0]].zero_point} | output_stage(program, op)
        arguments: Arguments = (Ref(op.inputs[0]), *constants(program, op, axis=0, one_multiplier=False))
        return (Call("sec_conv2d_s8", "sec_conv2d_s8_params", params, arguments, Ref(op.outputs[0])),)

    @staticmethod
    def _groups(program: Program, op: Op) -> int:
        return program.tensors[op.inputs[0]].shape[-1] // program.tensors[op.inputs[1]].shape[-1]


class DepthwiseConv2d(Kernel):
    name, header, kinds = "depthwise_conv2d_s8", "sec_depthwise_conv2d_s8.h", ("DEPTHWISE_CONV_2D",)
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        if nhwc(program.tensors[op.inputs[0]])[0] != 1:
            return "batch above 1"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        g = geometry(program, op)
        multiplier = g["out_c"] // g["in_c"]
        blocks = tuple(
            Block(first, end, first // multiplier, (end - 1) // multiplier + 1)
            for first, end in channel_blocks(g["out_c"])
        )
        return block_overlap(windows(program, op), blocks, g["in_c"], g["out_c"], self.descending)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return constant_bytes(program, op, program.tensors[op.outputs[0]].shape[-1])

    def work(self, program: Program, op: Op) -> dict[str, int]:
        g = geometry(program, op)
        pixels, taps = g["out_h"] * g["out_w"], g["k_h"] * g["k_w"]
        blocks = g["out_c"] // BLOCK if g["out_c"] == g["in_c"] else 0
        single = pixels * (g["out_c"] - blocks * BLOCK) * taps
        return {
            "mac_blocked": pixels * blocks * BLOCK * taps, "mac_single": single,
            "run": pixels * blocks * g["k_h"], "output": pixels * g["out_c"],
        }  # fmt: skip

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        g = geometry(program, op)
        params = g | {"depth_multiplier": g["out_c"] // g["in_c"], "step": self.step}
        params |= {"input_offset": -program.tensors[op.inputs[0]].zero_point} | output_stage(program, op)
        arguments: Arguments = (Ref(op.inputs[0]), *constants(program, op, axis=3, one_multiplier=False))
        call = Call("sec_depthwise_conv2d_s8", "sec_depthwise_conv2d_s8_params", params, arguments, Ref(op.outputs[0]))
        return (call,)


class FullyConnected(Kernel):
    name, header, kinds = "fully_connected_s8", "sec_fully_connected_s8.h", ("FULLY_CONNECTED",)
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        outputs, inputs = program.tensors[op.inputs[1]].shape
        batch = program.tensors[op.outputs[0]].elements // outputs
        blocks = tuple(Block(first, end, 0, inputs) for first, end in channel_blocks(outputs))
        return block_overlap(Windows((batch, 1), (batch, 1)), blocks, inputs, outputs, self.descending)

    def constant_bytes(self, program: Program, op: Op) -> int:
        weights = program.tensors[op.inputs[1]]
        per_row = weights.quantization is None or weights.quantization.per_channel  # as `quantize` will make it
        return constant_bytes(program, op, weights.shape[0] if per_row else 1)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        outputs, inputs = program.tensors[op.inputs[1]].shape
        batch = program.tensors[op.outputs[0]].elements // outputs
        whole = outputs // BLOCK * BLOCK * inputs * batch
        total = outputs * inputs * batch
        return {"mac_blocked": whole, "mac_single": total - whole, "output": batch * outputs}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        weights = program.tensors[op.inputs[1]]
        assert weights.quantization is not None
        outputs, inputs = weights.shape
        params = {
            "batch": program.tensors[op.outputs[0]].elements // outputs, "in": inputs, "out": outputs,
            "per_row": int(weights.quantization.per_channel), "step": self.step,
        } | output_stage(program, op)  # fmt: skip
        per_tensor = not weights.quantization.per_channel
        arguments: Arguments = (Ref(op.inputs[0]), *constants(program, op, axis=0, one_multiplier=per_tensor))
        call = Call("sec_fully_connected_s8", "sec_fully_connected_s8_params", params, arguments, Ref(op.outputs[0]))
        return (call,)
