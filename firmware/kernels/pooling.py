"""Descriptors of the kernels that reduce windows: max pool, average pool, mean over height and width."""

from __future__ import annotations

from secateur.firmware.kernels.descriptor import (
    Block,
    Call,
    Kernel,
    Ref,
    Windows,
    block_overlap,
    compute_types,
    nhwc,
)
from secateur.firmware.kernels.elementwise import refuse_types
from secateur.models.fixed_point import activation_range, quantize_multiplier
from secateur.models.program import Op, Program


class Pool(Kernel):
    header = "sec_pool_s8.h"
    both_ways = True
    function: str

    def refuses(self, program: Program, op: Op) -> str | None:
        if nhwc(program.tensors[op.inputs[0]])[0] != 1:
            return "batch above 1"
        if program.tensors[op.inputs[0]].quantization != program.tensors[op.outputs[0]].quantization:
            return "input and output scales differ"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        _, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        o = op.options
        pad = (o.padding.top, o.padding.left)
        windows = Windows((out_h, out_w), (in_h, in_w), o.kernel, o.stride, (1, 1), pad)
        return block_overlap(windows, tuple(Block(i, i + 1, i, i + 1) for i in range(c)), c, c, self.descending)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        outputs = program.tensors[op.outputs[0]].elements
        return {"tap": outputs * op.options.kernel[0] * op.options.kernel[1], "output": outputs}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out, o = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]], op.options
        _, in_h, in_w, c = nhwc(x)
        _, out_h, out_w, _ = nhwc(out)
        low, high = activation_range(o.activation, out.scale, out.zero_point)
        top, left = o.padding.top, o.padding.left
        if self.descending:  # what the last window's taps leave below and to the right of the input
            top = (out_h - 1) * o.stride[0] + o.kernel[0] - top - in_h
            left = (out_w - 1) * o.stride[1] + o.kernel[1] - left - in_w
        params = {
            "in_h": in_h, "in_w": in_w, "c": c, "out_h": out_h, "out_w": out_w, "k_h": o.kernel[0],
            "k_w": o.kernel[1], "stride_h": o.stride[0], "stride_w": o.stride[1], "pad_top": top, "pad_left": left,
            "low": low, "high": high, "step": self.step,
        }  # fmt: skip
        arguments, output = (self.whole(program, op.inputs[0]),), self.whole(program, op.outputs[0])
        return (Call(self.function, "sec_pool_s8_params", params, arguments, output),)


class MaxPool(Pool):
    name, kinds, function = "max_pool_s8", ("MAX_POOL_2D",), "sec_max_pool_s8"


class AveragePool(Pool):
    name, kinds, function = "average_pool_s8", ("AVERAGE_POOL_2D",), "sec_average_pool_s8"


class Mean(Kernel):
    name, header, kinds = "mean_s8", "sec_mean_s8.h", ("MEAN",)

    def refuses(self, program: Program, op: Op) -> str | None:
        x, axes = program.tensors[op.inputs[0]], program.tensors[op.inputs[1]].data
        if axes is None:
            return "axes are computed, not constant"
        if len(x.shape) != 4 or x.shape[0] != 1 or sorted(int(a) % 4 for a in axes.ravel()) != [1, 2]:
            return f"axes {axes.ravel().tolist()} of a tensor {x.shape}; (1, 2) of (1, h, w, c) is known"
        types = {program.tensors[i].dtype for i in (op.inputs[0], op.outputs[0])}
        return None if types == compute_types(program) else "types " + ", ".join(sorted(types))

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        # channel c is read from byte c upwards before output byte c is written
        return program.tensors[op.outputs[0]].elements

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        return {"tap": x.elements, "output": out.elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        _, h, w, c = nhwc(x)
        positions = h * w
        multiplier, shift = quantize_multiplier(x.scale / out.scale)
        # 1 / positions goes into the multiplier, kept as long as 64 bits allow: TFLite's own way, truncation included
        extra = min(positions.bit_length() - 1, 32, 31 + shift)
        params = {
            "positions": positions, "c": c, "input_zero_point": x.zero_point, "output_offset": out.zero_point,
            "multiplier": (multiplier << extra) // positions, "shift": shift - extra,
        }  # fmt: skip
        return (Call("sec_mean_s8", "sec_mean_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)
