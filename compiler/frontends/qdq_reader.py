"""Nodes of a quantized ONNX file one after another: constants folded, operands found, the Program's operators made."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from secateur.compiler.frontends.onnx_cuts import proposed
from secateur.compiler.frontends.onnx_module import array_of, fold_node, outer_values, where
from secateur.compiler.frontends.onnx_operators import Call, Refused
from secateur.compiler.frontends.qdq_values import FIXED, Builder, Constant, Pending, Value, channels_first, same
from secateur.errors import UserError
from secateur.models.program import Program, Quantization, with_ops
from secateur.passes.program.lower import channels_last

Reals = npt.NDArray[np.float64]

INPUT = -1  # the tensor of the network's input before anything has quantized it
LARGEST = (1 << 31) - 1
OFFSETS = {"int8": 0, "uint8": 128}
HINT = "quantize the whole network with onnxruntime.quantization.quantize_static, weights symmetric int8"

Held = Value | Pending
Operator = Callable[["Reader", Call, list[str], str], list[Held]]
"""From the node's call, its inputs' names and its own to its outputs. Raises Refused."""


class Reader:
    """Values so far, by name."""

    def __init__(
        self, operators: dict[str, Operator], model: onnx.ModelProto, entry: str, shape: tuple[int, ...], path: Path
    ) -> None:  # fmt: skip
        self.operators, self.path, self.entry, self.build = operators, path, entry, Builder()
        self.opset = list(model.opset_import)
        self.constants: dict[str, npt.NDArray[Any]] = {i.name: array_of(i, path) for i in model.graph.initializer}
        self.dequantized: dict[str, Constant] = {}
        if len(shape) > 3:
            raise UserError(f"{path}: input {entry} has {len(shape)} dimensions per sample; 1 to 3 are known.")
        inside = channels_last(shape)
        places = channels_first(inside, len(shape))
        self.input_shape, self.input_tensor = inside, INPUT
        kind = next(int(i.type.tensor_type.elem_type) for i in model.graph.input if i.name == entry)
        self.input_type = {int(onnx.TensorProto.INT8): "int8", int(onnx.TensorProto.UINT8): "uint8"}.get(
            kind, "float32"
        )
        self.values: dict[str, Held | None] = {entry: Value(INPUT, places)}

    def program(self, nodes: list[onnx.NodeProto], output: str, name: str) -> Program:
        problems, refused = [], []
        for node in nodes:
            try:
                self.node(node)
            except Refused as reason:
                problems.append(f"{where(node)} ({node.op_type}: {reason})")
                self.values.update(dict.fromkeys(node.output))
                refused.append(node)
        if problems:
            names = proposed(nodes, refused, self.may_end)
            cut = f", or end it before them with --cut-at NAME: {', '.join(names)}" if names else ""
            raise UserError(
                f"{self.path}: {len(problems)} operator(s) have no int8 form: {'; '.join(problems)}. {HINT[0].upper()}"
                f"{HINT[1:]}; give the float network instead{cut}."
            )
        try:
            end = self.end(output)
        except Refused as reason:
            raise UserError(f"{self.path}: output {output}: {reason}.") from None
        if self.input_tensor == INPUT:
            raise UserError(f"{self.path}: output {output} does not depend on a quantized input; {HINT}.")
        b = self.build
        program = Program(name, tuple(b.tensors), tuple(b.ops), (self.input_tensor,), (end,))
        return with_ops(program, list(program.ops))

    def may_end(self, name: str) -> bool:
        """Has the value integers, in the order of a tensor?"""
        value = self.values.get(name)
        if value is None or (isinstance(value, Pending) and value.kind not in FIXED):
            return False
        straight = value.places.ndim > 1 or np.array_equal(value.places, np.arange(value.places.size))
        return straight and not (isinstance(value, Value) and value.tensor in (INPUT, self.input_tensor))

    def end(self, output: str) -> int:
        value = self.values.get(output)
        if isinstance(value, Pending):
            value = self.build.settle(value, self.own_quantization(value, output), output)
        if value is None or value.tensor == INPUT:
            raise Refused(f"is not quantized; {HINT}")
        if value.places.ndim == 1 and not np.array_equal(value.places, np.arange(value.places.size)):
            raise Refused("the network ends in a flattened feature map; end it in a Gemm, or before the Flatten")
        return self.build.arranged(value, output)

    def own_quantization(self, p: Pending, output: str) -> Quantization:
        """Of an output that no QuantizeLinear follows; TFLite fixes those of a few operators."""
        if p.kind in FIXED:
            return FIXED[p.kind]
        raise Refused(f"{output} is not quantized; {HINT}")

    # -- nodes

    def node(self, node: onnx.NodeProto) -> None:
        kind, names = node.op_type, [str(i) for i in node.input]
        present = [n for n in names if n]
        if kind in ("Shape", "Size") and names[0] in self.values:
            self.measure(node)
            return
        if any(n in self.values and self.values[n] is None for n in present):
            self.values.update(dict.fromkeys(node.output))  # behind an operator that is already listed
            return
        known = (*self.constants, *self.dequantized)
        if all(n in known for n in present):
            self.fold(node, names)
            return
        if kind not in self.operators or node.domain not in ("", "ai.onnx", "com.microsoft"):
            raise Refused("no integer arithmetic for it")
        if outer_values(node):
            raise Refused("holds a graph")
        results = self.operators[kind](self, self.call(node), names, where(node) if node.name else str(node.output[0]))
        for name, value in zip(node.output, results, strict=False):
            self.values[name] = value

    def call(self, node: onnx.NodeProto) -> Call:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

        def operand(name: str) -> npt.NDArray[Any] | tuple[int, ...] | None:
            if not name or name in self.dequantized:
                return None
            if name in self.constants:
                return self.constants[name]
            found = self.values.get(name)
            if found is None:
                raise Refused(f"its input {name} is given by nothing")
            return (1, *found.places.shape)

        opset = next((o.version for o in self.opset if o.domain in ("", "ai.onnx")), 0)
        opset = int(attributes.get("opset", opset))  # QLinearSoftmax says its own
        operands = tuple(map(operand, node.input))
        return Call(node.op_type, attributes, operands, len(node.output), "", lambda m: m, opset)

    def measure(self, node: onnx.NodeProto) -> None:
        value = self.values[node.input[0]]
        if value is None:
            self.values.update(dict.fromkeys(node.output))
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        dims = [1, *value.places.shape][attributes.get("start", 0) : attributes.get("end")]
        self.constants[node.output[0]] = np.array(dims if node.op_type == "Shape" else math.prod(dims), np.int64)

    def fold(self, node: onnx.NodeProto, names: list[str]) -> None:
        """A node of constants."""
        kind, out = node.op_type, str(node.output[0])
        if kind == "DequantizeLinear" and names[0] in self.constants:
            self.dequantized[out] = self.dequantize(self.call(node), names)
            return
        if not any(n in self.dequantized for n in names):
            self.constants.update(fold_node(node, self.constants, self.opset))
            return
        found, call = self.dequantized.get(names[0]), self.call(node)
        if found is None or kind not in ("Transpose", "Identity"):
            raise Refused("of quantized constants")
        order = call.attributes.get("perm", range(found.q.ndim)[::-1])
        self.dequantized[out] = found if kind == "Identity" else found.moved([int(i) for i in order])

    def dequantize(self, call: Call, names: list[str]) -> Constant:
        q, scale = self.constants[names[0]], np.atleast_1d(self.constants[names[1]]).astype(np.float64)
        zero = np.zeros(scale.shape, np.int64)
        if len(names) > 2 and names[2]:
            zero = np.atleast_1d(self.constants[names[2]]).astype(np.int64)
        if str(q.dtype) not in ("int8", "uint8", "int32"):
            raise Refused(f"a constant of {q.dtype}; int8, uint8 and int32 are known")
        if call.attributes.get("block_size", 0) or scale.ndim > 1:
            raise Refused("scales in blocks; one a tensor or one a channel are known")
        axis = int(call.attributes.get("axis", 1))
        axis = axis + q.ndim if axis < 0 else axis
        if (scale.size > 1 and (not 0 <= axis < q.ndim or q.shape[axis] != scale.size)) or zero.size != scale.size:
            raise Refused(f"{scale.size} scales and {zero.size} zero points for a constant of {q.shape}")
        if not (scale > 0).all() or not np.isfinite(scale).all():
            raise Refused("a scale that is no positive number")
        if q.dtype == np.uint8:
            q, zero = (q.astype(np.int16) - 128).astype(np.int8), zero - 128
        return Constant(q, scale, zero, axis)

    # -- operands

    def quantization(self, c: Call, names: list[str], kind: str | None) -> tuple[Quantization, str]:
        """Of a Quantize- or DequantizeLinear on an activation, moved to int8; and the type in the file."""
        scale = self.constants.get(names[1])
        zero = self.constants.get(names[2]) if len(names) > 2 and names[2] else None
        if scale is None or (zero is None and len(names) > 2 and names[2]):
            raise Refused("its scale or zero point is computed; static quantization is known")
        if scale.size != 1 or c.attributes.get("block_size", 0):
            raise Refused(f"{scale.size} scales of an activation; one is known")
        if zero is not None:
            kind = str(zero.dtype)
        elif kind is None:
            wanted = int(c.attributes.get("output_dtype", 0)) or int(onnx.TensorProto.UINT8)
            kind = str(onnx.helper.tensor_dtype_to_np_dtype(wanted))
        if kind not in OFFSETS:
            raise Refused(f"activations of {kind}; int8 and uint8 are known")
        real = float(np.ravel(scale)[0])
        if not real > 0 or not math.isfinite(real):
            raise Refused(f"scale {real:g}")
        first = int(np.ravel(zero)[0]) if zero is not None else 0
        return Quantization((float(np.float32(real)),), (first - OFFSETS[kind],)), kind

    def given(self, name: str) -> Held:
        value = self.values.get(name)
        if value is None:
            raise Refused(f"its input {name} is a constant or given by nothing")
        if isinstance(value, Value) and value.tensor == INPUT:
            raise Refused(f"its input is not quantized; {HINT}")
        return value

    def held(self, name: str) -> Value:
        """A value in integers; of an operator that keeps scales, without a QuantizeLinear behind it too."""
        value = self.given(name)
        if isinstance(value, Value):
            return value
        kept = [self.build.quantization(i) for i in value.inputs]
        if value.kind not in ("QUANTIZE", "AVERAGE_POOL_2D", "CONCATENATION") or not all(
            same(k, kept[0]) for k in kept
        ):
            raise Refused(f"its input {name} is not quantized; {HINT}")
        return self.build.settle(value, kept[0], name)

    def weights(self, name: str) -> Constant:
        found = self.dequantized.get(name)
        if found is None:
            computed = name in self.values
            raise Refused("its weights are computed" if computed else f"its weights are not quantized; {HINT}")
        if found.q.dtype != np.int8:
            raise Refused(f"weights of {found.q.dtype}; int8 and uint8 are known")
        if found.zero_point.any():
            zero = int(found.zero_point[np.flatnonzero(found.zero_point)[0]])
            raise Refused(
                f"asymmetric weights (zero point {zero} of int8); quantize them with weight_type=QuantType.QInt8 and "
                "WeightSymmetric=True"
            )
        return found

    def real(self, name: str) -> Reals:
        """A constant's real values."""
        if name in self.dequantized:
            return self.dequantized[name].real()
        if name not in self.constants:
            raise Refused("a computed operand")
        return self.constants[name].astype(np.float64)

    def weighted(
        self, x: int, q: npt.NDArray[np.int8], scale: Reals, axis: int, bias: str | Reals, name: str
    ) -> tuple[int, int, int]:
        """Input, weights and bias of an operator; the bias (a constant's name or reals) at the scale of the sums."""
        count = q.shape[axis]
        quantization = Quantization(tuple(scale.tolist()), (0,) * scale.size, axis if scale.size > 1 else 0)
        sums = np.float64(self.build.quantization(x).scale[0]) * scale
        found = self.dequantized.get(bias) if isinstance(bias, str) else None
        real = bias if not isinstance(bias, str) else self.real(bias) if bias else np.zeros(count)
        ints = np.rint(real.ravel() / sums)
        if found is not None and found.q.dtype == np.int32 and not found.zero_point.any() and np.allclose(
            np.broadcast_to(found.scale, count), np.broadcast_to(sums, count), 1e-5, 0
        ):  # fmt: skip
            ints = found.q.ravel().astype(np.float64)
        if ints.size not in (1, count):
            raise Refused(f"{ints.size} biases for {count} outputs")
        return x, self.build.constant(f"{name}_weights", q, quantization), self.bias(ints, count, sums, name)

    def bias(self, ints: npt.NDArray[Any], count: int, sums: Reals, name: str) -> int:
        if not (np.abs(ints) <= LARGEST).all():
            raise Refused("a bias that does not fit int32 at the scale of input times weight")
        real = Quantization(tuple(float(np.float32(s)) for s in sums), (0,) * sums.size, 0)
        return self.build.constant(f"{name}_bias", np.broadcast_to(ints, count).astype(np.int32), real)
