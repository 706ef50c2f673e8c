"""Activations beyond ReLU come in from any form, keep channels, and a cut through them is exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import UserError
from secateur.models.activations import ACTIVATIONS, Unsqueeze, activation_bounds
from secateur.models.canonical import canonicalize, to_network
from secateur.models.network import Network
from secateur.models.task import MultiLabel
from secateur.models.training import ends_in_probabilities
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.removal import Removal, apply, mask


class Code(nn.Module):
    """Two convolutions around a function of x."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.last, self.run = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3), run

    def forward(self, x: Tensor) -> Any:
        return self.last(self.run(self.first(x)))


def activations(run: Callable[[Any], Any]) -> list[str]:
    """Classes of all modules between the two convolutions, as the canonical graph has them."""
    torch.manual_seed(0)
    graph = canonicalize(Code(run), (3, 7, 6))  # which compares its outputs with the module's
    nodes = [n for n in graph.graph.nodes if n.op.startswith("call")]
    names = [type(graph.get_submodule(n.target)).__name__ if n.op == "call_module" else n.target for n in nodes]
    return [str(getattr(n, "__name__", n)) for n in names if n != "Conv2d"]


def erf_gelu(x: Any) -> Any:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def tanh_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (torch.sigmoid, "Sigmoid"),
        (lambda x: x.tanh(), "Tanh"),
        (nn.Hardsigmoid(inplace=True), "Hardsigmoid"),
        (F.hardswish, "Hardswish"),
        (lambda x: F.silu(x, inplace=True), "SiLU"),
        (F.gelu, "GELU"),
        (lambda x: F.elu(x, 0.7), "ELU"),
        (lambda x: F.leaky_relu(x, 0.2), "LeakyReLU"),
        (nn.PReLU(4), "PReLU"),
        (lambda x: x * torch.sigmoid(x), "SiLU"),
        (lambda x: x * F.relu6(x + 3) / 6, "Hardswish"),
        (lambda x: (x * (1 / 6)) * F.relu6(x + 3.0), "Hardswish"),
        (lambda x: F.relu6(x + 3) * (1 / 6), "Hardsigmoid"),
        (lambda x: torch.clamp(x / 6 + 0.5, 0, 1), "Hardsigmoid"),
        (erf_gelu, "GELU"),
        (tanh_gelu, "GELU"),
        (lambda x: 0.5 * (x * (1 + (x * math.sqrt(0.5)).erf())), "GELU"),
    ],
)
def test_every_form_is_one_module(run: Callable[[Any], Any], expected: str) -> None:
    """Modules, functions, methods and compositions of arithmetic; outputs are those of the original."""
    assert activations(run) == [expected]


def test_the_forms_of_gelu_are_told_apart() -> None:
    """They differ by 5e-4: the composition's own form is taken."""
    for run, form in ((erf_gelu, "none"), (tanh_gelu, "tanh")):
        graph = canonicalize(Code(run), (3, 7, 6))
        (gelu,) = [m for m in graph.modules() if isinstance(m, nn.GELU)]
        assert gelu.approximate == form


def test_what_is_nearly_an_activation_is_left_as_it_is() -> None:
    """x * relu6(x + 2) / 6 is no Hardswish, and a product of two different values is no function of one."""
    assert activations(lambda x: x * F.relu6(x + 2) / 6) == ["ReLU6", "mul"]
    assert activations(lambda x: F.max_pool2d(x, 1) * torch.sigmoid(x)) == ["MaxPool2d", "Sigmoid", "mul"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (F.mish, "no softplus"),
        (torch.erf, "Erf that is no part of a GELU"),
        (nn.PReLU(4, 0.1), ""),
        (lambda x: F.elu(x, -1.0), "alpha -1.0"),
        (lambda x: F.leaky_relu(x, -0.1), "may not be negative"),
        (lambda x: x**4, "to the power 4; only 2 and 3"),
    ],
)
def test_the_rest_is_refused_with_the_reason(run: Callable[[Any], Any], reason: str) -> None:
    """One line that says why; PReLU with one slope a channel is no such case."""
    if not reason:
        assert activations(run) == ["PReLU"]
        return
    with pytest.raises(UserError, match=reason):
        activations(run)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("low, high", [(-math.inf, math.inf), (-2.0, 0.5), (-1.0, 3.0), (-9.0, -4.0), (0.0, 5.0)])
def test_bounds_hold_on_a_grid(kind: type[nn.Module], low: float, high: float) -> None:
    """No value lies outside, and the bounds are no wider than a hundredth of the values' span."""
    module = kind()
    values = module(torch.linspace(max(low, -50.0), min(high, 50.0), 20001)).detach()
    least, most = activation_bounds(module, low, high)
    assert least <= float(values.min()) and float(values.max()) <= most
    if kind is not nn.PReLU and math.isfinite(low):
        span = float(values.max() - values.min()) + 1e-3
        assert least >= float(values.min()) - span / 100 and most <= float(values.max()) + span / 100


class SqueezeExcite(nn.Module):
    """x times a gate of its channels, by linear layers as Hu et al. (CVPR 2018) or 1x1 convolutions as MobileNetV3."""

    def __init__(self, width: int, inner: int, gate: nn.Module, linear: bool) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner) if linear else nn.Conv2d(width, inner, 1)
        self.up = nn.Linear(inner, width) if linear else nn.Conv2d(inner, width, 1)
        self.gate, self.linear = gate, linear

    def forward(self, x: Tensor) -> Tensor:
        s = F.adaptive_avg_pool2d(x, 1)
        s = self.gate(self.up(F.relu(self.down(s.flatten(1) if self.linear else s))))
        return x * (s.view(x.shape[0], -1, 1, 1) if self.linear else s)


class Gated(nn.Module):
    """Blocks with squeeze-and-excite and an activation in the stem that gives no 0 for 0."""

    def __init__(self, linear: bool, act: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), act())
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.gates = nn.ModuleList(SqueezeExcite(8, 4, nn.Sigmoid(), linear) for _ in range(3))
        self.slope, self.head = nn.PReLU(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, gate in zip(self.convs, self.gates, strict=True):
            x = x + gate(F.hardsigmoid(conv(x)))
        return self.head(self.slope(x).mean((2, 3)))  # type: ignore[no-any-return]


def gated(linear: bool) -> Network:
    torch.manual_seed(0)
    module = Gated(linear)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.data *= 3
            part.bias.data += 1  # hidden units of the gates live
    module.stem[1].running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr, operator]
    return to_network(module.eval(), (3, 8, 6), "gated")


def outputs(network: Network, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.module.eval()(x)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("linear", [True, False])
def test_cuts_around_squeeze_and_excite_are_exact(linear: bool) -> None:
    """The stream, its gates' outputs tied to it, and each gate's hidden units: cut equals zeroed, to 1e-5."""
    network, generator = gated(linear), torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, 8, 6, generator=generator)
    groups = {g.name: g for g in find_filters(network)}
    stream = groups["stem.0"]
    assert stream.removable and {"gates.0.up", "gates.2.up", "convs.1"} <= set(stream.producers)
    assert all(groups[f"gates.{i}.down"].removable and groups[f"gates.{i}.down"].size == 4 for i in range(3))
    for group in groups.values():
        if group.removable:
            removal = Removal("filters", group.name, (0, 2))
            cut = apply(network, removal)
            expected = outputs(mask(network, removal), x)
            assert (outputs(cut, x) - expected).abs().max() <= 1e-5 * expected.abs().max(), group.name
            assert (expected - outputs(network, x)).abs().max() > 1e-4 * expected.abs().max(), group.name
    assert apply(network, Removal("filters", "stem.0", (0, 2))).module.get_submodule("slope").weight.shape == (6,)
    for unit in find_layers(network, floor=1):
        if unit.removable:
            removal = Removal("layer", unit.name)
            assert torch.equal(outputs(apply(network, removal, 1), x), outputs(mask(network, removal, 1), x))
    assert sum(u.removable for u in find_layers(network, floor=1)) == 2


def test_unsqueeze_adds_dimensions_behind() -> None:
    """What makes (n, c) gate (n, c, h, w)."""
    assert Unsqueeze(2)(torch.zeros(3, 4)).shape == (3, 4, 1, 1)


def test_a_sigmoid_at_the_end_is_trained_and_judged_as_probabilities() -> None:
    """Loss and answers for several labels are those of the logits in front of it."""
    torch.manual_seed(0)
    logits = nn.Sequential(nn.Conv1d(2, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    ending = to_network(nn.Sequential(logits, nn.Sigmoid()), (2, 9), "ending")
    assert ends_in_probabilities(ending.module) and not ends_in_probabilities(to_network(logits, (2, 9), "n").module)
    x, y = torch.randn(8, 2, 9), torch.randint(0, 2, (8, 3)).float()
    task, z = MultiLabel(), logits(x).detach()
    loss = task.loss(outputs(ending, x), y, x, True)
    assert torch.allclose(loss, task.loss(z, y, x, False), atol=1e-5)
    said = task.answers(outputs(ending, x).numpy(), x.numpy(), True) > 0
    assert ((z > 0).numpy() == said).all()
