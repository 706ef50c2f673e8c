"""TFLite operators that others express: expanded when a file is read, so that few kernels compute many operators.

SLICE, SPLIT, SPLIT_V and UNPACK become strided slices; PACK reshapes and a concatenation; space and depth and batch
are reshapes around one transposition; MIRROR_PAD, RESIZE_NEAREST_NEIGHBOR and GATHER by constants take by index (TAKE).
Nothing here computes a value, so every expansion is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.program import Op, Options, Tensor

Shape = tuple[int, ...]


class Graph:
    """The tensors read so far, to which an expansion adds its own."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.ops: list[Op] = []

    def shape(self, i: int) -> Shape:
        return self.tensors[i].shape

    def constant(self, i: int, what: str) -> npt.NDArray[np.int64]:
        """The value of a constant operand. Raises UserError where it is computed."""
        data = self.tensors[i].data if i >= 0 else None
        if data is None:
            raise UserError(f"{what} that are computed, not constant")
        return np.asarray(data, np.int64)

    def add(self, like: int, shape: Sequence[int]) -> int:
        """A new activation of the type and scale of tensor `like`."""
        old = self.tensors[like]
        name = f"{old.name}_{len(self.tensors)}"
        self.tensors.append(Tensor(name, tuple(int(n) for n in shape), old.dtype, old.quantization))
        return len(self.tensors) - 1

    def table(self, values: npt.ArrayLike) -> int:
        """A new constant of int16."""
        data = np.asarray(values, np.int16)
        self.tensors.append(Tensor(f"index_{len(self.tensors)}", data.shape, "int16", data=data))
        return len(self.tensors) - 1

    def emit(self, kind: str, inputs: Sequence[int], output: int, options: Options | None = None) -> int:
        name = self.tensors[output].name
        self.ops.append(Op(kind, tuple(inputs), (output,), options or Options(), name))
        return output

    def reshape(self, x: int, output: int) -> int:
        if self.tensors[x].elements != self.tensors[output].elements:
            raise UserError(f"output {self.shape(output)} does not follow from {self.shape(x)}")
        return self.emit("RESHAPE", (x,), output)

    def slice(self, x: int, begin: Sequence[int], strides: Sequence[int], counts: Sequence[int], output: int) -> int:
        """`counts` elements an axis from `begin` on; the output may have another shape of as many elements."""
        shape = self.shape(x)
        for b, s, n, size in zip(begin, strides, counts, shape, strict=True):
            if n < 1 or s == 0 or not 0 <= b < size or not 0 <= b + (n - 1) * s < size:
                raise UserError(f"reads outside its input {shape}")
        options = Options(begin=tuple(map(int, begin)), strides=tuple(map(int, strides)))
        if tuple(counts) == self.shape(output):
            return self.emit("STRIDED_SLICE", (x,), output, options)
        return self.reshape(self.emit("STRIDED_SLICE", (x,), self.add(x, counts), options), output)

    def transpose(self, x: int, permutation: Sequence[int], output: int) -> int:
        """Axes of one element move freely: what only moves those is a reshape."""
        shape = self.shape(x)
        if sorted(permutation) != list(range(len(shape))):
            raise UserError(f"permutation {list(permutation)} of {len(shape)} dimensions")
        moved = [axis for axis in permutation if shape[axis] > 1]
        if moved == sorted(moved):
            return self.reshape(x, output)
        wanted = tuple(shape[axis] for axis in permutation)
        if wanted != self.shape(output):
            raise UserError(f"output {self.shape(output)} does not follow from {shape}")
        return self.emit("TRANSPOSE", (x,), output, Options(permutation=tuple(int(p) for p in permutation)))

    def take(self, x: int, indices: Sequence[npt.NDArray[np.int64] | None], output: int) -> int:
        """One index table an axis of `x`, None for an axis taken whole."""
        shape = self.shape(x)
        if len(shape) > 4:
            raise UserError(f"input {shape} of more than four dimensions")
        for axis, table in enumerate(indices):
            if table is not None and (table.size == 0 or table.min() < 0 or table.max() >= shape[axis]):
                raise UserError(f"takes elements outside its input {shape}")
        counts = tuple(n if t is None else len(t) for n, t in zip(shape, indices, strict=True))
        if all(t is None for t in indices):
            return self.reshape(x, output)
        tables = [-1] * (4 - len(shape)) + [-1 if t is None else self.table(t) for t in indices]
        taken = output if counts == self.shape(output) else self.add(x, counts)
        self.emit("TAKE", (x, *tables), taken)
        return output if taken == output else self.reshape(taken, output)


def expand(kind: str, options: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor]) -> list[Op] | None:
    """The operators that one record stands for, None where it stands for itself.

    New tensors are added to `tensors`. Raises UserError, without a place, where the record contradicts itself.
    """
    handler = _HANDLERS.get(kind)
    if handler is None:
        return None
    graph = Graph(tensors)
    handler(graph, options, inputs, outputs)
    return graph.ops


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise UserError(f"axis {axis} of {rank} dimensions")
    return axis % rank


def _follows(g: Graph, output: int, wanted: Shape, shape: Shape) -> None:
    if g.shape(output) != wanted:
        raise UserError(f"output {g.shape(output)} does not follow from {shape}, which gives {wanted}")


def _counted(named: int, found: int, what: str) -> None:
    """TensorFlow Lite Micro goes by the option, not by the operands."""
    if named != found:
        raise UserError(f"{found} {what}, but its options say {named}")


def _slice(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    begin, size = g.constant(inputs[1], "bounds"), g.constant(inputs[2], "bounds")
    shape = g.shape(inputs[0])
    if len(begin) != len(shape) or len(size) != len(shape):
        raise UserError(f"{len(begin)} bounds for {shape}")
    counts = [int(n - b if s == -1 else s) for b, s, n in zip(begin, size, shape, strict=True)]
    g.slice(inputs[0], begin.tolist(), [1] * len(shape), counts, outputs[0])


def _strided_slice(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    """numpy's meaning of the index that the masks describe."""
    begin, end, strides = (g.constant(i, "bounds") for i in inputs[1:4])
    if getattr(o, "offset", False):
        raise UserError("ends given as lengths")
    masks = {name: int(getattr(o, name, 0) or 0) for name in
             ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask")}  # fmt: skip
    shape = list(g.shape(inputs[0]))
    if not len(begin) == len(end) == len(strides):
        raise UserError(f"{len(begin)} begins, {len(end)} ends and {len(strides)} strides")

    def has(mask: str, position: int) -> bool:
        return bool(masks[mask] >> position & 1)

    used = sum(1 for i in range(len(begin)) if not has("newAxisMask", i) and not has("ellipsisMask", i))
    walk: list[tuple[int, int, int]] = []  # start, step and count of each axis of the input
    kept: list[int] = []  # the output's shape
    axis = 0
    for i in range(len(begin)):
        if has("ellipsisMask", i):
            whole = shape[axis : axis + len(shape) - used]
            walk += [(0, 1, n) for n in whole]
            kept += whole
            axis += len(whole)
            continue
        if has("newAxisMask", i):
            kept.append(1)
            continue
        if axis >= len(shape) or strides[i] == 0:
            raise UserError(f"bounds {begin.tolist()} to {end.tolist()} by {strides.tolist()} of {shape}")
        first, stop = int(begin[i]), int(end[i])
        if has("shrinkAxisMask", i):
            walk.append((first + (shape[axis] if first < 0 else 0), 1, 1))
        else:
            index = slice(None if has("beginMask", i) else first, None if has("endMask", i) else stop, int(strides[i]))
            bounds = index.indices(shape[axis])
            walk.append((bounds[0], bounds[2], len(range(*bounds))))
            kept.append(walk[-1][2])
        axis += 1
    walk += [(0, 1, n) for n in shape[axis:]]
    kept += shape[axis:]
    if tuple(kept) != g.shape(outputs[0]):
        raise UserError(f"output {g.shape(outputs[0])} does not follow from {tuple(shape)}")
    starts, steps, counts = zip(*walk, strict=True) if walk else ((), (), ())
    g.slice(inputs[0], starts, steps, counts, outputs[0])


def _split(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    x = inputs[1]
    _counted(int(o.numSplits), len(outputs), "outputs")
    axis = _axis(int(g.constant(inputs[0], "axes").ravel()[0]), len(g.shape(x)))
    _pieces(g, x, axis, [g.shape(i)[axis] if len(g.shape(i)) > axis else 0 for i in outputs], outputs)


def _split_v(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    x = inputs[0]
    axis = _axis(int(g.constant(inputs[2], "axes").ravel()[0]), len(g.shape(x)))
    sizes = g.constant(inputs[1], "sizes").ravel().tolist()
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = g.shape(x)[axis] - sum(s for s in sizes if s != -1)
    _pieces(g, x, axis, sizes, outputs)


def _pieces(g: Graph, x: int, axis: int, sizes: list[int], outputs: Shape) -> None:
    shape = g.shape(x)
    if sum(sizes) != shape[axis] or len(sizes) != len(outputs):
        raise UserError(f"pieces {sizes} of {shape[axis]}")
    start = 0
    for size, output in zip(sizes, outputs, strict=True):
        begin = [start if i == axis else 0 for i in range(len(shape))]
        counts = [size if i == axis else n for i, n in enumerate(shape)]
        g.slice(x, begin, [1] * len(shape), counts, output)
        start += size


def _unpack(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    _counted(int(o.num), len(outputs), "outputs")
    axis = _axis(int(o.axis), len(g.shape(inputs[0])))
    _pieces(g, inputs[0], axis, [1] * len(outputs), outputs)


def _pack(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    _counted(int(o.valuesCount), len(inputs), "inputs")
    shape = g.shape(outputs[0])
    axis = _axis(int(o.axis), len(shape))
    part = (*shape[:axis], *shape[axis + 1 :])
    if any(g.shape(i) != part for i in inputs):
        raise UserError(f"parts {[g.shape(i) for i in inputs]} of output {shape} along axis {axis}")
    single = tuple(1 if i == axis else n for i, n in enumerate(shape))
    if len(inputs) == 1:
        g.reshape(inputs[0], outputs[0])
        return
    parts = [g.reshape(i, g.add(i, single)) for i in inputs]
    g.emit("CONCATENATION", parts, outputs[0], Options(axis=axis))


def _transpose(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    permutation = g.constant(inputs[1], "permutations").ravel()
    rank = len(g.shape(inputs[0]))
    g.transpose(inputs[0], [int(p) % max(rank, 1) for p in permutation], outputs[0])


def _space_to_depth(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    b = int(o.blockSize)
    n, h, w, c = _four(g.shape(inputs[0]))
    _blocks(g, inputs[0], (n, h // b, b, w // b, b, c), (0, 1, 3, 2, 4, 5), outputs[0])


def _depth_to_space(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    b = int(o.blockSize)
    n, h, w, c = _four(g.shape(inputs[0]))
    _blocks(g, inputs[0], (n, h, w, b, b, c // (b * b)), (0, 1, 3, 2, 4, 5), outputs[0])


def _four(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise UserError(f"input {shape}; four dimensions are expected")
    return shape


def _blocks(g: Graph, x: int, divided: Sequence[int], permutation: Sequence[int], output: int) -> None:
    """Divide axes into blocks, move them, join them again. Axes that stay neighbours are moved as one."""
    if math.prod(divided) != g.tensors[x].elements:
        raise UserError(f"{g.shape(x)} does not divide into blocks of {tuple(divided)}")
    runs: list[list[int]] = []
    for axis in permutation:
        if runs and axis == runs[-1][-1] + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    in_order = sorted(range(len(runs)), key=lambda r: runs[r][0])
    merged = [math.prod(divided[a] for a in runs[r]) for r in in_order]
    source = g.reshape(x, g.add(x, merged))
    order = [in_order.index(r) for r in range(len(runs))]
    moved = g.transpose(source, order, g.add(x, [merged[i] for i in order]))
    g.reshape(moved, output)


def _space_to_batch(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    block, pads = g.constant(inputs[1], "blocks").ravel().tolist(), g.constant(inputs[2], "paddings")
    x, shape = inputs[0], list(g.shape(inputs[0]))
    spatial = len(block)
    if pads.shape != (spatial, 2) or len(shape) < spatial + 1 or min(block) < 1 or pads.min() < 0:
        raise UserError(f"blocks {block} and paddings {pads.tolist()} of {shape}")
    if pads.any():
        amounts = np.zeros((len(shape), 2), np.int32)
        amounts[1 : 1 + spatial] = pads
        padded = g.add(x, [n + a + b for n, (a, b) in zip(shape, amounts.tolist(), strict=True)])
        g.tensors.append(Tensor(f"paddings_{len(g.tensors)}", amounts.shape, "int32", data=amounts))
        x, shape = g.emit("PAD", (x, len(g.tensors) - 1), padded), list(g.shape(padded))
    if any(n % b for n, b in zip(shape[1:], block, strict=False)):
        raise UserError(f"{shape} does not divide into blocks of {block}")
    inside = [n // b for n, b in zip(shape[1:], block, strict=False)]
    _follows(g, outputs[0], (shape[0] * math.prod(block), *inside, *shape[1 + spatial :]), tuple(shape))
    divided = [shape[0]]
    for n, b in zip(shape[1:], block, strict=False):
        divided += [n // b, b]
    rest = shape[1 + spatial :]
    inner, outer = [2 + 2 * i for i in range(spatial)], [1 + 2 * i for i in range(spatial)]
    order = [*inner, 0, *outer, *range(1 + 2 * spatial, 1 + 2 * spatial + len(rest))]
    _blocks(g, x, divided + rest, order, outputs[0])


def _batch_to_space(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    block, crops = g.constant(inputs[1], "blocks").ravel().tolist(), g.constant(inputs[2], "crops")
    shape, spatial = list(g.shape(inputs[0])), len(block)
    count = math.prod(block)
    if crops.shape != (spatial, 2) or len(shape) < spatial + 1 or min(block) < 1 or shape[0] % count:
        raise UserError(f"blocks {block} and crops {crops.tolist()} of {shape}")
    rest = shape[1 + spatial :]
    divided = [*block, shape[0] // count, *shape[1:]]
    order = [spatial]
    for i in range(spatial):
        order += [spatial + 1 + i, i]
    order += range(1 + 2 * spatial, 1 + 2 * spatial + len(rest))
    whole = [shape[0] // count, *(n * b for n, b in zip(shape[1:], block, strict=False)), *rest]
    kept = [n - int(a) - int(b) for n, (a, b) in zip(whole[1:], crops, strict=False)]
    _follows(g, outputs[0], (whole[0], *kept, *rest), tuple(shape))
    if not crops.any():
        _blocks(g, inputs[0], divided, order, outputs[0])
        return
    joined = g.add(inputs[0], whole)
    _blocks(g, inputs[0], divided, order, joined)
    begin = [0, *crops[:, 0].tolist(), *([0] * len(rest))]
    counts = [whole[0], *(n - a - b for n, (a, b) in zip(whole[1:], crops.tolist(), strict=False)), *rest]
    g.slice(joined, begin, [1] * len(whole), counts, outputs[0])


def _broadcast_to(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    shape, wanted = g.shape(inputs[0]), g.shape(outputs[0])
    try:
        same = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        same = False
    if not same:
        raise UserError(f"{shape} does not broadcast to {wanted}")
    if g.tensors[inputs[0]].elements == g.tensors[outputs[0]].elements:
        g.reshape(inputs[0], outputs[0])
    else:
        g.emit("BROADCAST_TO", inputs[:1], outputs[0])


def _gather(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    """TAKE where the indices are constant and belong to no batch, else GATHER."""
    shape, indices = g.shape(inputs[0]), g.tensors[inputs[1]]
    axis = _axis(int(getattr(o, "axis", 0) or 0), len(shape))
    batch = int(getattr(o, "batchDims", 0) or 0)
    batch += len(indices.shape) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(indices.shape)) or shape[:batch] != indices.shape[:batch]:
        raise UserError(f"{batch} batch dimensions of {shape} and of indices {indices.shape}, axis {axis}")
    _follows(g, outputs[0], (*shape[:axis], *indices.shape[batch:], *shape[axis + 1 :]), shape)
    if indices.data is None or batch:
        if indices.dtype not in ("int32", "int64"):
            raise UserError(f"indices of {indices.dtype}; int32 and int64 are known")
        if indices.data is not None and not 0 <= indices.data.min() <= indices.data.max() < shape[axis]:
            raise UserError(f"takes elements outside its input {shape}")
        g.emit("GATHER", inputs[:2], outputs[0], Options(axis=axis, batch_dims=batch))
        return
    index = g.constant(inputs[1], "indices").ravel()
    index = np.where(index < 0, index + shape[axis], index)
    g.take(inputs[0], [index if i == axis else None for i in range(len(shape))], outputs[0])


def _mirror_pad(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    pads, shape = g.constant(inputs[1], "paddings"), g.shape(inputs[0])
    if pads.shape != (len(shape), 2) or pads.min() < 0:
        raise UserError(f"paddings {pads.tolist()} of {shape}")
    mode: Literal["symmetric", "reflect"] = "symmetric" if int(o.mode) == 1 else "reflect"
    tables: list[npt.NDArray[np.int64] | None] = []
    for size, (before, after) in zip(shape, pads.tolist(), strict=True):
        if max(before, after) > size - (mode == "reflect"):
            raise UserError(f"paddings {pads.tolist()} larger than {shape}")
        padded = np.pad(np.arange(size), (before, after), mode=mode)
        tables.append(padded if before or after else None)
    _follows(g, outputs[0], tuple(int(n + a + b) for n, (a, b) in zip(shape, pads, strict=True)), shape)
    g.take(inputs[0], tables, outputs[0])


def _resize_nearest(g: Graph, o: Any, inputs: Shape, outputs: Shape) -> None:
    shape, wanted = _four(g.shape(inputs[0])), _four(g.shape(outputs[0]))
    given = g.constant(inputs[1], "sizes").ravel().tolist()
    _follows(g, outputs[0], (shape[0], *given, shape[3]), shape)
    align, half = bool(o.alignCorners), bool(o.halfPixelCenters)
    tables: list[npt.NDArray[np.int64] | None] = [None]
    for size, out in zip(shape[1:3], wanted[1:3], strict=True):
        scale = np.float32(size - 1) / np.float32(out - 1) if align and out > 1 else np.float32(size) / np.float32(out)
        value = (np.arange(out, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale
        # ties of aligned corners go away from zero, as C's round()
        index = np.floor(value + np.float32(0.5)) if align else np.floor(value)
        index = np.minimum(index.astype(np.int64), size - 1)
        tables.append(np.maximum(index, 0) if half else index)
    g.take(inputs[0], [*tables, None], outputs[0])


_HANDLERS: dict[str, Callable[[Graph, Any, Shape, Shape], None]] = {
    "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "SPLIT": _split, "SPLIT_V": _split_v, "UNPACK": _unpack,
    "PACK": _pack, "TRANSPOSE": _transpose, "SPACE_TO_DEPTH": _space_to_depth, "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": _space_to_batch, "BATCH_TO_SPACE_ND": _batch_to_space, "BROADCAST_TO": _broadcast_to,
    "GATHER": _gather, "MIRROR_PAD": _mirror_pad, "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
}  # fmt: skip
