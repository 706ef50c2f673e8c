"""Training as int8 computes: it computes so, it gains where int8 loses, and it is kept only then."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Encoder, torch_layer

import secateur
from secateur.compiler import driver, quantization_aware
from secateur.compiler.exported import export
from secateur.compiler.judge import real_output
from secateur.compiler.quantization_aware import FILE, grids, trained, wanted
from secateur.compiler.recovery import RecoveryOptions, recovery_recipe
from secateur.compiler.search import Search
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.fake_quantize import FakeQuantized
from secateur.models.network import Network
from secateur.models.reference import run_reference
from secateur.models.training import Recipe, ends_in_softmax
from secateur.passes.network.recover import Recover
from secateur.targets.target import find


def blobs() -> Data:
    """Two classes of 6 x 6 pictures, a bright corner or not."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 800).astype(np.int64)
    x = rng.normal(size=(800, 1, 6, 6)).astype(np.float32)
    x[:, 0, :3, :3] += 2 * y[:, None, None]
    cuts = (slice(0, 400), slice(400, 600), slice(600, 800))
    return Data("blobs", *(Split(x[c], y[c], np.arange(800)[c] // 10) for c in cuts), labels=("dark", "bright"))


class Net(nn.Module):
    """Two convolutions with norms, a residual one, a pool, a norm of its own and a head."""

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 8, 1)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool, self.norm3, self.flat = nn.AvgPool2d(2), nn.BatchNorm2d(8), nn.Flatten()
        self.mean, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2)
        self.last = nn.Softmax(dim=1) if softmax else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.norm1(self.first(x)))
        y = self.relu2(self.norm2(self.second(x)))
        y = self.norm3(self.pool(self.relu3(self.third(y) + x)))
        out: torch.Tensor = self.last(self.head(self.flat(self.mean(y))))
        return out


@pytest.fixture(scope="module")
def scaled() -> Network:
    """Trained, then one channel in front of the second convolution 200 times as large and its weights as much smaller.

    In float nothing changes. In int8 the other channels of that value have one step in 200 of what they had.
    """
    torch.manual_seed(0)
    chain: list[nn.Module] = []
    for inputs, kernel in ((1, 3), (8, 3), (8, 1)):
        chain += [nn.Conv2d(inputs, 8, kernel, padding=kernel // 2), nn.BatchNorm2d(8), nn.ReLU()]
    module = nn.Sequential(*chain, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    network = to_network(module, (1, 6, 6), "net")
    network = Recover(blobs().recovery, Recipe(steps=150), 0)(network)
    parts = dict(network.module.named_modules())
    with torch.no_grad():
        for norm, reader in (("1", "3"), ("4", "6")):
            parts[norm].weight[0] *= 200
            parts[norm].bias[0] *= 200
            parts[reader].weight[:, 0] /= 200
    return network


def train(network: Network, folder: Path) -> Network:
    """As a compile of 300 steps would."""
    data, options = blobs(), RecoveryOptions(total_steps=300)
    steps = wanted(options, data, 1.0)
    assert steps == 60
    return trained(network, network, data, options, recovery_recipe(network, data, 300, options), steps, folder / FILE)


@pytest.fixture(scope="module")
def gained(scaled: Network, tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    """The network with bad scales after its training, and the folder that keeps it."""
    folder = tmp_path_factory.mktemp("gained")
    return train(scaled, folder), folder


def snr_db(exact: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Signal to noise."""
    return float(10 * np.log10((exact**2).mean() / ((exact - other) ** 2).mean()))


@pytest.mark.parametrize("which,steps,least_db", [("graph", 1, 39), ("scaled", 5, 25)])
def test_it_computes_as_the_int8_program(which: str, steps: int, least_db: float, scaled: Network) -> None:
    """The same answers, so many steps of the output apart at most, and nearer to int8 than float is.

    A tie that goes the other way is one step; of the badly scaled network a step is as much as a channel's values. The
    first one's weights differ by processor, and its decibels with them: 39.9 (float 36.4) on an AMD EPYC, above 40 on a
    Xeon.
    """
    torch.manual_seed(1)
    data = blobs()
    network = scaled
    if which == "graph":
        network = Recover(data.recovery, Recipe(steps=30), 0)(to_network(Net(), (1, 6, 6), "graph"))
    exported = export(network, data)
    module = FakeQuantized(network.clone().module, grids(network, data)).eval()
    x = torch.from_numpy(data.validation.x[:100])
    with torch.no_grad():
        fake, floats = (m(x).double().numpy() for m in (module, network.module))
    pieces = run_reference(exported.program, exported.inputs(data.validation)[:100])
    exact = np.stack([real_output(exported.program, piece) for piece in pieces])
    step = exported.program.tensors[exported.program.outputs[0]].scale
    found = snr_db(exact, fake), snr_db(exact, floats), float(np.abs(fake - exact).max() / step)
    assert (fake.argmax(1) == exact.argmax(1)).mean() >= 0.99
    assert found[2] < steps + 0.1, found
    assert found[0] > max(least_db, found[1] + 3), found


def test_a_transformer_can_be_trained_so() -> None:
    """Outputs lie on their grid and every parameter gets a gradient, though attention and layer norms round nothing."""
    torch.manual_seed(0)
    network = to_network(Encoder(torch_layer()), (6, 24), "encoder")
    x = np.random.default_rng(0).normal(size=(64, 6, 24)).astype(np.float32)
    split = Split(x, np.arange(64, dtype=np.int64) % 5, np.arange(64))
    known = grids(network, Data("noise", split, split, split, labels=tuple("abcde")))
    module = FakeQuantized(network.module, known)
    out = module(torch.from_numpy(x))
    scale, zero = known["head"]
    q = out.detach().double().numpy() / scale + zero
    assert np.abs(q - np.rint(q)).max() < 1e-3 and q.min() >= -128.001 and q.max() <= 127.001
    out[:, 0].square().sum().backward()
    assert all(p.grad is not None for p in network.module.parameters())


def test_gradients_pass_the_rounding_and_norms_keep_their_statistics() -> None:
    """Every parameter gets a gradient in training mode; running statistics stay; a softmax is known as one."""
    torch.manual_seed(0)
    data, network = blobs(), to_network(Net(softmax=True), (1, 6, 6), "graph")
    module = FakeQuantized(network.module, grids(network, data)).train()
    before = {k: v.clone() for k, v in network.module.named_buffers()}
    module(torch.from_numpy(data.recovery.x[:32]))[:, 0].sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.module.get_submodule("first").parameters()
    )
    assert all(p.grad is not None for p in network.module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.module.named_buffers())
    assert ends_in_softmax(module)


def test_int8_gains_where_channels_are_badly_scaled(scaled: Network, gained: tuple[Network, Path]) -> None:
    """Trained so, int8 gets back most of what it lost; a second run reads it."""
    data, (found, folder) = blobs(), gained

    def right(network: Network) -> float:
        exported = export(network, data)
        inputs = exported.inputs(data.validation)
        outputs = [real_output(exported.program, piece) for piece in run_reference(exported.program, inputs)]
        return float((np.stack(outputs).argmax(1) == data.validation.y).mean())

    before, after = right(scaled), right(found)
    assert before < 0.97 and after >= before + 0.02
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization_aware, "QuantizationAware", None)  # what is read needs no training
        assert train(scaled, folder).hash() == found.hash()


def test_when_it_is_wanted() -> None:
    """auto: above half a point where recovery trains at all; on: always; off: never."""
    data = blobs()
    cases = {
        ("auto", "short", 0.5): 0, ("auto", "short", 0.6): 200, ("auto", "none", 9.0): 0, ("on", "none", 0.0): 200,
        ("off", "short", 9.0): 0,
    }  # fmt: skip
    for (how, recovery, lost), steps in cases.items():
        assert wanted(RecoveryOptions(quantization_aware=how, recovery=recovery), data, lost) == steps
    with pytest.raises(UserError, match="one of auto, on, off"):
        RecoveryOptions(quantization_aware="maybe")


@pytest.mark.slow
def test_a_compile_keeps_it_only_where_int8_gains(
    scaled: Network, gained: tuple[Network, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has both numbers and which was kept; a line says so; a training elsewhere gave the same weights."""
    told: list[str] = []
    for keep in (True, False):
        out = tmp_path / str(keep)
        if not keep:
            monkeypatch.setattr(driver, "trained", lambda network, *_: network.clone())
        result = secateur.compile(
            scaled, target="host", data=blobs(), out=out, budget=secateur.Budget(max_drop=50.0),
            search=secateur.SearchOptions(total_steps=300), build=secateur.Build(run="none"), tell=told.append,
        )  # fmt: skip
        trainings = json.loads((out / "report.json").read_text())["details"]["trainings"]
        assert [(t["name"], t["steps"], t["kept"]) for t in trainings] == [
            ("as exported", 0, not keep), ("quantization-aware", 60, keep),
        ]  # fmt: skip
        assert result.compiled.after.validation is not None
        kept = result.compiled.after.validation.int8_percent
        assert next(t["percent"] for t in trainings if t["kept"]) == pytest.approx(kept, abs=1e-3)
    lines = [line for line in told if "quantization-aware steps" in line]
    assert lines[0].endswith("kept") and lines[1].endswith("the network before it stays")
    written, elsewhere = (load_file(folder / FILE) for folder in (tmp_path / "True" / "checkpoints", gained[1]))
    assert all(torch.equal(written[name], elsewhere[name]) for name in elsewhere)


def test_its_energy_is_metered(scaled: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is entered for the search, and again for this training."""
    entered: list[bool] = []

    class Meter(nullcontext[None]):
        def __enter__(self) -> None:
            entered.append(True)

        def __exit__(self, *_: object) -> None:
            entered.append(False)

    def spy(network: Network, *_: object) -> Network:
        assert entered == [True, False, True]
        return network.clone()

    monkeypatch.setattr(driver, "trained", spy)
    data, options = blobs(), RecoveryOptions(total_steps=20)
    asked = secateur.SearchOptions(total_steps=20, quantization_aware="on")
    driver.compile_network(
        scaled, data, find("host"), secateur.Budget(max_drop=50.0), asked, recovery_recipe(scaled, data, 20, options),
        secateur.Build(run="none"), tmp_path, meter=Meter(),
    )  # fmt: skip
    assert entered == [True, False] * 2


@pytest.mark.parametrize("same", [False, True])
def test_the_most_accurate_attempt_goes_the_same_way(
    same: bool, scaled: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the floor is broken, it is trained as int8 computes, as the result is, by the same rule.

    Its steps are counted where it is another network than the result's, whose training is read else.
    """
    begun: list[tuple[str, int]] = []

    def spy(network: Network, *more: object) -> Network:
        *_, steps, file = more
        assert isinstance(file, Path) and isinstance(steps, int)
        begun.append((file.name, steps))
        return network.clone()

    monkeypatch.setattr(driver, "trained", spy)
    if not same:
        monkeypatch.setattr(Search, "best_network", lambda self, state: self.original)
    data, told, target = blobs(), list[str](), find("esp32")
    asked = secateur.SearchOptions(total_steps=10, quantization_aware="on", policy="filters", method="first")
    recipe = recovery_recipe(scaled, data, 10, asked)
    flash = Search(scaled, data, target, secateur.Budget(), asked, recipe).limits.cost(scaled).flash_bytes - 200
    result = driver.compile_network(
        scaled, data, target, secateur.Budget(flash_bytes=flash, min_accuracy=100.0), asked, recipe,
        secateur.Build(run="none"), tmp_path, tell=told.append,
    )  # fmt: skip
    assert result.outcome.exit_code == 4 and [a.name for a in result.attempts] == ["best fitting", "most accurate"]
    assert begun == [(FILE, 2), (f"most-accurate-{FILE}", 2)]
    assert sum("after 2 quantization-aware steps" in line for line in told) == 2
    assert result.state is not None and result.state.aside_steps == (2 if same else 4)


def test_two_attempts_of_one_network_are_trained_once(
    gained: tuple[Network, Path], scaled: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another file beside it holds of the same beginning is read."""
    monkeypatch.setattr(quantization_aware, "QuantizationAware", lambda *_: pytest.fail("trained again"))
    data, options = blobs(), RecoveryOptions(total_steps=300)
    found = trained(
        scaled,
        scaled,
        data,
        options,
        recovery_recipe(scaled, data, 300, options),
        60,
        gained[1] / f"most-accurate-{FILE}",
    )
    assert found.hash() == gained[0].hash()
