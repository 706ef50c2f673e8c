"""Any traceable module becomes the canonical vocabulary, with the same outputs; the rest is named at once."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import UserError
from secateur.models.canonical import canonicalize, to_network
from secateur.models.network import Pad, Slice, verify_network
from secateur.models.preprocess import Preprocess


class Code(nn.Module):
    """Named layers and a forward that is given as a function of (self, x)."""

    def __init__(self, run: Callable[[Any, Any], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 and option == "A":
            extra = (outputs - inputs) // 2
            pads = (0, 0, 0, 0, extra, extra)
            self.shortcut = Code(lambda _, x: F.pad(x[:, :, ::2, ::2], pads, "constant", 0))
        elif stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class Resnet(nn.Module):
    def __init__(self, option: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.stages = nn.Sequential(Block(4, 4, 1, option), Block(4, 8, 2, option))
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.stages(F.relu(self.bn(self.stem(x))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


def dscnn() -> nn.Module:
    def separable() -> list[nn.Module]:
        depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        return [depthwise, nn.BatchNorm2d(8), nn.ReLU6(True), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(True)]

    stem = [nn.Conv2d(1, 8, (10, 4), 2, (5, 1)), nn.BatchNorm2d(8), nn.Hardtanh(0, 6), nn.Dropout(0.2)]
    return nn.Sequential(*stem, *separable(), *separable(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def _preactivation(m: Any, x: Tensor) -> Tensor:
    x = m.conv(x)
    out = m.relu(x)  # in place: x is changed too, and used below
    return torch.mean(m.conv2(out) + x, dim=(2, 3))


def _statement(m: Any, x: Tensor) -> Tensor:
    x = m.conv(x)
    F.relu_(x)  # its result is not used
    return x.mean((-1, -2))


def _pieces(m: Any, x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    c, d = torch.split(m.conv(torch.cat([b, a], dim=-3)), [3, 1], dim=1)
    return torch.concat((c, d, c), 1).amax((2, 3))


def _arithmetic(m: Any, x: Tensor) -> Tensor:
    x = (x / 255 - m.mean) / m.std
    x = m.conv(x) * 0.5 + 1
    x = sum([x, 2 * x, -x])  # type: ignore[assignment]
    return (1 - x).mul(0.25).flatten(1)


def _functional(m: Any, x: Tensor) -> Tensor:
    x = F.conv2d(x, m.conv.weight, m.conv.bias, padding=1)
    x = F.batch_norm(x, m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias)
    x = torch.clamp(F.max_pool2d(x, kernel_size=2, stride=2), 0, 6)
    return F.softmax(F.linear(x.flatten(start_dim=1), m.fc.weight, m.fc.bias), dim=-1)


def _shape_code(m: Any, x: Tensor) -> Tensor:
    n, c, height, _ = x.shape
    if c == 3 and len(x.shape) == 4:
        x = m.conv(x)
    for _ in range(height // 4):
        x = F.relu(x)
    x = x.view(n, x.shape[1], -1).mean(2)
    return x.unsqueeze(2).squeeze(-1).contiguous()


def _normed(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels)


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "option A": (Resnet("A"), (3, 8, 8)),
    "option B": (Resnet("B"), (3, 8, 8)),
    "ds-cnn": (dscnn(), (1, 20, 8)),
    "mlp": (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Identity(), nn.Linear(8, 3)), (6,)),
    "one-dimensional": (
        Code(
            lambda m, x: m.fc(F.adaptive_avg_pool1d(F.max_pool1d(m.bn(m.c(x)).relu(), 2), 1).squeeze(-1)),
            c=nn.Conv1d(6, 8, 5, padding="same", dilation=2), bn=nn.BatchNorm1d(8), fc=nn.Linear(8, 3),
        ),
        (6, 16),
    ),
    "grouped and dilated": (
        nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding="valid"), nn.Conv2d(8, 4, 2, padding="same"),
            nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
        ),
        (4, 9, 9),
    ),
    "pieces": (Code(_pieces, conv=nn.Conv2d(4, 4, 1)), (4, 5, 5)),
    "arithmetic": (
        Code(
            _arithmetic, conv=nn.Conv2d(3, 2, 3),
            mean=nn.ParameterList(), std=nn.ParameterList(),
        ),
        (3, 5, 5),
    ),
    "flat scaled input": (
        Code(lambda m, x: m.a((x / 4 - 0.5) * 3) + m.b(x), a=nn.Linear(6, 3, bias=False), b=nn.Linear(6, 3)),
        (6,),
    ),
    "functional": (Code(_functional, conv=nn.Conv2d(2, 4, 3), bn=nn.BatchNorm2d(4), fc=nn.Linear(36, 3)), (2, 6, 6)),
    "shape code": (Code(_shape_code, conv=nn.Conv2d(3, 4, 3)), (3, 8, 8)),
    "in place": (
        Code(_preactivation, conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True), conv2=nn.Conv2d(3, 3, 1)),
        (3, 6, 6),
    ),
    "in place, as a statement": (Code(_statement, conv=nn.Conv2d(3, 3, 1)), (3, 6, 6)),
    "pads": (
        nn.Sequential(
            nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(2, 3, 3), nn.ConstantPad2d((-1, 0, 1, 0), 0.5),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Softmax(dim=1),
        ),
        (2, 6, 6),
    ),
    "adaptive without effect": (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d((4, 4)), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(1)),
        (2, 6, 6),
    ),
    "shared stateless module": (
        Code(lambda m, x: m.relu(m.b(m.relu(m.a(x)))).flatten(1), a=nn.Conv1d(2, 3, 1), b=nn.Conv1d(3, 3, 1),
             relu=nn.ReLU()),
        (2, 7),
    ),
    "products": (
        Code(lambda m, x: torch.mul(m.a(x), F.hardtanh(m.b(x), 0, 6)).mean(-1), a=nn.Conv1d(2, 3, 1),
             b=nn.Conv1d(2, 3, 1)),
        (2, 7),
    ),
    "arguments by name": (
        Code(lambda m, x: F.linear(input=F.conv1d(input=x, weight=m.a.weight).mean(-1), weight=m.b.weight, bias=None),
             a=nn.Conv1d(2, 3, 1), b=nn.Linear(3, 4)),
        (2, 7),
    ),
    "lists of one number": (
        Code(lambda m, x: F.max_pool2d(m.a(x), [3, 2], stride=[2], padding=[1]).flatten(1), a=nn.Conv2d(2, 3, 1)),
        (2, 6, 6),
    ),
    "gates by None": (
        Code(lambda m, x: (m.a(x) * torch.sigmoid(m.b(x.mean((2, 3))))[:, :, None, None]).flatten(1),
             a=nn.Conv2d(2, 3, 1), b=nn.Linear(2, 3)),
        (2, 4, 4),
    ),
    "names of a graph": (
        Code(lambda m, x: m._modules["code"](m._modules["graph"](x)), graph=nn.Linear(2, 3), code=nn.Linear(3, 4)),
        (2,),
    ),
}  # fmt: skip
del NETWORKS["arithmetic"][0].mean, NETWORKS["arithmetic"][0].std
NETWORKS["arithmetic"][0].register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
NETWORKS["arithmetic"][0].register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))


def seeded(module: nn.Module) -> nn.Module:
    """Statistics and affine parameters away from 0 and 1, so that losing one is seen."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
    return module.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_canonical_network_gives_the_same_outputs(name: str) -> None:
    """Eval outputs agree to 1e-6 of their size on another batch size than the traced one."""
    module, shape = NETWORKS[name]
    seeded(module)
    network = to_network(module, shape, "net")
    verify_network(network)
    x = torch.randn(5, *shape)
    with torch.no_grad():
        expected = module(x.clone())
        assert float((network.module(x) - expected).abs().max()) <= 1e-6 * max(1.0, float(expected.abs().max()))


def test_the_given_module_stays_as_it_was() -> None:
    """Weights are copied, and training mode is kept."""
    module = Resnet("A").train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    network = to_network(module, (3, 8, 8), "net")
    with torch.no_grad():
        next(network.module.parameters()).add_(1.0)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert module.training and not network.module.training


def test_weights_keep_their_names() -> None:
    """The state dict of a module whose code uses modules only is unchanged."""
    module = Resnet("B")
    assert set(to_network(module, (3, 8, 8), "net").module.state_dict()) == set(module.state_dict())


def test_a_canonical_network_is_trainable() -> None:
    """Every parameter gets a gradient in training mode."""
    network = to_network(Resnet("A"), (3, 8, 8), "net")
    network.module.train()
    network.module(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.module.parameters())


def test_what_works_in_place_on_the_output_is_followed() -> None:
    """Though the output is the value that it is given."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = m.c(x)
        x.relu_()
        return x

    module, x = Code(run, c=nn.Linear(4, 8)).eval(), torch.randn(5, 4)
    with torch.no_grad():
        assert torch.equal(to_network(module, (4,), "net").module(x), module(x))


def test_a_hook_that_changes_nothing_stays_behind() -> None:
    """The network is read without it, and the module keeps it."""
    seen: list[int] = []
    module = nn.Sequential(nn.Linear(4, 8))
    module[0].register_forward_hook(lambda module, given, result: seen.append(len(result)))
    network = to_network(module, (4,), "net")
    seen.clear()
    network.module(torch.randn(5, 4))
    assert not seen
    module(torch.randn(5, 4))
    assert seen == [5]


def _weight_norm(conv: nn.Module) -> nn.Module:
    conv = nn.utils.weight_norm(conv)
    with torch.no_grad():
        conv.weight_g.mul_(3)  # type: ignore[operator,union-attr]
    return conv


@pytest.mark.parametrize(
    "computed",
    [
        _weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        lambda conv: nn.utils.prune.l1_unstructured(conv, "weight", 0.5),
    ],
)
def test_weights_that_a_forward_computes_are_plain_ones(computed: Callable[[nn.Module], nn.Module]) -> None:
    """weight_norm, spectral_norm and pruning masks: what the module computes, and the module itself stays."""
    torch.manual_seed(0)
    module = Code(lambda m, x: m.c(x).mul(2).mean(2), c=computed(nn.Conv1d(2, 4, 3)), d=nn.Conv1d(2, 2, 1)).eval()
    x = torch.randn(5, 2, 8)
    network = to_network(module, (2, 8), "net")
    assert set(network.module.state_dict()) == {"c.weight", "c.bias"}
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), module(x))
    assert set(module.state_dict()) > {"c.bias", "d.weight"} and "c.weight" not in module.state_dict()


def _kinds(module: nn.Module, shape: tuple[int, ...]) -> list[Any]:
    graph = canonicalize(module.eval(), shape)
    named = dict(graph.named_modules())
    return [
        type(named[str(n.target)]) if n.op == "call_module" else n.target
        for n in graph.graph.nodes
        if n.op.startswith("call")
    ]


def test_option_a_is_one_slice_and_one_pad() -> None:
    """The lambda shortcut becomes Slice and Pad with these amounts, and the block's sum an operator.add."""
    block = Block(4, 8, 2, "A")
    conv = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    module = nn.Sequential(block, nn.Flatten())
    assert _kinds(module, (4, 8, 8)) == [*conv, Slice, Pad, operator.add, nn.ReLU, nn.Flatten]
    parts = {type(m): m for m in canonicalize(module, (4, 8, 8)).modules()}
    assert parts[Slice].ranges == ((0, 4, 1), (0, 8, 2), (0, 8, 2))
    assert parts[Pad].amounts == ((2, 2), (0, 0), (0, 0))


def test_slices_of_slices_are_one_slice() -> None:
    """What an exporter cuts one dimension at a time is cut once."""
    module = Code(lambda _, x: x[:, :, 1::2][:, :, :, 3:9:2][:, 1:, 1:].flatten(1))
    assert _kinds(module, (3, 9, 10)) == [Slice, nn.Flatten]
    found = next(m for m in canonicalize(module, (3, 9, 10)).modules() if isinstance(m, Slice))
    assert found.ranges == ((1, 3, 1), (3, 8, 2), (3, 8, 2))


def test_constants_fold_into_the_weights_beside_them() -> None:
    """x / 255 before a convolution and * 0.5 + 1 behind it leave one convolution."""
    module = Code(lambda m, x: (m.conv(x / 255) * 0.5 + 1).flatten(1), conv=nn.Conv2d(3, 2, 3, padding=1))
    assert _kinds(module, (3, 4, 4)) == [nn.Conv2d, nn.Flatten]


def test_a_shift_does_not_fold_through_zero_padding() -> None:
    """(x - 0.5) before a padded convolution needs a 1x1 depthwise one: the padding is zero after the shift."""
    module = Code(lambda m, x: m.conv(x - 0.5).flatten(1), conv=nn.Conv2d(3, 2, 3, padding=1))
    assert _kinds(module, (3, 4, 4)) == [nn.Conv2d, nn.Conv2d, nn.Flatten]


def test_all_unsupported_operators_are_listed_at_once() -> None:
    """Four of them, in one line, by name and place."""
    module = Code(
        lambda m, x: m.fc(torch.exp(m.inner(F.mish(m.conv(x)))).cumsum(2).flatten(1)),
        conv=nn.Conv1d(4, 4, 1), inner=nn.Sequential(nn.Softplus(), nn.Conv1d(4, 4, 1)), fc=nn.Linear(32, 2),
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        to_network(module, (4, 8), "net")
    message = str(caught.value)
    assert "net: 4 unsupported operator(s)" in message and "\n" not in message
    assert all(part in message for part in ("mish (mish: ", "inner.0 (Softplus)", "exp", "cumsum"))


def test_what_follows_a_recurrent_layer_is_listed_too() -> None:
    """An operator of several outputs does not hide those behind it."""

    def run(m: Any, x: Tensor) -> Tensor:
        out, _ = m.lstm(x)
        return m.fc(torch.exp(out).cumsum(1)[:, -1])  # type: ignore[no-any-return]

    with pytest.raises(UserError, match=r"3 unsupported .*lstm \(LSTM.*exp.*cumsum"):
        canonicalize(Code(run, lstm=nn.LSTM(5, 3, batch_first=True), fc=nn.Linear(3, 2)), (4, 5))


def _spoilt(module: nn.Linear) -> nn.Linear:
    with torch.no_grad():
        module.bias[0] = float("nan")
    return module


def _doubled(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, given, result: 2 * result)
    return module


def _first_changed(x: Tensor) -> Tensor:
    x[:, :4].add_(1)
    return x


def _first_set(x: Tensor) -> Tensor:
    x[:, 0] = 1
    return x


@pytest.mark.parametrize(
    "module, shape, message",
    [
        (Code(lambda m, x: m.c(m.c(x)).flatten(1), c=nn.Conv1d(2, 2, 1)), (2, 4), "a second time, with shared weights"),
        (
            Code(lambda m, x: F.linear(F.linear(x, m.c.weight), m.c.weight), c=nn.Linear(3, 3)),
            (3,),
            "linear_1 .linear: shares its weights with linear",
        ),
        (Code(lambda m, x: x if x.sum() > 0 else -x), (2,), "depends on the value of a tensor.*ONNX"),
        (Code(lambda m, x: x * x.mean().item()), (2,), "`item` reads the values"),
        (nn.Conv2d(3, 4, 3), (1, 8, 8), r"of shape \(1, 8, 8\).*--input-shape.*this was 1,1,8,8"),
        (nn.Conv2d(3, 4, 3), (3, 8, 8), r"shape \(4, 6, 6\) per sample.*--cut-at"),
        (Code(lambda m, x: (x, x)), (3,), "returns 2 values.*--cut-at"),
        (Code(lambda m, x: {"out": x * 2}), (3,), r"returns a dict \(out\)"),
        (_spoilt(nn.Linear(4, 2)), (4,), "bias holds NaN or infinite values"),
        (nn.Linear(4, 2), (3, 4), "mixes positions with channels"),
        (
            nn.Sequential(nn.AvgPool1d(2, 2, 1, ceil_mode=True), nn.Flatten()),
            (2, 7),
            "partial last window on this input, and the padding is counted",
        ),
        (nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (2, 7), "circular"),
        (nn.BatchNorm1d(3, track_running_stats=False), (3, 4), "no running statistics"),
        (Code(lambda m, x: (m.a(x) - m.b(x)).flatten(1), a=nn.Conv1d(2, 2, 1), b=nn.Conv1d(2, 2, 1)), (2, 4), "sum"),
        (Code(lambda m, x: F.relu(x * 2)), (3,), "mul .scales a flat vector that no Linear takes or gives"),
        (nn.LogSoftmax(1), (3,), "LogSoftmax"),
        (Code(lambda m, x: torch.ones(1, 2)), (3,), "does not depend|returns"),
        (Code(lambda m, x: m.c(x).transpose(1, 2), c=nn.Conv1d(2, 3, 1)), (2, 4), "transpose .as the output: takes"),
        (Code(lambda m, x: m.c(x).view(-1, 2, 6), c=nn.Conv1d(2, 3, 1)), (2, 4), "view .as the output: reshapes"),
        (Code(lambda m, x: _first_set(m.c(x)), c=nn.Linear(8, 8)), (8,), r"assigns to a part of a tensor.*ONNX"),
        (nn.Sequential(torch.jit.script(nn.Linear(8, 8))), (8,), "TorchScript.*export it to ONNX"),
        (Code(lambda m, x: F.dropout(m.c(x), 0.5), c=nn.Linear(8, 8)), (8,), "training=self.training"),
        (Code(lambda m, x: m.r(m.c(x)), c=nn.Linear(8, 8), r=_doubled(nn.ReLU())), (8,), r"forward hooks \(r\)"),
        (Code(lambda m, x: _first_changed(m.c(x)), c=nn.Linear(8, 8)), (8,), "in place of a part"),
    ],
)
def test_a_network_at_fault_is_one_line(module: nn.Module, shape: tuple[int, ...], message: str) -> None:
    """Each says what is wrong and, where there is one, the next step."""
    with pytest.raises(UserError, match=message) as caught:
        to_network(module, shape, "net")
    assert "\n" not in str(caught.value)


def test_tied_weights_are_refused() -> None:
    """Cutting one of two layers that share a weight would cut the other."""
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3, bias=False))
    module[2].weight = module[0].weight  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"2 \(shares its weights with 0\)"):
        canonicalize(module, (3,))


@pytest.mark.parametrize(
    "labels, preprocess, message",
    [
        (("a",), Preprocess(), "1 labels for 5 outputs"),
        ((), Preprocess((0.5, 0.5), (1.0, 1.0)), "2 values of mean for 3 input channels"),
        ((), Preprocess((0.5, 0.5, 0.5), (1.0, 1.0, 0.0)), "must be positive"),
        ((), Preprocess((0.5,), ()), "1 means and 0 stds"),
    ],
)
def test_labels_and_scales_must_fit(labels: tuple[str, ...], preprocess: Preprocess, message: str) -> None:
    """Counts that do not fit the network are the user's error."""
    with pytest.raises(UserError, match=message):
        to_network(Resnet("A"), (3, 8, 8), "net", labels, preprocess)


@pytest.mark.parametrize("place", ["1", "relu"])
def test_cut_at_ends_the_network_before_what_is_unsupported(place: str) -> None:
    """By the name of a module or of a node; the unsupported tail is gone."""
    module = Code(lambda m, x: F.log_softmax(F.relu(getattr(m, "1")(x)), 1), **{"1": nn.Linear(3, 4)})
    network = to_network(module, (3,), "net", cut_at=place)
    assert network.classes == 4
    with pytest.raises(UserError, match="no such node; the last ones are 1, relu, log_softmax"):
        to_network(module, (3,), "net", cut_at="nothing")
