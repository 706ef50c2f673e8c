"""Operators of quantized ONNX that compute each integer from those at its place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from secateur.compiler.export.quantize import activation_quantization
from secateur.compiler.frontends.onnx_operators import Call, Refused
from secateur.compiler.frontends.qdq_reader import INPUT, Held, Operator, Reader
from secateur.compiler.frontends.qdq_values import Pending, Value, channels_first, same
from secateur.models.program import Options, Quantization


def _quantize(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    value = r.values[names[0]]
    wanted, _ = r.quantization(c, names, None)
    assert value is not None
    if isinstance(value, Pending):
        return [r.build.settle(value, wanted, name)]
    if value.tensor == INPUT:
        return [_entry(r, value, wanted, name)]
    return [Value(r.build.requantized(value.tensor, wanted, name), value.places)]


def _entry(r: Reader, value: Value, wanted: Quantization, name: str) -> Value:
    """The input's integers: what quantizes it first is what the Program takes."""
    if r.input_tensor == INPUT:
        r.input_tensor = r.build.tensor(r.entry, r.input_shape, wanted)
    return Value(r.build.requantized(r.input_tensor, wanted, name), value.places)


def _dequantize(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    value = r.values[names[0]]
    if not isinstance(value, Value):
        raise Refused("of a value that is not quantized")
    kind = r.input_type if value.tensor == INPUT else None
    wanted, kind = r.quantization(c, names, kind or "uint8")
    if value.tensor == INPUT:
        if r.input_type == "float32":
            raise Refused("of a value that is not quantized")
        return [_entry(r, value, wanted, name)]
    if not same(r.build.quantization(value.tensor), wanted):
        raise Refused("with another scale or zero point than the QuantizeLinear before it")
    return [value]


def _clipped(r: Reader, name: str, low: float, high: float) -> list[Held]:
    value = r.given(name)
    if isinstance(value, Value):
        shape = r.build.tensors[value.tensor].shape
        value = Pending("QUANTIZE", (value.tensor,), Options(), shape, value.places)
    return [replace(value, low=min(max(low, value.low), value.high), high=max(min(high, value.high), value.low))]


def _relu(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    return _clipped(r, names[0], 0.0, math.inf)


def _clip(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    ends = []
    for i, (key, without) in enumerate((("min", -math.inf), ("max", math.inf)), 1):
        given = names[i] if len(names) > i else ""
        end = float(r.real(given).ravel()[0]) if given else float(c.attributes.get(key, without))
        ends.append(without if abs(end) >= 1e30 else end)
    return _clipped(r, names[0], ends[0], ends[1])


def _binary(kind: str) -> Operator:
    def make(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
        constants = [n in r.constants or n in r.dequantized for n in names]
        if kind == "ADD" and any(constants):
            biased = _biased(r, names[constants.index(False)], names[constants.index(True)], name)
            if biased is not None:
                return [biased]
        values = [None if constant else r.held(n) for n, constant in zip(names, constants, strict=True)]
        present = [v for v in values if v is not None]
        rank = present[0].places.ndim
        flat = rank == 1
        if any(v.places.ndim != rank for v in present):
            raise Refused("of values with different numbers of dimensions")
        if flat and any(not np.array_equal(v.places, present[0].places) for v in present):
            raise Refused("of values that are flattened in different orders")
        operands = []
        for n, v in zip(names, values, strict=True):
            if v is None:
                operands.append(_operand(r, n, present[0], name))
            elif flat:
                operands.append(r.build.shaped(v.tensor, (1, v.places.size), f"{name}_in"))
            else:
                operands.append(r.build.arranged(v, name))
        shape = tuple(int(n) for n in np.broadcast_shapes(*(r.build.tensors[i].shape for i in operands)))
        places = present[0].places if flat else channels_first(shape, rank)
        return [Pending(kind, (operands[0], operands[1]), Options(), shape, places)]

    return make


def _operand(r: Reader, constant: str, other: Value, name: str) -> int:
    """A constant of an elementwise operator, channels last."""
    found, rank = r.dequantized.get(constant), other.places.ndim
    if found is not None and found.scale.size == 1 and found.q.dtype == np.int8:
        q, quantization = found.q, Quantization((float(np.float32(found.scale[0])),), (int(found.zero_point[0]),))
    else:
        real = r.real(constant)
        quantization = activation_quantization(float(real.min()), float(real.max()))
        q = np.clip(np.rint(real / quantization.scale[0]) + quantization.zero_point[0], -128, 127).astype(np.int8)
    whole = q.reshape((1,) * (rank + 1 - q.ndim) + q.shape)
    if whole.ndim != rank + 1 or whole.shape[0] != 1:
        raise Refused(f"a constant of {q.shape} on a value of {other.places.shape}")
    inner = whole[0]
    if rank == 1:
        spread = np.broadcast_to(inner, other.places.shape)
        held = np.empty_like(spread)
        held[other.places] = spread
        return r.build.constant(f"{name}_constant", held[None], quantization)
    inner = np.moveaxis(inner, 0, -1)
    return r.build.constant(f"{name}_constant", inner[None, None] if rank == 2 else inner[None], quantization)


def _biased(r: Reader, computed: str, constant: str, name: str) -> Pending | None:
    """A constant that is added to the sums of a convolution or fully connected layer before they are quantized."""
    value = r.values.get(computed)
    if not isinstance(value, Pending) or value.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return None
    real, count = r.real(constant), value.shape[-1]
    channel = real.reshape((1,) * (value.places.ndim + 1 - real.ndim) + real.shape)
    if value.low != -math.inf or value.high != math.inf or channel.size not in (1, channel.shape[1]):
        return None
    old = r.build.tensors[value.inputs[2]]
    assert old.data is not None and old.quantization is not None
    sums = np.array(old.quantization.scale, np.float64)
    ints = old.data.astype(np.int64) + np.rint(np.broadcast_to(channel.ravel(), count) / sums).astype(np.int64)
    return replace(value, inputs=(*value.inputs[:2], r.bias(ints, count, sums, name)))


def _table(kind: str) -> Operator:
    """Functions that TFLite gives from one integer to one."""

    def make(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
        x = r.held(names[0])
        options = Options(alpha=float(c.attributes.get("alpha", 0.01))) if kind == "LEAKY_RELU" else Options()
        return [Pending(kind, (x.tensor,), options, r.build.tensors[x.tensor].shape, x.places)]

    return make


def _softmax(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x = r.held(names[0])
    rank, axis = x.places.ndim, int(c.attributes.get("axis", 1 if c.opset < 13 else -1))
    if axis % (rank + 1) != 1:
        raise Refused(f"over dimension {axis}; only over the channels")
    if c.opset < 13 and math.prod(x.places.shape[1:]) != 1:
        raise Refused(f"over all dimensions from {axis} on, as before opset 13; export again with opset_version=18")
    if rank == 1:
        tensor, places = r.build.shaped(x.tensor, (1, x.places.size), f"{name}_in"), x.places
    else:
        tensor = r.build.arranged(x, name)
        places = channels_first(r.build.tensors[tensor].shape, rank)
    return [Pending("SOFTMAX", (tensor,), Options(), r.build.tensors[tensor].shape, places)]


ELEMENTWISE: dict[str, Operator] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Relu": _relu,
    "Clip": _clip,
    "Add": _binary("ADD"),
    "Mul": _binary("MUL"),
    "Sub": _binary("SUB"),
    "Softmax": _softmax,
    "Sigmoid": _table("LOGISTIC"),
    "Tanh": _table("TANH"),
    "LeakyRelu": _table("LEAKY_RELU"),
    "HardSwish": _table("HARD_SWISH"),
}
