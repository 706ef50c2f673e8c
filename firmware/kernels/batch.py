"""Descriptors of convolutions and pools of several batch elements: those of one element, repeated.

Such batches are within a network, between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND (TensorFlow 1's dilated convolution).
"""

from __future__ import annotations

from dataclasses import replace

from secateur.firmware.kernels.convolution import Conv2d, DepthwiseConv2d
from secateur.firmware.kernels.descriptor import Call, Kernel, Params
from secateur.firmware.kernels.pooling import AveragePool, MaxPool
from secateur.models.program import Op, Program


class ElementByElement(Kernel):
    """Batch elements one after the other. `one`: the kernel of one."""

    one: Kernel

    def refuses(self, program: Program, op: Op) -> str | None:
        if len(program.tensors[op.inputs[0]].shape) != 4:
            return "input of other than four dimensions"
        return self.one.refuses(first_element(program, op), op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        # every element keeps its own distance, and what input and output differ by adds up from one to the next
        element = first_element(program, op)
        x, out = (element.bytes_of(i) for i in (op.inputs[0], op.outputs[0]))
        apart = out - self.one.overlap_bytes(element, op, position)
        batch = program.tensors[op.outputs[0]].shape[0]
        return max(0, batch * out - max(apart, apart + (batch - 1) * (out - x)))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return self.one.constant_bytes(first_element(program, op), op)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        batch = program.tensors[op.outputs[0]].shape[0]
        return {name: batch * count for name, count in self.one.work(first_element(program, op), op).items()}


class Batched(ElementByElement):
    """In one call. `batch_params`: the struct that holds the struct of one element."""

    header = "sec_batch_s8.h"
    batch_params: str

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        element = first_element(program, op)
        (call,) = self.one.calls(element, op)
        params: Params = {
            **{f"one.{name}": value for name, value in call.params.items()},
            "batch": program.tensors[op.outputs[0]].shape[0],
            "in_step": element.tensors[op.inputs[0]].elements, "out_step": element.tensors[op.outputs[0]].elements,
        }  # fmt: skip
        return (replace(call, function=f"sec_{self.name}", params_type=self.batch_params, params=params),)


class Conv2dBatch(Batched):
    name, kinds, one, batch_params = "conv2d_batch_s8", Conv2d.kinds, Conv2d(), "sec_conv2d_batch_s8_params"


class DepthwiseConv2dBatch(Batched):
    name, kinds, one = "depthwise_conv2d_batch_s8", DepthwiseConv2d.kinds, DepthwiseConv2d()
    batch_params = "sec_depthwise_conv2d_batch_s8_params"


class MaxPoolBatch(Batched):
    name, kinds, one, batch_params = "max_pool_batch_s8", MaxPool.kinds, MaxPool(), "sec_pool_batch_s8_params"


class AveragePoolBatch(Batched):
    name, kinds, one = "average_pool_batch_s8", AveragePool.kinds, AveragePool()
    batch_params = "sec_pool_batch_s8_params"


def first_element(program: Program, op: Op) -> Program:
    """`program` with the input and the output of `op` cut to one batch element."""
    tensors = list(program.tensors)
    for i in (op.inputs[0], op.outputs[0]):
        tensors[i] = replace(tensors[i], shape=(1, *tensors[i].shape[1:]))
    return replace(program, tensors=tuple(tensors))
