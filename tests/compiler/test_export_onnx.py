"""The ONNX file says what the network computes, in the same bytes each time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.errors import MismatchError, UserError
from secateur.models.canonical import to_network
from secateur.models.network import Network, Pad, Slice
from secateur.models.preprocess import Preprocess


def every_operator() -> Network:
    """All of the two-dimensional vocabulary, with asymmetric settings."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 4, (3, 2), (2, 1), (1, 0), bias=False), nn.BatchNorm2d(4), nn.ReLU6()
            )
            self.depthwise = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
            self.pad, self.slice = Pad(((0, 1), (2, 0), (0, 0)), 0.5), Slice(((0, 4, 1), (1, 9, 2), (0, 8, 3)))
            self.pools = nn.Sequential(nn.MaxPool2d(2, 1, 1), nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.ReLU())
            self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = self.depthwise(x) * x + x
            x = self.pools(self.slice(self.pad(x)))
            return torch.softmax(self.last(torch.cat([x, x + x], 1)), 1)

    torch.manual_seed(0)
    module = Net()
    module(torch.randn(16, 3, 16, 12))  # statistics away from 0 and 1
    preprocess = Preprocess((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    return to_network(module, (3, 16, 12), "every", tuple("abcde"), preprocess)


def one_dimension() -> Network:
    parts = [nn.Conv1d(6, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.AvgPool1d(2, 1, 1)]
    return to_network(nn.Sequential(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)), (6, 20), "wave")


def dense() -> Network:
    return to_network(nn.Sequential(nn.Linear(7, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)), (7,), "dense")


def partial_windows() -> Network:
    parts = [nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, 0, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True)]
    return to_network(nn.Sequential(*parts, nn.Flatten(), nn.Linear(4 * 4 * 2, 4)), (3, 16, 9), "partial")


MADE = {
    "partial windows": partial_windows,
    "every operator": every_operator,
    "one dimension": one_dimension,
    "dense": dense,
}


def samples(network: Network) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, *network.input_shape)).astype(np.float32)


@pytest.mark.parametrize("name", MADE)
def test_the_file_computes_what_the_network_computes(tmp_path: Path, name: str) -> None:
    """ONNX Runtime agrees to 1e-5, and so does the network that is imported again, weights and names included."""
    network = MADE[name]()
    path = tmp_path / "net.onnx"
    export_onnx(network, path)
    x = samples(network)
    assert check_onnx(network, path, x) <= 1e-5
    again = load_onnx(path)
    with torch.no_grad():
        assert torch.allclose(again.module(torch.from_numpy(x)), network.module(torch.from_numpy(x)), atol=1e-6)
    assert (again.labels, again.preprocess) == (network.labels, network.preprocess)
    assert set(again.module.state_dict()) == set(network.module.state_dict())


def test_the_batch_is_one_and_the_weights_are_inside(tmp_path: Path) -> None:
    """Opset 18, one input and one output of fixed shape, one file."""
    export_onnx(every_operator(), tmp_path / "net.onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)]
    assert shapes == [[1, 3, 16, 12], [1, 5]] and model.opset_import[0].version == 18
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_two_exports_are_the_same_bytes_and_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No time, path or tool version stands in the file; nothing is printed."""
    for name in ("a", "b"):
        export_onnx(every_operator(), tmp_path / name)
        check_onnx(every_operator(), tmp_path / name, samples(every_operator()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert capfd.readouterr() == ("", "")


def test_a_file_of_other_weights_is_a_mismatch(tmp_path: Path) -> None:
    """One weight changed by a tenth is found; so is NaN."""
    network = one_dimension()
    export_onnx(network, tmp_path / "net.onnx")
    for value in (0.1, float("nan")):
        changed = network.clone()
        with torch.no_grad():
            changed.module.get_parameter("7.bias")[2] += value
        with pytest.raises(MismatchError, match="ONNX differs from the network"):
            check_onnx(changed, tmp_path / "net.onnx", samples(network))


def test_a_file_cut_off_behind_the_network_is_refused(tmp_path: Path) -> None:
    """Labels and scale stand last: without them the file would load, and silently skip the preprocessing."""
    path = tmp_path / "net.onnx"
    network = one_dimension()
    export_onnx(replace(network, labels=tuple("abcd")), path)
    whole = path.read_bytes()
    for n in range(len(whole) - 300, len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(UserError, match=r"net\.onnx: "):
            load_onnx(path)


def test_layers_may_be_called_as_the_files_ends_are(tmp_path: Path) -> None:
    """A linear layer of the name output before the softmax, one of the name input in front."""
    parts = OrderedDict(input=nn.Linear(4, 6), output=nn.Linear(6, 3), last=nn.Softmax(1))
    network, path = to_network(nn.Sequential(parts), (4,), "ends"), tmp_path / "ends.onnx"
    export_onnx(network, path)
    check_onnx(network, path, np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
