"""Network to float Program: channels last, batch norms folded, activations fused, padding as TFLite has it.

Shape-only costing and export run the same code, so the predicted arena is the one that is built.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from secateur.errors import UserError
from secateur.models.activations import ACTIVATIONS as CURVES
from secateur.models.activations import Unsqueeze
from secateur.models.network import Network, Pad, Slice
from secateur.models.program import Op, Options, Padding, Program, Tensor, verify_program, with_ops
from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens
from secateur.passes.program import lower_tokens
from secateur.passes.program.centred import centred_nodes
from secateur.passes.program.lower_activations import lower_activation

Floats = npt.NDArray[np.float32]
FUSABLE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL")
ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "RELU", nn.ReLU6: "RELU6"}


def lower(network: Network) -> Program:
    """The float Program of `network`: input (1, h, w, c), (1, 1, l, c) or (1, features).

    Raises UserError for what int8 TFLite cannot say.
    """
    program = _Lowering(network).program()
    verify_program(program)
    return program


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A channels-first shape without batch as the NHWC shape with it.

    >>> channels_last((6, 128)), channels_last((3, 32, 32)), channels_last((64,))
    ((1, 1, 128, 6), (1, 32, 32, 3), (1, 64))
    """
    if len(shape) == 1:
        return (1, *shape)
    if len(shape) == 2:
        return (1, 1, shape[1], shape[0])
    return (1, shape[1], shape[2], shape[0])


def to_channels_last(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n, c, l) or (n, c, h, w) samples in the layout of the Program's input; (n, features) as it is."""
    if samples.ndim == 2:
        return samples
    moved = np.moveaxis(samples, 1, -1)
    return moved[:, None] if samples.ndim == 3 else moved


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) of TFLite's SAME."""
    reach = (kernel - 1) * dilation + 1
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


class _Lowering:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.shapes = network.shapes()
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.value: dict[fx.Node, int] = {}
        # tensors whose features are still in (c, h, w) order for whoever indexes them, after a Flatten
        self.unflattened: dict[int, tuple[int, ...]] = {}
        # tensors that are still to be multiplied with gains and added to biases, one a channel, by all their readers
        self.gains: dict[int, tuple[Floats, Floats]] = {}
        self.centred = centred_nodes(network)

    def program(self) -> Program:
        network, output = self.network, -1
        for node in network.graph.nodes:
            if node.op == "placeholder":
                self.value[node] = self.tensor(node.name, channels_last(network.input_shape))
                entry = self.value[node]
            elif node.op == "output":
                output = self.value[node.args[0]]
            elif node.op == "call_function":
                self.function(node)
            else:
                self.module(node, network.module.get_submodule(str(node.target)))
        if output in self.unflattened:
            raise self.error("output", "the network ends in a flattened feature map; end it in a Linear layer")
        program = Program(
            name=network.name, tensors=tuple(self.tensors), ops=tuple(self.ops), inputs=(entry,), outputs=(output,),
            labels=network.labels, shape_only=True, preprocess=network.preprocess,
        )  # fmt: skip
        return with_ops(program, list(program.ops))

    # -- helpers

    def error(self, node: str, problem: str) -> UserError:
        return UserError(f"{self.network.name}: {node}: {problem}")

    def tensor(self, name: str, shape: tuple[int, ...], data: npt.NDArray[Any] | None = None, dtype: str = "") -> int:
        self.tensors.append(Tensor(name, shape, dtype or "float32", data=data))
        return len(self.tensors) - 1

    def constant(self, name: str, data: npt.NDArray[Any], dtype: str = "float32") -> int:
        data = np.ascontiguousarray(data)
        return self.tensor(name, data.shape, data, dtype)

    def emit(self, kind: str, inputs: list[int], shape: tuple[int, ...], name: str, options: Options) -> int:
        out = self.tensor(name, shape)
        self.ops.append(Op(kind, tuple(inputs), (out,), options, name))
        return out

    def out_shape(self, node: fx.Node) -> tuple[int, ...]:
        return channels_last(self.shapes[node.name])

    def source(self, node: fx.Node, position: int = 0) -> int:
        return self.value[node.args[position]]  # type: ignore[index]

    def only_use(self, node: fx.Node) -> Op | None:
        """The operator that made this node's first argument, if nobody else reads it."""
        producer = node.args[0]
        assert isinstance(producer, fx.Node)
        made = self.value[producer]
        if len(producer.users) > 1 or not self.ops or producer.op in ("placeholder", "output"):
            return None
        return next((op for op in reversed(self.ops) if made in op.outputs), None)

    def replace_op(self, old: Op, new: Op, name: str) -> None:
        self.ops[next(i for i, op in enumerate(self.ops) if op is old)] = replace(new, name=name)
        out = old.outputs[0]
        self.tensors[out] = replace(self.tensors[out], name=name)

    # -- nodes

    def function(self, node: fx.Node) -> None:
        if node.target is torch.cat:
            items = [self.value[n] for n in node.args[0]]  # type: ignore[union-attr, index]
            self.refuse_unflattened(node, items)
            shape = self.out_shape(node)
            self.value[node] = self.emit("CONCATENATION", items, shape, node.name, Options(axis=len(shape) - 1))
            return
        kind = {operator.add: "ADD", operator.mul: "MUL"}[node.target]  # type: ignore[index]
        pair = [self.source(node, 0), self.source(node, 1)]
        orders = {self.unflattened.get(i) for i in pair}
        if len(orders) > 1:
            raise self.error(node.name, "one operand is a flattened feature map, the other is not")
        self.value[node] = self.emit(kind, pair, self.out_shape(node), node.name, Options())
        if pair[0] in self.unflattened:
            self.unflattened[self.value[node]] = self.unflattened[pair[0]]

    def refuse_unflattened(self, node: fx.Node, inputs: list[int]) -> None:
        if any(i in self.unflattened for i in inputs):
            raise self.error(node.name, "works on a flattened feature map; pool it to one position first")

    def module(self, node: fx.Node, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            self.value[node] = self.linear(node, module)
            return
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            self.value[node] = self.activation(node, ACTIVATIONS[type(module)])
            return
        if isinstance(module, CURVES):
            self.value[node] = lower_activation(self, node, module)
            return
        self.refuse_unflattened(node, [self.source(node)])
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            self.value[node] = self.convolution(node, module)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            self.value[node] = self.batch_norm(node, module)
        elif isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)):
            self.value[node] = self.pool(node, module)
        elif isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)):
            axes = self.constant(f"{node.name}_axes", np.array([1, 2], np.int32), "int32")
            options = Options(keep_dims=True)
            self.value[node] = self.emit("MEAN", [self.source(node), axes], self.out_shape(node), node.name, options)
        elif isinstance(module, nn.Flatten):
            self.value[node] = self.flatten(node)
        elif isinstance(module, Unsqueeze):
            self.value[node] = self.emit("RESHAPE", [self.source(node)], self.out_shape(node), node.name, Options())
        elif isinstance(module, nn.Softmax):
            self.value[node] = self.emit(
                "SOFTMAX", [self.source(node)], self.out_shape(node), node.name, Options(beta=1.0)
            )
        elif isinstance(module, Pad):
            self.value[node] = self.pad(node, module)
        elif isinstance(module, Slice):
            self.value[node] = self.slice(node, module)
        elif isinstance(module, (Tokens, Bias, ChannelNorm, Attention)):
            self.value[node] = lower_tokens.lower(self, node, module)
        else:
            raise self.error(node.name, f"no lowering for {type(module).__name__}")

    def activation(self, node: fx.Node, kind: str) -> int:
        made = self.only_use(node)
        source = self.source(node)
        if made is not None and made.kind in FUSABLE and made.options.activation == "NONE":
            self.replace_op(made, replace(made, options=replace(made.options, activation=kind)), node.name)
            return source
        out = self.emit(kind, [source], self.tensors[source].shape, node.name, Options())
        if source in self.unflattened:
            self.unflattened[out] = self.unflattened[source]
        return out

    def linear(self, node: fx.Node, module: nn.Linear) -> int:
        source = self.source(node)
        weights = _array(module.weight)
        if source in self.unflattened:
            c, *rest = self.unflattened[source]
            weights = np.moveaxis(weights.reshape(-1, c, *rest), 1, -1).reshape(len(weights), -1)
        bias = np.zeros(len(weights), np.float32) if module.bias is None else _array(module.bias)
        inputs = [
            source,
            self.constant(f"{node.name}_weights", weights),
            self.constant(f"{node.name}_bias", bias),
        ]
        return self.emit("FULLY_CONNECTED", inputs, self.out_shape(node), node.name, Options())

    def convolution(self, node: fx.Node, module: nn.Conv1d | nn.Conv2d) -> int:
        if module.padding_mode != "zeros":
            raise self.error(node.name, f"padding_mode {module.padding_mode}; zeros is known")
        weights = _array(module.weight)
        weights = weights[:, :, None] if weights.ndim == 3 else weights  # (o, i / groups, h, w)
        kernel = (weights.shape[2], weights.shape[3])
        stride, dilation = _pair(module, "stride"), _pair(module, "dilation")
        source = self.source(node)
        if isinstance(module.padding, str):
            amounts = _torch_same(kernel, dilation) if module.padding == "same" else Padding()
        else:
            vertical, horizontal = _pair(module, "padding", fill=0)
            amounts = Padding(vertical, vertical, horizontal, horizontal)
        source, amounts = self.padded(node, source, kernel, stride, dilation, amounts, 0.0)
        options = Options(stride=stride, dilation=dilation, padding=amounts)
        in_c = self.tensors[source].shape[3]
        if module.groups == in_c and in_c > 1:
            kind, ohwi = "DEPTHWISE_CONV_2D", np.transpose(weights, (1, 2, 3, 0))
            options = replace(options, depth_multiplier=len(weights) // in_c)
        else:
            kind, ohwi = "CONV_2D", np.transpose(weights, (0, 2, 3, 1))
        bias = np.zeros(len(weights), np.float32) if module.bias is None else _array(module.bias)
        if node in self.centred:
            bias, ohwi = bias - bias.mean(), ohwi - ohwi.mean(0)
        if source in self.gains:
            gain, shift = self.gains[source]
            bias, ohwi = bias + ohwi[:, 0, 0] @ shift, ohwi * gain
        inputs = [
            source,
            self.constant(f"{node.name}_weights", ohwi),
            self.constant(f"{node.name}_bias", bias),
        ]
        return self.emit(kind, inputs, self.out_shape(node), node.name, options)

    def padded(
        self, node: fx.Node, source: int, kernel: tuple[int, int], stride: tuple[int, int],
        dilation: tuple[int, int], amounts: Padding, value: float,
    ) -> tuple[int, Padding]:  # fmt: skip
        """TFLite pads by SAME or not at all; anything else becomes a PAD operator in front."""
        _, h, w, _ = self.tensors[source].shape
        same = Padding(
            *same_padding(h, kernel[0], stride[0], dilation[0]),
            *same_padding(w, kernel[1], stride[1], dilation[1]),
        )
        if not amounts or amounts == same:
            return source, amounts
        pairs = ((0, 0), (amounts.top, amounts.bottom), (amounts.left, amounts.right), (0, 0))
        return self.pad_op(f"{node.name}_pad", source, pairs, value), Padding()

    def pad_op(self, name: str, source: int, pairs: tuple[tuple[int, int], ...], value: float) -> int:
        shape = tuple(s + a + b for s, (a, b) in zip(self.tensors[source].shape, pairs, strict=True))
        inputs = [source, self.constant(f"{name}_amounts", np.array(pairs, np.int32), "int32")]
        if value != 0.0:
            inputs.append(self.constant(f"{name}_value", np.array([value], np.float32)))
        return self.emit("PADV2" if value != 0.0 else "PAD", inputs, shape, name, Options())

    def batch_norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> int:
        if module.running_mean is None or module.running_var is None:
            raise self.error(node.name, "a batch norm without running statistics cannot be folded")
        deviation = np.sqrt(_array(module.running_var).astype(np.float64) + module.eps)
        gain = (np.ones(len(deviation)) if module.weight is None else _array(module.weight)) / deviation
        shift = (0.0 if module.bias is None else _array(module.bias)) - _array(module.running_mean) * gain
        made = self.only_use(node)
        if made is not None and made.kind in FUSABLE[:3] and made.options.activation == "NONE":
            weights, bias = (self.tensors[i].data for i in made.inputs[1:])
            assert weights is not None and bias is not None
            axis = 3 if made.kind == "DEPTHWISE_CONV_2D" else 0
            along = [1] * weights.ndim
            along[axis] = -1
            scaled = (weights * gain.reshape(along)).astype(np.float32)
            moved = (bias * gain + shift).astype(np.float32)
            inputs = (made.inputs[0], self.constant(f"{node.name}_weights", scaled),
                      self.constant(f"{node.name}_bias", moved))  # fmt: skip
            self.replace_op(made, replace(made, inputs=inputs), node.name)
            return self.source(node)
        # Nothing to fold into: a depthwise 1x1 convolution is the same arithmetic.
        source, shape = self.source(node), self.out_shape(node)
        flat = len(shape) == 2
        if flat:
            source = self.emit("RESHAPE", [source], (1, 1, 1, shape[1]), f"{node.name}_in", Options())
        weights = gain.astype(np.float32).reshape(1, 1, 1, -1)
        inputs = (source, self.constant(f"{node.name}_weights", weights),
                  self.constant(f"{node.name}_bias", shift.astype(np.float32)))  # fmt: skip
        name = f"{node.name}_out" if flat else node.name
        out = self.emit("DEPTHWISE_CONV_2D", list(inputs), self.tensors[source].shape, name, Options())
        return self.emit("RESHAPE", [out], shape, node.name, Options()) if flat else out

    def pool(self, node: fx.Node, module: nn.Module) -> int:
        assert isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d))
        if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)) and _pair(module, "dilation") != (1, 1):
            raise self.error(node.name, "a dilated pool")
        kernel, stride = _pair(module, "kernel_size"), _pair(module, "stride")
        vertical, horizontal = _pair(module, "padding", fill=0)
        source = self.source(node)
        below, right = (
            max(0, (after - 1) * s + k - n - 2 * p) if module.ceil_mode else 0
            for after, n, k, s, p in zip(
                self.out_shape(node)[1:3], self.tensors[source].shape[1:3], kernel, stride, (vertical, horizontal),
                strict=True,
            )
        )  # fmt: skip
        amounts = Padding(vertical, vertical + below, horizontal, horizontal + right)
        if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
            kind, value = "MAX_POOL_2D", float(np.finfo(np.float32).min)
            source, amounts = self.padded(node, source, kernel, stride, (1, 1), amounts, value)
        else:
            kind = "AVERAGE_POOL_2D"
            if getattr(module, "divisor_override", None):
                raise self.error(node.name, "divisor_override")
            if (vertical or horizontal) and module.count_include_pad:
                if below or right:
                    raise self.error(node.name, "ceil_mode with padding that is counted")
                pairs = ((0, 0), (vertical, vertical), (horizontal, horizontal), (0, 0))
                source, amounts = self.pad_op(f"{node.name}_pad", source, pairs, 0.0), Padding()
            elif amounts:
                before = source
                source, amounts = self.padded(node, source, kernel, stride, (1, 1), amounts, 0.0)
                if source != before:
                    raise self.error(node.name, "average pool with padding that is not counted and is not SAME")
        options = Options(kernel=kernel, stride=stride, padding=amounts)
        return self.emit(kind, [source], self.out_shape(node), node.name, options)

    def flatten(self, node: fx.Node) -> int:
        source = self.source(node)
        before = self.shapes[_input(node).name]
        shape = self.out_shape(node)
        if self.tensors[source].shape == shape:
            return source
        out = self.emit("RESHAPE", [source], shape, node.name, Options())
        if len(before) > 1 and int(np.prod(before[1:])) > 1 and before[0] > 1:
            self.unflattened[out] = before
        return out

    def pad(self, node: fx.Node, module: Pad) -> int:
        return self.pad_op(node.name, self.source(node), _nhwc_pairs(module.amounts), module.value)

    def slice(self, node: fx.Node, module: Slice) -> int:
        source = self.source(node)
        ranges, whole = module.ranges, (0, 1, 1)
        ordered: tuple[tuple[int, int, int], ...]
        if len(ranges) == 1:
            ordered = (whole, *ranges)
        elif len(ranges) == 2:
            ordered = (whole, whole, ranges[1], ranges[0])
        else:
            ordered = (whole, ranges[1], ranges[2], ranges[0])
        options = Options(begin=tuple(r[0] for r in ordered), strides=tuple(r[2] for r in ordered))
        return self.emit("STRIDED_SLICE", [source], self.out_shape(node), node.name, options)


def _input(node: fx.Node) -> fx.Node:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _array(tensor: torch.Tensor) -> Floats:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float32)


ONE_DIMENSIONAL = (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d)


def _pair(module: nn.Module, setting: str, fill: int = 1) -> tuple[int, int]:
    """(vertical, horizontal) of a setting of `module`; a 1-D module has `fill` for the vertical."""
    value: Any = getattr(module, setting)
    values = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if isinstance(module, ONE_DIMENSIONAL):
        return (fill, values[0])
    return (values[0], values[-1])


def _torch_same(kernel: tuple[int, int], dilation: tuple[int, int]) -> Padding:
    """padding='same' of torch (stride 1 only): the odd pixel goes to the end."""
    v, h = ((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
    return Padding(v // 2, v - v // 2, h // 2, h - h // 2)


def _nhwc_pairs(amounts: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    none = (0, 0)
    if len(amounts) == 1:
        return (none, *amounts)
    if len(amounts) == 2:
        return (none, none, amounts[1], amounts[0])
    return (none, amounts[1], amounts[2], amounts[0])
