"""Network: a trained float network as an fx graph that can be trained, measured and cut.

The graph is *canonical* (`compiler/frontends/canonical.py` makes it so), which keeps every consumer small.
Its nodes are one `placeholder`, one `output` (a single tensor), and:

- `call_module` of Conv1d, Conv2d, Linear, BatchNorm1d, BatchNorm2d, ReLU, ReLU6, MaxPool1d, MaxPool2d,
  AvgPool1d, AvgPool2d, AdaptiveAvgPool1d(1), AdaptiveAvgPool2d(1), Flatten(1), Softmax(dim=1), Pad, Slice
  (`Pad` and `Slice` are below), Unsqueeze and the ACTIVATIONS of `activations.py` (Sigmoid, Hardsigmoid, Tanh,
  SiLU, Hardswish, GELU, ELU, LeakyReLU, PReLU), and of tokens (n, d, l): Tokens, Bias, ChannelNorm, Attention
  (`tokens.py`);
- `call_function` of operator.add, operator.mul, torch.cat (dim 1), of tensors.

Module targets are unique: no module is called twice. Tensors are channels first, (n, c, l) or (n, c, h, w).
"""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import ACTIVATIONS, Unsqueeze
from secateur.models.preprocess import Preprocess
from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens

T = TypeVar("T")
MODULES: tuple[type[nn.Module], ...]
FUNCTIONS = (operator.add, operator.mul, torch.cat)


class Pad(nn.Module):
    """Constant padding. `amounts`: (before, after) for every dimension but the batch, channels first."""

    def __init__(self, amounts: tuple[tuple[int, int], ...], value: float = 0.0) -> None:
        super().__init__()
        self.amounts = amounts
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        flat = [n for pair in reversed(self.amounts) for n in pair]
        return nn.functional.pad(x, flat, value=self.value)


class Slice(nn.Module):
    """Strided slice. `ranges`: (begin, end, step) for every dimension but the batch, non-negative."""

    def __init__(self, ranges: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        self.ranges = ranges

    def forward(self, x: Tensor) -> Tensor:
        return x[(slice(None), *(slice(b, e, s) for b, e, s in self.ranges))]


MODULES = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Softmax,
    Pad,
    Slice,
    Unsqueeze,
    *ACTIVATIONS,
    Tokens,
    Bias,
    ChannelNorm,
    Attention,
)


@dataclass(frozen=True)
class Network:
    """A canonical fx graph with what surrounds it. Passes return a new one and leave theirs unchanged.

    `module` maps preprocessed samples (n, *input_shape), float32, to logits or probabilities (n, classes).
    `preprocess` maps raw samples (n, *input_shape) to what `module` takes.
    """

    name: str
    module: fx.GraphModule
    input_shape: tuple[int, ...]
    preprocess: Preprocess
    labels: tuple[str, ...] = ()
    history: tuple[str, ...] = field(default=(), compare=False)  # names of the passes that made it
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph

    def clone(self) -> Network:
        """A deep copy: weights, buffers and graph are not shared. Gradients are left behind."""
        root, done = nn.Module(), dict[int, Any]()
        root.training = self.module.training
        root._modules = {k: None if m is None else _copied(m, done) for k, m in self.module._modules.items()}
        module = fx.GraphModule(root, copy.deepcopy(self.graph))
        module._modules = root._modules  # in their own order, not the graph's: an optimizer sums in it
        return replace(self, module=module)

    def made_by(self, name: str) -> Network:
        """The same network, with the pass that made it in its history."""
        made = replace(self, history=(*self.history, name))
        made._known.update(self._known)
        return made

    def known(self, what: str, find: Callable[[], T]) -> T:
        """What `find` gives of the structure, kept after the first call.

        A Network's graph is not edited once it has been handed on (`verify_network` looks anew); weights may change.
        """
        if what not in self._known:
            self._known[what] = find()
        found: T = self._known[what]
        return found

    def hash(self) -> str:
        """SHA-256 over the graph, its modules' settings and every parameter and buffer: scores are bound to it."""
        digest = hashlib.sha256(f"{self.input_shape} {self.module.code}".encode())
        for node in self.graph.nodes:
            if node.op == "call_module":
                module = self.module.get_submodule(str(node.target))
                digest.update(f"{node.target} {type(module).__name__} {_settings(module)}".encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every node's value without the batch, by node name."""
        return dict(self.known("shapes", lambda: _Shapes(self.module).of(torch.zeros(1, *self.input_shape))))

    @property
    def classes(self) -> int:
        output = next(n for n in self.graph.nodes if n.op == "output")
        return self.shapes()[output.args[0].name][0]


def _settings(module: nn.Module) -> list[tuple[str, object]]:
    """What `module` computes by besides its tensors: strides, slopes, amounts."""
    plain = (bool, int, float, str, tuple, type(None))
    return sorted((k, v) for k, v in vars(module).items() if k[0] != "_" and k != "training" and isinstance(v, plain))


def _copied(module: nn.Module, done: dict[int, Any]) -> nn.Module:
    """What copy.deepcopy gives of a module, but gradients, sooner.

    `done`: copies by the ids of their modules and tensors, so that what was shared is shared again.
    """

    def own(tensor: Tensor | None) -> Any:
        if tensor is None:
            return None
        if id(tensor) not in done:
            values = tensor.detach().clone()
            learned = isinstance(tensor, nn.Parameter)
            done[id(tensor)] = nn.Parameter(values, tensor.requires_grad) if learned else values
        return done[id(tensor)]

    known: nn.Module | None = done.get(id(module))
    if known is not None:
        return known
    done[id(module)] = new = module.__new__(type(module))
    for name, value in vars(module).items():
        if name not in ("_parameters", "_buffers", "_modules"):
            empty = isinstance(value, (dict, set)) and not value  # as most are: of hooks that it has not
            new.__dict__[name] = value.copy() if empty else copy.deepcopy(value, done)
    new._parameters = {k: own(v) for k, v in module._parameters.items()}
    new._buffers = {k: own(v) for k, v in module._buffers.items()}
    new._modules = {k: None if m is None else _copied(m, done) for k, m in module._modules.items()}
    return new


class _Shapes(fx.Interpreter):
    """Runs the graph once on zeros, in eval mode, and keeps each value's shape."""

    def of(self, x: Tensor) -> dict[str, tuple[int, ...]]:
        self.found: dict[str, tuple[int, ...]] = {}
        training = {m: m.training for m in self.module.modules()}
        self.module.eval()
        try:
            with torch.no_grad():
                self.run(x)
        finally:
            for module, mode in training.items():
                module.training = mode
        return self.found

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n.name] = tuple(value.shape[1:])
        return value


def verify_network(network: Network) -> None:
    """Raise AssertionError, naming the node, if the graph is not canonical or does not run."""
    graph = network.graph
    graph.lint()
    placeholders = [n for n in graph.nodes if n.op == "placeholder"]
    assert len(placeholders) == 1, f"{network.name}: {len(placeholders)} inputs, one expected"
    called: set[str] = set()
    for node in graph.nodes:
        if node.op == "call_module":
            module = network.module.get_submodule(str(node.target))
            assert isinstance(module, MODULES), f"{network.name}: {node.name} is a {type(module).__name__}"
            assert node.target not in called, f"{network.name}: module {node.target} is called twice"
            called.add(str(node.target))
        elif node.op == "call_function":
            assert node.target in FUNCTIONS, f"{network.name}: {node.name} calls {node.target}"
        else:
            assert node.op in ("placeholder", "output"), f"{network.name}: {node.name} is a {node.op}"
    network._known.clear()
    network.shapes()
