"""Random graphs of many operators: chains with branches, joins, odd sizes, extreme scales and constant channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from graph_operators import NOT_LITERT, OPERATORS, end

from secateur.compiler.bench.operator_files import Case, Shape
from secateur.compiler.bench.tflite_builder import TYPES

LARGEST = 2048  # elements of any tensor: the graphs are many and small
NOT_DRAWN = ("UNIDIRECTIONAL_SEQUENCE_LSTM",)  # of operator_files.py
TABLES = ("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "ABS", "ELU")
LITERT_TABLES = ("GELU", "HARD_SWISH", "LEAKY_RELU", "ABS")  # its LOGISTIC and TANH round otherwise than TFLM's


@dataclass(frozen=True)
class Value:
    """A tensor of the graph being built."""

    index: int
    shape: Shape
    scale: float
    zero: int

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape))


class Graph(Case):
    """`step` applies one random operator to a value that exists; every method returns None where it does not fit.

    `litert`: with operators that LiteRT alone has, without those in which its reference kernels differ from TFLM's.
    """

    types = TYPES

    def __init__(self, seed: int, litert: bool = False) -> None:
        super().__init__(seed)
        self.litert = litert
        self.values: list[Value] = []
        self.used: set[int] = set()
        self.ends: list[int] = []  # outputs that are no int8 values
        batch = 1 if self.chance(0.85) else self.integer(2, 4)
        shape = (batch, self.integer(1, 9), self.integer(1, 9), self.integer(1, 9))
        self.feed(shape[self.integer(0, 2) :] if self.chance(0.15) else shape, self.any_scale(), self.zero())

    def feed(self, shape: Shape, scale: float, zero: int) -> Value:
        """A new input: int8, or one that a QUANTIZE makes of another type."""
        dtype = str(self.random.choice(["int8"] * 6 + ["uint8", "float32"]))
        if dtype == "int8":
            self.values.append(Value(self.fed(shape, scale, zero), shape, scale, zero))
        else:
            own = (None, 0) if dtype == "float32" else (scale, zero + 128)
            self.inputs.append(self.b.tensor(shape, dtype, *own))
            self.emit("QUANTIZE", self.inputs[-1:], self.output(shape, scale, zero), 2)
        return self.values[-1]

    def any_scale(self) -> float:
        """Mostly what networks have, sometimes extreme."""
        low, high = (-2.5, -0.5) if self.chance(0.85) else (-6, 3)
        return float(np.float32(10 ** self.random.uniform(low, high)))

    def zero(self) -> int:
        return self.integer(-128, 127) if self.chance(0.8) else int(self.random.choice([-128, 0, 127]))

    def output(self, shape: Shape, scale: float | None = None, zero: int | None = None) -> Value:
        scale = self.any_scale() if scale is None else float(np.float32(scale))
        zero = self.zero() if zero is None else zero
        return Value(self.value(shape, scale, zero), shape, scale, zero)

    def like(self, x: Value, shape: Shape) -> Value:
        return self.output(shape, x.scale, x.zero)

    def emit(self, kind: str, operands: list[int], out: Value, version: int = 1, **fields: Any) -> Value:
        self.b.op(kind, operands, [out.index], version=version, **fields)
        self.used |= set(operands)
        self.values.append(out)
        return out

    def emit_several(self, kind: str, operands: list[int], outs: list[Value], **fields: Any) -> Value:
        self.b.op(kind, operands, [out.index for out in outs], **fields)
        self.used |= set(operands)
        self.values += outs
        return outs[-1]

    def step(self) -> None:
        """One operator that fits."""
        while True:
            x = self.values[int(self.random.integers(max(0, len(self.values) - 3), len(self.values)))]
            if self.chance(0.4):
                made = getattr(self, str(self.random.choice(STEPS)))(x)
            else:
                further = OPERATORS[int(self.random.integers(len(OPERATORS)))]
                made = None if self.litert and further in NOT_LITERT else further(self, x)
            if made is not None:
                return

    def fits(self, shape: Shape) -> bool:
        return int(np.prod(shape)) <= LARGEST and min(shape) >= 1

    # -- operators

    def weights(self, shape: Shape, axis: int, x: Value, fan_in: int) -> tuple[int, int, float]:
        """Weights, bias and an output scale that keeps values in range; some channels are empty or saturate."""
        channels = shape[axis]
        per_channel = self.chance(0.7)
        scales = np.float32(10 ** self.random.uniform(-3, -1, channels if per_channel else 1))
        values = self.random.integers(-127, 128, shape)
        dead = self.random.random(channels) < 0.15
        values[(slice(None),) * axis + (dead,)] = 0
        bias = self.random.integers(-20000, 20000, channels)
        bias[self.random.random(channels) < 0.1] = int(self.random.choice([-(1 << 29), 1 << 29]))
        w = self.b.tensor(shape, "int8", scales.tolist(), 0, values, axis)
        b = self.b.tensor((channels,), "int32", (np.float32(x.scale) * scales).tolist(), 0, bias)
        return w, b, float(x.scale * scales.max() * 60 * np.sqrt(fan_in))

    def window(self, x: Value, dilated: bool) -> tuple[tuple[int, int], dict[str, Any], tuple[int, int]] | None:
        k, s = (self.integer(1, 4), self.integer(1, 4)), (self.integer(1, 3), self.integer(1, 3))
        d = (self.integer(1, 2), self.integer(1, 2)) if dilated else (1, 1)
        same = self.chance(0.6)
        size = []
        for n, kernel, stride, dilation in zip(x.shape[1:3], k, s, d, strict=True):
            reach = (kernel - 1) * dilation + 1
            size.append(-(-n // stride) if same else (n - reach) // stride + 1)
        if min(size) < 1:
            return None
        fields = {"padding": 0 if same else 1, "strideH": s[0], "strideW": s[1], "fusedActivationFunction": self.act()}
        if dilated:
            fields |= {"dilationHFactor": d[0], "dilationWFactor": d[1]}
        return k, fields, (size[0], size[1])

    def act(self) -> int:
        return int(self.random.choice([0, 1, 2, 3]))

    def conv(self, x: Value) -> Value | None:
        found = self.window(x, True) if len(x.shape) == 4 else None
        if found is None:
            return None
        k, fields, size = found
        out_c = self.integer(1, 8)
        if not self.fits((x.shape[0], *size, out_c)):
            return None
        w, b, scale = self.weights((out_c, *k, x.shape[3]), 0, x, k[0] * k[1] * x.shape[3])
        return self.emit("CONV_2D", [x.index, w, b], self.output((x.shape[0], *size, out_c), scale), 3, **fields)

    def depthwise(self, x: Value) -> Value | None:
        found = self.window(x, True) if len(x.shape) == 4 else None
        if found is None:
            return None
        k, fields, size = found
        multiplier = self.integer(1, 2)
        out_c = x.shape[3] * multiplier
        if not self.fits((x.shape[0], *size, out_c)):
            return None
        w, b, scale = self.weights((1, *k, out_c), 3, x, k[0] * k[1])
        fields["depthMultiplier"] = multiplier
        return self.emit(
            "DEPTHWISE_CONV_2D", [x.index, w, b], self.output((x.shape[0], *size, out_c), scale), 3, **fields
        )

    def dense(self, x: Value) -> Value | None:
        n, outputs = x.elements, self.integer(1, 12)
        if x.shape[0] != 1 or n > 512 or self.litert:  # LiteRT rounds the product of two scales otherwise
            return None
        flat = self.emit("RESHAPE", [x.index, self.constant([1, n])], self.like(x, (1, n)), newShape=[1, n])
        w, b, scale = self.weights((outputs, n), 0, flat, n)
        fields = {"fusedActivationFunction": self.act()}
        return self.emit("FULLY_CONNECTED", [flat.index, w, b], self.output((1, outputs), scale), 4, **fields)

    def pool(self, x: Value) -> Value | None:
        found = self.window(x, False) if len(x.shape) == 4 else None
        if found is None:
            return None
        k, fields, size = found
        kind = str(self.random.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"]))
        out = self.like(x, (x.shape[0], *size, x.shape[3]))
        return self.emit(kind, [x.index], out, 2, filterHeight=k[0], filterWidth=k[1], **fields)

    def mean(self, x: Value) -> Value | None:
        if len(x.shape) != 4 or x.shape[0] != 1:
            return None
        keep = self.chance()
        out = self.output((1, 1, 1, x.shape[3]) if keep else (1, x.shape[3]), x.scale * self.random.uniform(0.5, 1.5))
        return self.emit("MEAN", [x.index, self.constant([1, 2])], out, 2, keepDims=keep)

    def unary(self, x: Value) -> Value:
        kind = str(self.random.choice(LITERT_TABLES if self.litert else TABLES))
        fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(kind)
        out = (
            self.output(x.shape, *fixed) if fixed else self.output(x.shape, x.scale * 10 ** self.random.uniform(-1, 1))
        )
        fields = {"alpha": float(np.float32(self.random.uniform(0, 1.2)))} if kind == "LEAKY_RELU" else {}
        return self.emit(kind, [x.index], out, **fields)

    def requantize(self, x: Value) -> Value:
        kind = str(self.random.choice(["QUANTIZE", "RELU", "RELU6"]))
        same = kind == "RELU6" or self.chance(0.2)
        out = self.like(x, x.shape) if same else self.output(x.shape, x.scale * 10 ** self.random.uniform(-1, 1))
        return self.emit(kind, [x.index], out)

    def softmax(self, x: Value) -> Value | None:
        if x.scale > 100 or x.shape[-1] > 511:  # TensorFlow Lite Micro stops where more than that are equal
            return None
        return self.emit("SOFTMAX", [x.index], self.output(x.shape, 1 / 256, -128), 2, beta=1.0)

    def join(self, x: Value) -> Value | None:
        others = [v for v in self.values if v.shape == x.shape and v.index != x.index]
        kind = str(self.random.choice(["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE"]))
        if others and self.chance(0.7):
            y = others[int(self.random.integers(len(others)))]
            operands, scale = [x.index, y.index], y.scale
        else:
            scale = float(np.float32(x.scale * 10 ** self.random.uniform(-1, 1)))
            shape = tuple(n if self.chance() else 1 for n in x.shape)
            operands = [x.index, self.constant(self.random.integers(-128, 128, shape), "int8", scale, self.zero())]
        larger = max(x.scale, scale)
        wanted = {"MUL": x.scale * scale * 60, "SQUARED_DIFFERENCE": larger * larger * 90}.get(kind, larger * 1.5)
        if not 1e-7 < wanted < 1e7 or max(x.scale, scale) / min(x.scale, scale) > 1e5 or len(x.shape) > 4:
            return None
        fields = {} if kind == "SQUARED_DIFFERENCE" else {"fusedActivationFunction": self.act()}
        return self.emit(kind, operands, self.output(x.shape, wanted), 2, **fields)

    def concatenate(self, x: Value) -> Value | None:
        axis = self.integer(1, len(x.shape) - 1) if len(x.shape) > 1 else 0
        others = [v for v in self.values if (v.scale, v.zero) == (x.scale, x.zero) and len(v.shape) == len(x.shape)]
        others = [v for v in others if all(i == axis or v.shape[i] == n for i, n in enumerate(x.shape))]
        parts = [x, *(v for v in others if v.index != x.index)][: self.integer(2, 3)]
        shape = tuple(sum(p.shape[i] for p in parts) if i == axis else n for i, n in enumerate(x.shape))
        if len(parts) < 2 or not self.fits(shape):
            return None
        fields = {"axis": axis, "fusedActivationFunction": 0}
        return self.emit("CONCATENATION", [p.index for p in parts], self.like(x, shape), 2, **fields)

    def pad(self, x: Value) -> Value | None:
        pads = [[0, 0], *([self.integer(0, 2), self.integer(0, 2)] for _ in x.shape[1:])]
        shape = tuple(n + sum(p) for n, p in zip(x.shape, pads, strict=True))
        if len(x.shape) > 4 or not self.fits(shape):
            return None
        return self.emit("PAD", [x.index, self.constant(pads)], self.like(x, shape), 2)

    def slice(self, x: Value) -> Value:
        begin = [self.integer(0, n - 1) for n in x.shape]
        size = [self.integer(1, n - b) for b, n in zip(begin, x.shape, strict=True)]
        operands = [x.index, self.constant(begin), self.constant(size)]
        return self.emit("SLICE", operands, self.like(x, tuple(size)))

    def reshape(self, x: Value) -> Value:
        rest = x.elements
        dims = []
        for _ in range(self.integer(0, 2)):
            divisors = [d for d in range(1, rest + 1) if rest % d == 0]
            dims.append(int(self.random.choice(divisors)))
            rest //= dims[-1]
        shape = (1, *dims, rest)
        return self.emit("RESHAPE", [x.index, self.constant(list(shape))], self.like(x, shape), newShape=list(shape))

    def finished(self) -> bytes:
        """All values that nobody reads are outputs, four at most: the newest."""
        if self.chance(0.3):
            end(self, self.values[-1])
        fed = set(self.inputs)
        self.inputs = [i for i in self.inputs if i in self.used]
        unread = [v.index for v in self.values if v.index not in self.used and v.index not in fed]
        return self.done(*[*unread, *self.ends][-4:])


STEPS = (
    "conv", "conv", "depthwise", "depthwise", "dense", "pool", "mean", "unary", "requantize", "softmax", "join", "join",
    "concatenate", "pad", "slice", "reshape",
)  # fmt: skip


def judged_by_litert(seed: int) -> bool:
    """Whether LiteRT's reference kernels, not TensorFlow Lite Micro, say what is right of graph `seed`."""
    return seed % 8 == 7


def random_graph(seed: int) -> bytes:
    """The same file for the same seed."""
    graph = Graph(seed, judged_by_litert(seed))
    for _ in range(graph.integer(1, 12)):
        graph.step()
    return graph.finished()
