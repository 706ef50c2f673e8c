"""Descriptor of RESIZE_BILINEAR."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Kernel, Params, Ref, nhwc, overlap
from secateur.firmware.kernels.elementwise import refuse_types
from secateur.models.program import Op, Program
from secateur.models.reference_resize import between, steps


class ResizeBilinear(Kernel):
    name, header, kinds = "resize_bilinear_s8", "sec_resize_bilinear_s8.h", ("RESIZE_BILINEAR",)

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        if x.quantization != out.quantization:
            return "input and output scales differ"
        for size, wanted in zip(x.shape[1:3], out.shape[1:3], strict=True):
            if between(size, wanted, op.options)[0].max() >= size:
                # TFLite's rounded step leaves the picture there, and it reads what lies behind
                return f"{size} positions stretched to {wanted}, which TFLite reads outside its input for"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        n, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        rows, columns = between(in_h, out_h, op.options)[0], between(in_w, out_w, op.options)[0]
        pixels = (np.arange(n)[:, None, None] * in_h + rows[:, None]) * in_w + columns
        read = (pixels[..., None] * c + np.arange(c)).ravel()
        return overlap(np.arange(len(read)), read, len(read))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        n, out_h, out_w, c = nhwc(program.tensors[op.outputs[0]])
        return {"output": n * out_h * out_w * c, "pixel": n * out_h * out_w}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        n, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        y, x = steps(in_h, out_h, op.options), steps(in_w, out_w, op.options)
        params: Params = {
            "n": n, "in_h": in_h, "in_w": in_w, "c": c, "out_h": out_h, "out_w": out_w,
            "y_start": y[0], "y_step": y[1], "x_start": x[0], "x_step": x[1],
        }  # fmt: skip
        function = "sec_resize_bilinear_s8"
        return (Call(function, f"{function}_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)
