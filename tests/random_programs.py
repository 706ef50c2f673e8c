"""Random small int8 Programs whose weights, biases and clamps make many channels constant, dead or unread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.program import Op, Options, Padding, Program, Quantization, Tensor, verify_program
from secateur.models.reference import run_values
from secateur.passes.program.lower import same_padding

Bytes = npt.NDArray[np.int8]
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU", "RELU6", "RELU_N1_TO_1")


class Maker:
    """A Program made operator by operator; every method returns the index of the new tensor."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        # few scales, so that neighbours often share theirs; few zero points, so that constants often equal them
        self.palette = [Quantization((0.05,), (-128,)), Quantization((0.05,), (3,)), Quantization((0.02,), (-128,))]

    def pick(self, *items: Any) -> Any:
        return items[int(self.random.integers(len(items)))]

    def often(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def tensor(self, shape: tuple[int, ...], quantization: Quantization | None = None) -> int:
        q = quantization or self.pick(*self.palette, Quantization((0.03,), (int(self.random.integers(-128, 128)),)))
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, "int8", q))
        return len(self.tensors) - 1

    def constant(self, data: Any, dtype: str, quantization: Quantization | None = None) -> int:
        data = np.asarray(data, dtype)
        self.tensors.append(Tensor(f"c{len(self.tensors)}", data.shape, dtype, quantization, data))
        return len(self.tensors) - 1

    def op(self, kind: str, inputs: list[int], out: int, options: Options | None = None) -> int:
        self.ops.append(Op(kind, tuple(inputs), (out,), options or Options(), f"{kind}{len(self.ops)}"))
        return out

    def shape(self, i: int) -> tuple[int, ...]:
        return self.tensors[i].shape

    def program(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Program:
        made = Program("random", tuple(self.tensors), tuple(self.ops), inputs, outputs)
        verify_program(made)
        return made

    # -- operators with weights

    def weights(self, shape: tuple[int, ...], axis: int, inputs: int | None) -> list[int]:
        """Weights with zero rows, columns (dimension `inputs`) and taps here and there, and biases that saturate."""
        rows = shape[axis]
        w = self.random.integers(-127, 128, shape)
        for dimension, chance in ((axis, 0.05), (inputs, 0.15)):
            if dimension is not None:
                along = [1] * len(shape)
                along[dimension] = -1
                w = w * (self.random.random(shape[dimension]) > chance).reshape(along)
        if self.often(0.3):
            w = w * (self.random.random(shape) > 0.4)
        bias = self.random.integers(-3000, 3000, rows)
        saturated = self.random.random(rows) < 0.15
        bias = np.where(saturated, self.random.choice([-1, 1], rows) * 10**6, bias)
        bias[self.random.random(rows) < 0.03] = (1 << 31) - 5  # wraps
        scales = self.random.uniform(0.5, 1.5, rows if self.often(0.7) else 1) / 400
        per_channel = axis if len(scales) > 1 else 0
        q = Quantization(tuple(np.float32(scales).tolist()), (0,) * len(scales), per_channel)
        made = [self.constant(w, "int8", q)]
        return made if self.often(0.1) else [*made, self.constant(bias, "int32")]

    def window(self, x: int) -> tuple[tuple[int, int], Options, tuple[int, int]]:
        sizes = self.shape(x)[1:3]
        most = [min(4, n + 1) for n in sizes]
        kernel = (int(self.random.integers(1, most[0])), int(self.random.integers(1, most[1])))
        kernel = (1, 1) if self.often(0.2) else kernel
        stride, padding = (self.pick(1, 1, 2), self.pick(1, 2)), Padding()
        if self.often(0.5):
            kernel = (self.pick(kernel[0], 3), self.pick(kernel[1], 3))  # may reach beyond both sides at once
            sides = [same_padding(n, k, s, 1) for n, k, s in zip(sizes, kernel, stride, strict=True)]
            padding = Padding(*sides[0], *sides[1])
        pads = (padding.top + padding.bottom, padding.left + padding.right)
        out = [(n + p - k) // s + 1 for n, p, k, s in zip(sizes, pads, kernel, stride, strict=True)]
        return kernel, Options(stride=stride, padding=padding, activation=self.pick(*ACTIVATIONS)), (out[0], out[1])

    def conv(self, x: int) -> int:
        kernel, options, size = self.window(x)
        in_c = self.shape(x)[3]
        groups = 2 if in_c % 2 == 0 and self.often(0.15) else 1
        out_c = groups * int(self.random.integers(2, 9))
        weights = self.weights((out_c, *kernel, in_c // groups), 0, 3)
        return self.op("CONV_2D", [x, *weights], self.tensor((1, *size, out_c)), options)

    def depthwise(self, x: int) -> int:
        kernel, options, size = self.window(x)
        depth = self.pick(1, 1, 1, 2, 3)
        out_c = self.shape(x)[3] * depth
        weights = self.weights((1, *kernel, out_c), 3, None)
        options = Options(
            options.stride, padding=options.padding, activation=options.activation, depth_multiplier=depth
        )
        return self.op("DEPTHWISE_CONV_2D", [x, *weights], self.tensor((1, *size, out_c)), options)

    def fully_connected(self, x: int) -> int:
        size = int(np.prod(self.shape(x)))
        if len(self.shape(x)) != 2 and self.often(0.7):
            x = self.op("RESHAPE", [x], self.tensor((1, size), self.tensors[x].quantization))
        outputs = int(self.random.integers(1, 7))
        options = Options(activation=self.pick(*ACTIVATIONS))
        return self.op("FULLY_CONNECTED", [x, *self.weights((outputs, size), 0, 1)], self.tensor((1, outputs)), options)

    # -- operators without

    def binary(self, x: int, others: list[int]) -> int:
        shape = self.shape(x)
        y = self.pick(*(i for i in others if self.shape(i) == shape))
        if self.often(0.4):
            broadcast = self.pick(shape, (1, *(1,) * (len(shape) - 2), shape[-1]), (1,) * len(shape), shape[-1:])
            values = self.random.integers(-128, 128, broadcast)
            y = self.constant(values, "int8", self.pick(*self.palette))
            if self.often(0.3):
                y = self.op("RELU6", [y], self.tensor(broadcast, self.tensors[y].quantization))
        pair = [x, y] if self.often(0.5) else [y, x]
        options = Options(activation=self.pick(*ACTIVATIONS))
        return self.op(self.pick("ADD", "ADD", "MUL"), pair, self.tensor(shape), options)

    def rescaled(self, x: int) -> int:
        kind = self.pick("QUANTIZE", "RELU", "RELU6", "HARD_SWISH", "ABS")
        same = self.tensors[x].quantization
        return self.op(kind, [x], self.tensor(self.shape(x), same if kind == "RELU6" or self.often(0.5) else None))

    def pool(self, x: int) -> int:
        kernel, options, size = self.window(x)
        options = Options(options.stride, padding=options.padding, kernel=kernel, activation=options.activation)
        out = self.tensor((1, *size, self.shape(x)[3]), self.tensors[x].quantization)
        return self.op(self.pick("MAX_POOL_2D", "AVERAGE_POOL_2D"), [x], out, options)

    def mean(self, x: int) -> int:
        keep, c = self.often(0.6), self.shape(x)[3]
        q = self.tensors[x].quantization if self.often(0.5) else None
        out = self.tensor((1, 1, 1, c) if keep else (1, c), q)
        return self.op("MEAN", [x, self.constant([1, 2], "int32")], out, Options(keep_dims=keep))

    def pad(self, x: int) -> int:
        fusable = self.often(0.4)  # into the convolution behind it
        limits = (1, 3, 3, 1 if fusable else self.pick(1, 3))
        amounts = np.array([[self.random.integers(n), self.random.integers(n)] for n in limits])
        q = self.tensors[x].quantization
        out = self.tensor(tuple(int(n + a.sum()) for n, a in zip(self.shape(x), amounts, strict=True)), q)
        inputs = [x, self.constant(amounts, "int32")]
        if not fusable and self.often(0.4):
            return self.op("PADV2", [*inputs, self.constant([self.pick(-128, 7)], "int8", q)], out)
        out = self.op("PAD", inputs, out)
        return self.conv(out) if fusable else out

    def slice(self, x: int) -> int:
        shape = self.shape(x)
        last = self.pick(0, shape[3] // 2)
        begin = (0, self.pick(0, shape[1] - 1), 0, last)
        strides = (1, 1, self.pick(1, 2), 1)
        size = tuple((n - b - 1) // s + 1 for n, b, s in zip(shape, begin, strides, strict=True))
        out = self.tensor(size, self.tensors[x].quantization)
        return self.op("STRIDED_SLICE", [x], out, Options(begin=begin, strides=strides))

    def reshape(self, x: int) -> int:
        n, h, w, c = self.shape(x)
        shape = self.pick((n, w, h, c), (n, h, 1, w * c), (n, h * w, 1, c), (n, h, w * c, 1), (n, 1, c, h * w))
        return self.op("RESHAPE", [x], self.tensor(shape, self.tensors[x].quantization))

    def concatenation(self, x: int, others: list[int]) -> int:
        axis = self.pick(1, 3, 3)

        def rest(i: int) -> tuple[int, ...]:
            return (*self.shape(i)[:axis], -1, *self.shape(i)[axis + 1 :])

        fitting = [i for i in others if len(self.shape(i)) == 4 and rest(i) == rest(x)]
        q = self.tensors[x].quantization
        parts = [x, *(self.pick(*fitting) for _ in range(self.pick(0, 1, 2)))]
        parts = [
            i if self.tensors[i].quantization == q else self.op("QUANTIZE", [i], self.tensor(self.shape(i), q))
            for i in parts
        ]
        shape = list(self.shape(x))
        shape[axis] = sum(self.shape(i)[axis] for i in parts)
        return self.op("CONCATENATION", parts, self.tensor(tuple(shape), q), Options(axis=axis))


def random_program(seed: int) -> Program:
    """Some ten operators on a map of a few pixels; the last one's output is the Program's, now and then others too."""
    m = Maker(seed)
    r = m.random
    entry = m.tensor((1, int(r.integers(1, 7)), int(r.integers(1, 7)), int(r.integers(2, 6))))
    made = [entry]
    kinds: list[Callable[[int], int]] = [
        m.conv, m.conv, m.conv, m.depthwise, m.depthwise, m.rescaled, m.rescaled, m.pool, m.mean, m.pad, m.slice,
        m.reshape, lambda x: m.binary(x, made), lambda x: m.binary(x, made), lambda x: m.concatenation(x, made),
    ]  # fmt: skip
    for _ in range(int(r.integers(3, 11))):
        maps = [i for i in made[-3:] if len(m.shape(i)) == 4 and np.prod(m.shape(i)) < 500] or [entry]
        made.append(m.pick(*kinds)(m.pick(maps[-1], *maps)))
    for _ in range(m.pick(0, 0, 1, 2, 3)):
        made.append(m.fully_connected(made[-1]))
    if len(m.shape(made[-1])) == 2 and m.often(0.3):
        made.append(m.op("SOFTMAX", [made[-1]], m.tensor(m.shape(made[-1]), Quantization((1 / 256,), (-128,)))))
    others = [i for i in made[1:-1] if m.often(0.15)]
    return m.program((entry,), tuple(dict.fromkeys([made[-1], *others])))


def random_chain(seed: int) -> Program:
    """Padded and unpadded, ordinary and depthwise convolutions in a row, some channels constant, the last one coarse.

    Here a constant folded over a border where it does not belong shows in the outputs.
    """
    m = Maker(seed)
    r = m.random
    entry = x = m.tensor((1, int(r.integers(1, 6)), int(r.integers(1, 6)), 3), m.palette[1])
    for _ in range(int(r.integers(2, 6))):
        x = _link(m, x)
    weights = m.constant(r.integers(-90, 91, (2, 1, 1, m.shape(x)[3])), "int8", Quantization((1 / 64,), (0,)))
    last = m.tensor((*m.shape(x)[:3], 2), Quantization((0.2,), (0,)))
    return m.program((entry,), (m.op("CONV_2D", [x, weights], last),))


def _link(m: Maker, x: int) -> int:
    """A convolution with SAME padding that scales its sums to int8; a quarter of its channels are far off."""
    r, (_, *sizes, in_c) = m.random, m.shape(x)
    kind, stride = m.pick("CONV_2D", "DEPTHWISE_CONV_2D"), m.pick((1, 1), (1, 1), (2, 2), (1, 2))
    kernel = m.pick((1, 1), (m.pick(1, 3), 3), (3, m.pick(1, 3)))
    sides = [same_padding(n, k, s, 1) for n, k, s in zip(sizes, kernel, stride, strict=True)]
    out_c = in_c if kind[0] == "D" else 6
    weights = r.integers(-90, 91, (1, *kernel, out_c) if kind[0] == "D" else (out_c, *kernel, in_c))
    if kind == "CONV_2D":
        weights = weights * (r.random((out_c, 1, 1, 1)) > 0.2) * (r.random((1, 1, 1, in_c)) > 0.15)
    fan_in = np.prod(kernel) * (1 if kind[0] == "D" else in_c)
    scale = Quantization((float(np.float32(1 / (50 * np.sqrt(fan_in)))),), (0,))
    far = r.choice([-1, 1], out_c) * r.integers(100, 10**5, out_c)
    bias = np.where(r.random(out_c) < 0.25, far, r.integers(-800, 800, out_c))
    q = Quantization((0.05,), (m.pick(-128, int(r.integers(-20, 20))),))
    out = m.tensor((1, *(-(-n // s) for n, s in zip(sizes, stride, strict=True)), out_c), q)
    options = Options(stride, padding=Padding(*sides[0], *sides[1]), activation=m.pick("NONE", "RELU", "RELU6"))
    return m.op(kind, [x, m.constant(weights, "int8", scale), m.constant(bias, "int32")], out, options)


def outputs_of(program: Program, samples: Bytes) -> list[list[Bytes]]:
    """Every output of the reference interpreter, sample by sample."""
    runs = [run_values(program, sample) for sample in samples]
    return [[values[i] for i in program.outputs] for values in runs]


def equal(some: list[list[Bytes]], others: list[list[Bytes]]) -> bool:
    return all(np.array_equal(a, b) for s, o in zip(some, others, strict=True) for a, b in zip(s, o, strict=True))


def inputs_of(program: Program, count: int = 3, seed: int = 0) -> Bytes:
    """`count` random inputs and the extremes: all -128, all 127, both in turn."""
    shape = program.tensors[program.inputs[0]].shape
    alternating = np.where(np.arange(int(np.prod(shape))) % 2, 127, -128).reshape(shape)
    extremes = [np.full(shape, -128), np.full(shape, 127), alternating]
    drawn = np.random.default_rng(seed).integers(-128, 128, (count, *shape))
    return np.concatenate([drawn, extremes]).astype(np.int8)


def kinds(program: Program) -> list[str]:
    return [op.kind for op in program.ops]


def widths(program: Program) -> list[int]:
    """Channels of each operator's output."""
    return [program.tensors[op.outputs[0]].shape[-1] for op in program.ops]


def unchanged(before: Program, after: Program, count: int = 3) -> bool:
    """Equal outputs on random and extreme inputs."""
    x = inputs_of(before, count)
    return equal(outputs_of(before, x), outputs_of(after, x))
