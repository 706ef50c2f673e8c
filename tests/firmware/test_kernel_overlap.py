"""Every kernel, in every direction that it walks, writes its output over a dying input by exactly the bytes that its
descriptor promises, and no more."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from c_host import WARNINGS

from secateur.firmware import cgen
from secateur.firmware.codegen import KERNEL_FOLDER
from secateur.firmware.kernels.catalogue import KERNELS as ALL_KERNELS
from secateur.firmware.kernels.descriptor import Constant, Kernel
from secateur.firmware.kernels.elementwise import Binary
from secateur.firmware.kernels.movement import Concatenation
from secateur.models.program import Op, Options, Padding, Program, Quantization, Tensor, verify_program
from secateur.models.reference import run_reference
from secateur.passes.program.lower import same_padding

CASES = 8  # random operators a kernel
SAMPLES = 12
PLAIN = Options()
Random = np.random.Generator


class Maker:
    """A Program of one operator, tensors added one by one."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.tensors: list[Tensor] = []
        self.same = Quantization((0.05,), (int(random.integers(-40, 40)),))

    def add(self, shape: tuple[int, ...], quantization: Quantization | None = None) -> int:
        if quantization is None:
            quantization = Quantization((float(np.float32(self.random.uniform(0.02, 0.08))),), self.zero())
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, "int8", quantization))
        return len(self.tensors) - 1

    def zero(self) -> tuple[int, ...]:
        return (int(self.random.integers(-128, 128)),)

    def constant(self, data: Any, dtype: str, quantization: Quantization | None = None) -> int:
        data = np.asarray(data, dtype)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", data.shape, dtype, quantization, data))
        return len(self.tensors) - 1

    def weights(self, shape: tuple[int, ...], axis: int, fan_in: int, per_channel: bool = True) -> tuple[int, int]:
        channels = shape[axis]
        scales = self.random.uniform(0.5, 1.5, channels if per_channel else 1) / (40 * np.sqrt(fan_in))
        q = Quantization(tuple(np.float32(scales).tolist()), (0,) * len(scales), axis if per_channel else 0)
        w = self.random.integers(40, 128, shape) * self.random.choice([-1, 1], shape)  # every tap shows
        bias = self.random.integers(-500, 500, channels)
        return self.constant(w, "int8", q), self.constant(bias, "int32")

    def program(self, kind: str, inputs: list[int], out: int, options: Options = PLAIN) -> Program:
        fed = tuple(i for i in inputs if i >= 0 and self.tensors[i].data is None)
        made = Program(
            kind,
            tuple(self.tensors),
            (Op(kind, tuple(inputs), (out,), options, kind),),
            tuple(dict.fromkeys(fed)),
            (out,),
        )
        verify_program(made)
        return made


def _window(m: Maker, h: int, w: int, dilated: bool) -> tuple[tuple[int, int], Options, tuple[int, int]]:
    """(kernel, options, output size) of a random window that fits the input."""
    while True:
        kernel = (int(m.random.integers(1, 5)), int(m.random.integers(1, 5)))
        stride = (int(m.random.integers(1, 4)), int(m.random.integers(1, 4)))
        dilation = (int(m.random.integers(1, 3)), int(m.random.integers(1, 3))) if dilated else (1, 1)
        padding, size = Padding(), []
        if m.random.random() < 0.6:
            sides = [same_padding(n, k, s, d) for n, k, s, d in zip((h, w), kernel, stride, dilation, strict=True)]
            padding = Padding(*sides[0], *sides[1])
        pads = (padding.top + padding.bottom, padding.left + padding.right)
        for n, p, k, s, d in zip((h, w), pads, kernel, stride, dilation, strict=True):
            size.append((n + p - (k - 1) * d - 1) // s + 1)
        if min(size) >= 1:
            return kernel, Options(stride=stride, dilation=dilation, padding=padding), (size[0], size[1])


def _map(m: Maker, channels: int = 9) -> tuple[int, int, int]:
    return int(m.random.integers(3, 9)), int(m.random.integers(3, 9)), int(m.random.integers(1, channels + 1))


def conv2d(m: Maker) -> Program:
    h, w, c = _map(m)
    groups = int(m.random.choice([g for g in (1, 1, 2, 3) if c % g == 0]))
    out_c = groups * int(m.random.integers(1, 7))
    kernel, options, size = _window(m, h, w, True)
    x = m.add((1, h, w, c))
    weights = m.weights((out_c, *kernel, c // groups), 0, kernel[0] * kernel[1] * c // groups)
    return m.program("CONV_2D", [x, *weights], m.add((1, *size, out_c)), options)


def depthwise(m: Maker) -> Program:
    h, w, c = _map(m)
    depth = int(m.random.choice([1, 1, 2, 3]))
    kernel, options, size = _window(m, h, w, True)
    x = m.add((1, h, w, c))
    weights = m.weights((1, *kernel, c * depth), 3, kernel[0] * kernel[1])
    return m.program("DEPTHWISE_CONV_2D", [x, *weights], m.add((1, *size, c * depth)), options)


def fully_connected(m: Maker) -> Program:
    batch, inputs, outputs = (int(m.random.integers(1, n)) for n in (4, 20, 20))
    x = m.add((batch, inputs))
    weights = m.weights((outputs, inputs), 0, inputs, bool(m.random.integers(2)))
    return m.program("FULLY_CONNECTED", [x, *weights], m.add((batch, outputs)))


def binary(kind: str) -> Callable[[Maker], Program]:
    def make(m: Maker) -> Program:
        h, w, c = _map(m)
        broadcast = tuple(n if m.random.random() < 0.6 else 1 for n in (h, w, c))
        shapes = [(1, h, w, c), (1, *broadcast)]
        if m.random.random() < 0.5:
            shapes.reverse()
        one_scale = kind in ("MAXIMUM", "MINIMUM")
        a, b = (m.add(s, m.same if one_scale else Quantization((0.05,), m.zero())) for s in shapes)
        if m.random.random() < 0.4:
            smaller = min(a, b, key=lambda i: m.tensors[i].elements)
            data = m.random.integers(-128, 128, m.tensors[smaller].shape).astype(np.int8)
            m.tensors[smaller] = replace(m.tensors[smaller], data=data)
        scale = {"ADD": 0.1, "SUB": 0.1, "SQUARED_DIFFERENCE": 0.5}.get(kind, 0.3)
        return m.program(kind, [a, b], m.add((1, h, w, c), m.same if one_scale else Quantization((scale,), (3,))))

    return make


def quantize(m: Maker) -> Program:
    shape = (1, *_map(m))
    return m.program("QUANTIZE", [m.add(shape)], m.add(shape))


def table(m: Maker) -> Program:
    shape = (1, *_map(m))
    return m.program("TANH", [m.add(shape)], m.add(shape, Quantization((1 / 128,), (0,))))


def prelu(m: Maker) -> Program:
    shape = (1, *_map(m))
    slopes = m.random.integers(-128, 128, (1, 1, 1, shape[3]))
    x, alpha = m.add(shape), m.constant(slopes, "int8", Quantization((0.01,), (0,)))
    return m.program("PRELU", [x, alpha], m.add(shape))


def permute(m: Maker) -> Program:
    shape, order = (1, *_map(m)), (0, *(int(i) for i in 1 + m.random.permutation(3)))
    out = tuple(shape[i] for i in order)
    return m.program("TRANSPOSE", [m.add(shape, m.same)], m.add(out, m.same), Options(permutation=order))


def take(m: Maker) -> Program:
    shape = (1, *_map(m))
    x, tables = m.add(shape, m.same), [-1, -1, -1, -1]
    out = list(shape)
    for axis in {1, int(m.random.integers(1, 4))}:
        index = m.random.integers(0, shape[axis], int(m.random.integers(1, 6)))
        if m.random.random() < 0.5:
            index.sort()
        tables[axis], out[axis] = m.constant(index, "int16"), len(index)
    return m.program("TAKE", [x, *tables], m.add(tuple(out), m.same))


def softmax(m: Maker) -> Program:
    shape = (int(m.random.integers(1, 5)), int(m.random.integers(2, 15)))
    x = m.add(shape)
    return m.program("SOFTMAX", [x], m.add(shape, Quantization((1 / 256,), (-128,))))


def pool(kind: str) -> Callable[[Maker], Program]:
    def make(m: Maker) -> Program:
        h, w, c = _map(m)
        kernel, options, size = _window(m, h, w, False)
        options = Options(stride=options.stride, padding=options.padding, kernel=kernel)
        return m.program(kind, [m.add((1, h, w, c), m.same)], m.add((1, *size, c), m.same), options)

    return make


def mean(m: Maker) -> Program:
    h, w, c = _map(m)
    x, axes = m.add((1, h, w, c)), m.constant([1, 2], "int32")
    return m.program("MEAN", [x, axes], m.add((1, 1, 1, c)), Options(keep_dims=True))


def reshape(m: Maker) -> Program:
    h, w, c = _map(m)
    return m.program("RESHAPE", [m.add((1, h, w, c), m.same)], m.add((1, h * w * c), m.same))


def concatenation(m: Maker) -> Program:
    h, w, _ = _map(m)
    axis = int(m.random.integers(1, 4))
    parts = []
    for _ in range(int(m.random.integers(2, 4))):
        shape = [1, h, w, 3]
        shape[axis] = int(m.random.integers(1, 6))
        parts.append(m.add(tuple(shape), m.same))
    total = [1, h, w, 3]
    total[axis] = sum(m.tensors[i].shape[axis] for i in parts)
    return m.program("CONCATENATION", parts, m.add(tuple(total), m.same), Options(axis=axis))


def pad(m: Maker) -> Program:
    shape = (1, *_map(m))
    amounts = np.array([(0, 0), *m.random.integers(0, 3, (3, 2)).tolist()])
    out = tuple(int(s + a + b) for s, (a, b) in zip(shape, amounts, strict=True))
    return m.program("PAD", [m.add(shape, m.same), m.constant(amounts, "int32")], m.add(out, m.same))


def strided_slice(m: Maker) -> Program:
    shape = (1, *_map(m))
    begin = (0, *(int(m.random.integers(0, n)) for n in shape[1:]))
    steps = (1, *(int(s) for s in m.random.integers(1, 3, 3)))
    out = tuple((n - b - 1) // s + 1 for n, b, s in zip(shape, begin, steps, strict=True))
    x = m.add(shape, m.same)
    bounds = [m.constant(v, "int32") for v in (begin, shape, steps)]
    return m.program("STRIDED_SLICE", [x, *bounds], m.add(out, m.same), Options(begin=begin, strides=steps))


MAKERS: dict[str, Callable[[Maker], Program]] = {
    "conv2d_s8": conv2d, "depthwise_conv2d_s8": depthwise, "fully_connected_s8": fully_connected,
    "add_s8": binary("ADD"), "mul_s8": binary("MUL"), "requantize_s8": quantize, "softmax_s8": softmax,
    "max_pool_s8": pool("MAX_POOL_2D"), "average_pool_s8": pool("AVERAGE_POOL_2D"), "mean_s8": mean,
    "sub_s8": binary("SUB"), "squared_difference_s8": binary("SQUARED_DIFFERENCE"), "maximum_s8": binary("MAXIMUM"),
    "minimum_s8": binary("MINIMUM"), "table_s8": table, "prelu_s8": prelu, "permute_s8": permute, "take_s8": take,
    "reshape_s8": reshape, "concatenation_s8": concatenation, "pad_s8": pad, "strided_slice_s8": strided_slice,
}  # fmt: skip
# The others run in test_operator_overlap.py, on operators of random files.
KERNELS = [k for k in ALL_KERNELS if k.name in MAKERS]


@dataclass(frozen=True)
class Case:
    kernel: Kernel
    program: Program
    function: str


def _emit(case: Case) -> str:
    """A C function that makes the operator's calls on tensors at t[0], t[1], ..."""
    head, body = [], []
    for n, call in enumerate(case.kernel.calls(case.program, case.program.ops[0])):
        name = f"{case.function}_{n}"
        head.append(f"static const {call.params_type} {name} = {{{cgen.initialiser(call.params)}}};")
        arguments = [f"&{name}"]
        for k, argument in enumerate((*call.arguments, call.output)):
            if isinstance(argument, Constant):
                head.append(f"static const {argument.ctype} {name}_{k}[] = {{{cgen.table(argument.values)}}};")
                arguments.append(f"{name}_{k}")
            else:
                arguments.append(f"t[{argument.tensor}] + {argument.offset}")
        body.append(f"    {call.function}({', '.join(arguments)});")
    return "\n".join([*head, f"void {case.function}(int8_t *const *t);", f"void {case.function}(int8_t *const *t) {{",
                      *body, "}"])  # fmt: skip


@cache
def _cases() -> tuple[list[Case], ctypes.CDLL]:
    """All random operators, in one library."""
    cases = []
    for position, kernel in enumerate(KERNELS):
        for i in range(CASES):
            program = MAKERS[kernel.name](Maker(np.random.default_rng([position, i])))
            assert kernel.applies(program, program.ops[0], ()), kernel.refuses(program, program.ops[0])
            cases += [Case(k, program, f"{k.name}_{i}_{'down' if k.descending else 'up'}") for k in kernel.walks]
    with TemporaryDirectory() as folder:
        source, library = Path(folder, "all.c"), Path(folder, "all.so")
        headers = "\n".join(f'#include "{h}"' for h in sorted({k.header for k in KERNELS}))
        source.write_text("\n".join([headers, *map(_emit, cases)]))
        command = ["gcc", *WARNINGS, "-O1", f"-I{KERNEL_FOLDER}", "-shared", "-fPIC"]
        done = subprocess.run([*command, "-o", str(library), str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        return cases, ctypes.CDLL(str(library))


def _run(case: Case, library: ctypes.CDLL, inputs: dict[int, Any], over: int = -1, share: int = 0) -> Any:
    """The output, `share` bytes of it over input `over`; everything else apart.

    Ascending, the output's end lies over the input's start; descending, its start over the input's end.
    """
    tensors, out = case.program.tensors, case.program.ops[0].outputs[0]
    size = tensors[out].elements
    places, end = {out: 0}, size
    if over >= 0:
        places[over] = share - tensors[over].elements if case.kernel.descending else size - share
        end = max(end, places[over] + tensors[over].elements)
    start = 64 - min(places.values())
    for i in inputs:
        if i not in places:
            places[i] = end
            end += tensors[i].elements
    arena = np.full(start + end + 64, 99, np.int8)
    for i, value in inputs.items():
        arena[start + places[i] : start + places[i] + value.size] = value.ravel()
    begin = arena.ctypes.data + start
    addresses = (ctypes.c_void_p * len(tensors))(*(begin + places.get(i, 0) for i in range(len(tensors))))
    getattr(library, case.function)(addresses)
    return arena[start : start + size].copy()


def _samples(case: Case) -> Iterator[dict[int, Any]]:
    random = np.random.default_rng(7)
    for _ in range(SAMPLES):
        shapes = {i: case.program.tensors[i].shape for i in case.program.inputs}
        yield {i: random.integers(-128, 128, shape).astype(np.int8) for i, shape in shapes.items()}


def _of(name: str) -> tuple[list[Case], ctypes.CDLL]:
    cases, library = _cases()
    return [c for c in cases if c.kernel.name == name], library


NAMES = [k.name for k in KERNELS]


ONE_INPUT = [k.name for k in KERNELS if not isinstance(k, (Binary, Concatenation))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_INPUT)
def test_kernel_is_exact_on_random_operators(name: str) -> None:
    """Random shapes, strides, paddings, groups, dilations and zero points give the reference's bytes."""
    cases, library = _of(name)
    for case in cases:
        for inputs in _samples(case):
            expected = run_reference(case.program, next(iter(inputs.values()))[None])[0]
            assert np.array_equal(_run(case, library, inputs), expected), case.program.ops[0]


@pytest.mark.parametrize("name", [k.name for k in KERNELS if k.both_ways])
def test_both_directions_give_the_same_bytes(name: str) -> None:
    """Whether the first or the last output is computed first changes nothing."""
    cases, library = _of(name)
    for up, down in zip(cases[::2], cases[1::2], strict=True):
        assert (up.kernel.descending, down.kernel.descending) == (False, True)
        for inputs in _samples(up):
            assert np.array_equal(_run(up, library, inputs), _run(down, library, inputs)), up.program.ops[0]


@pytest.mark.parametrize("name", NAMES)
def test_kernel_is_exact_at_its_overlap(name: str) -> None:
    """With the output over the dying input by the promised bytes, no output byte changes."""
    cases, library = _of(name)
    for case in cases:
        op = case.program.ops[0]
        for tensor in case.program.inputs:
            share = case.kernel.overlap_bytes(case.program, op, op.inputs.index(tensor))
            assert 0 <= share <= case.program.tensors[op.outputs[0]].elements
            for inputs in _samples(case):
                apart = _run(case, library, inputs)
                assert np.array_equal(_run(case, library, inputs, tensor, share), apart), (op, tensor, share)


@pytest.mark.parametrize("name", NAMES)
def test_one_byte_more_corrupts(name: str) -> None:
    """The promised overlap is the most: one byte more changes an output, wherever not all of it is allowed."""
    cases, library = _of(name)
    for case in cases:
        op = case.program.ops[0]
        size = case.program.tensors[op.outputs[0]].elements
        for tensor in case.program.inputs:
            share = case.kernel.overlap_bytes(case.program, op, op.inputs.index(tensor))
            if share == size:
                continue
            changed = any(
                not np.array_equal(_run(case, library, x, tensor, share + 1), _run(case, library, x))
                for x in _samples(case)
            )
            assert changed, (op, tensor, share, size)
