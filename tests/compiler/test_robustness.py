"""--robustness: the rows of the report, and who cannot have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import secateur
from secateur.compiler.exported import Exported, export
from secateur.compiler.report.record import Robustness
from secateur.compiler.robustness import NO_GRADIENT, Subject, measure
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.task import Anomaly


def striped() -> Data:
    """Two classes that one pixel tells apart, 0.2 and 0.8, in 90 samples of 1x4x4 and 9 groups."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (90, 1, 4, 4)).astype(np.float32)
    y = np.arange(90) % 2
    x[:, 0, 0, 0] = 0.2 + 0.6 * y
    x[0, 0, 1, :2] = 0, 1
    groups = np.arange(90) // 10
    cuts = (slice(0, 50), slice(50, 70), slice(70, 90))
    sets = [Split(x[c], y[c].astype(np.int64), groups[c].astype(np.int64)) for c in cuts]
    return Data("striped", *sets, labels=("dark", "bright"))


def reader(at: float = 0.5) -> nn.Module:
    """Right by construction: bright from `at` on."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    weight = np.zeros((2, 16), np.float32)
    weight[:, 0] = -1, 1
    net[1].weight.data = net[1].weight.new_tensor(weight)
    net[1].bias.data = net[1].bias.new_tensor([at, -at])
    return net


def exported(at: float, data: Data) -> Exported:
    return export(to_network(reader(at), (1, 4, 4), "striped", data.labels), data)


@pytest.fixture(scope="module")
def found() -> Robustness:
    """Both threshold readers on 16 samples: the second one's border is 5.5/255 from the dark samples."""
    data = striped()
    return measure(exported(0.5, data).subject(), exported(0.2216, data).subject(), data, 16, 0, lambda line: None)


def test_rows_say_what_an_attack_leaves(found):
    """Clean all is right; a border 5.5/255 away holds against 4/255 and breaks for one class at 8/255, int8 alike.

    What was crafted on the input network points the same way here, so it transfers."""
    assert (found.inputs, found.samples, found.of) == ("pictures", 16, 20) and "0 to 1" in found.unit
    rows = {(r.kind, r.name, r.strength): r for r in found.rows}
    clean = rows["clean", "no change", None]
    assert clean.baseline_float.value == clean.result_float.value == clean.baseline_int8.value == 100
    for kind in ("attack", "transfer"):
        for name, strength in (("FGSM", 1.0), ("FGSM", 2.0), ("FGSM", 4.0), ("FGSM", 8.0), ("PGD-10", 8.0)):
            row = rows[kind, name, strength]
            assert row.baseline_float.value == row.baseline_int8.value == 100
            left = 100 if strength < 8 else 50
            assert (row.result_float.value, row.result_int8.value) == (left, left), (kind, name, strength)
            assert row.change_float.value == row.change_int8.value == left - 100
    assert any("float twin" in note for note in found.notes)


def test_corruptions_have_five_severities_and_a_mean(found):
    """The mean is that of the rows, and the last row is the mean of all."""
    corrupted = [r for r in found.rows if r.kind == "corruption"]
    names = list(dict.fromkeys(r.name for r in corrupted))
    assert len(names) == 8 and len(corrupted) == 40
    for name in names:
        values = [r.result_int8.value for r in corrupted if r.name == name]
        mean = next(r for r in found.rows if r.kind == "mean" and r.name == name)
        np.testing.assert_allclose(mean.result_int8.value, np.mean(values))
    last = found.rows[-1]
    assert last.name == "all corruptions"
    np.testing.assert_allclose(last.baseline_float.value, np.mean([r.baseline_float.value for r in corrupted]))


def test_a_file_without_gradients_is_corrupted_only_and_says_so():
    """An int8 program alone has no float columns and no attacks; the line names what can be done."""
    data, told = striped(), []
    twin = exported(0.5, data)
    subject = Subject(None, twin.program, twin.content, twin.inputs)
    found = measure(subject, None, data, 8, 0, told.append)
    assert {row.kind for row in found.rows} == {"clean", "corruption", "mean"}
    assert all(r.baseline_float is None and r.result_int8 == r.baseline_int8 for r in found.rows)
    assert any(NO_GRADIENT in line for line in told) and "FGSM and PGD" in found.notes[0]


def test_what_cannot_be_measured_is_said_before_anything_is_written(tmp_path):
    """Without data, and of anomalies; OUT is not made."""
    out, data = tmp_path / "out", striped()
    options = {
        "target": "esp32", "out": out, "build": secateur.Build(run="none"), "extras": secateur.Extras(robustness=8),
    }  # fmt: skip
    path = tmp_path / "net.tflite"
    path.write_bytes(exported(0.5, data).content)
    with pytest.raises(UserError, match="--robustness: it is measured on test samples; give --data"):
        secateur.compile(path, **options)
    same = nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    normal = replace(data.recovery, y=np.zeros_like(data.recovery.y))
    anomalies = replace(data, recovery=normal, task=Anomaly("auc"), labels=("normal", "anomaly"))
    with pytest.raises(UserError, match=r"--robustness: .* finds anomalies"):
        secateur.compile(same, data=anomalies, input_shape=(1, 4, 4), name="same", **options)
    assert not out.exists()
    with pytest.raises(UserError, match="--robustness-samples -1"):
        secateur.Extras(robustness=-1)
