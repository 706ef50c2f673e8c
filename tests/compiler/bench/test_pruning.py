"""`bench pruning`: every method at the same training, saved runs taken up only where nothing changed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.compiler.bench import pruning, saved
from secateur.compiler.bench.hand_made import narrowed
from secateur.compiler.bench.pruning_plan import METHODS, OURS, Job, One, Plan, Row, parse_shares
from secateur.compiler.bench.pruning_run import one
from secateur.compiler.bench.pruning_tables import difference, markdown, plot
from secateur.compiler.frontends.load import load_model
from secateur.compiler.session import Request
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.passes.network.channels import find_filters

MINE = """
import numpy as np
from torch import nn

def recordings():
    y = np.tile([0, 1], 60)
    x = np.random.default_rng(0).normal(size=(120, 2, 16)) + 2 * y[:, None, None]
    return {"x": x.astype(np.float32), "y": y, "groups": np.repeat(np.arange(6), 20)}

def sets():
    all, sides = recordings(), {"train": (0, 60), "validation": (60, 80), "test": (80, 120)}
    return {f"{name}_{side}": all[name][a:b] for side, (a, b) in sides.items() for name in all}

def net():
    def block(inputs):
        return nn.Conv1d(inputs, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU()
    parts = (*block(2), *block(8), *block(8), *block(8), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2))
    return nn.Sequential(*parts), {"input_shape": (2, 16)}

def wide_at_first():
    parts = nn.Conv1d(2, 64, 3, padding=1), nn.ReLU(), nn.Conv1d(64, 8, 3, 4, 1), nn.ReLU()
    return nn.Sequential(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)), {"input_shape": (2, 16)}
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A user's file: a small network, recordings of six groups, and the same as three sets."""
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(MINE)
    return str(path)


def _one(method: str, seed: int, accuracy: float = 90.0, fold: int | None = None) -> One:
    cut = None if method in ("scratch", "hand", "original") else 50.0
    costs = (1000, 200, 300, 70_000, 4.0)
    return One(method, fold, seed, None, method != "original", 3, cut, 60.0, accuracy, accuracy, *costs)


@pytest.mark.slow
def test_every_method_runs_and_a_second_call_computes_nothing(mine: str, tmp_path: Path) -> None:
    """A row a method; ours and its architecture from scratch have one shape; what was saved is read again."""
    plan = Plan(Request(f"{mine}:net", "esp32", f"{mine}:sets", steps=3), seeds=1, shares=(60,))
    said: list[str] = []
    rows = {row.method: row.runs[0] for row in pruning.bench(plan, 1, tmp_path, said.append)}
    assert list(rows) == list(METHODS) and len(said) == len(rows)
    assert rows["scratch"].macs == rows["similarity"].macs < rows["original"].macs
    assert rows[OURS].fits and rows["hand"].fits and not rows["original"].fits
    limit = 0.6 * (rows["original"].latency_ms or 0)
    assert all((r.latency_ms or 0) <= limit for r in rows.values() if r.fits)
    again: list[str] = []
    assert [row.runs[0] for row in pruning.bench(plan, 1, tmp_path, again.append)] == list(rows.values())
    assert again == []


@pytest.mark.slow
def test_costs_are_those_with_the_patches_that_hold_the_ram_limit(mine: str, tmp_path: Path) -> None:
    """Fewer bytes than in one piece; the image that is run has the patches too."""
    request = Request(f"{mine}:wide_at_first", "host", f"{mine}:sets", steps=2)

    def original(limit: str | None, out: Path) -> One:
        plan = Plan(replace(request, max_ram=limit), 1, methods=("original",), emulate=limit is not None)
        return pruning.bench(plan, 1, out, lambda line: None)[0].runs[0]

    whole, patched = original(None, tmp_path / "a"), original("900", tmp_path / "b")
    assert patched.ram_bytes <= 900 < whole.ram_bytes
    assert patched.values > 0 and patched.mismatches == 0
    model = next((tmp_path / "b" / "images").rglob("mine.h"))
    assert int(re.findall(r"ARENA_BYTES (\d+)", model.read_text())[0]) <= 900


def test_a_saved_run_of_other_data_budget_or_code_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is all that a result depends on; the code is part of it."""
    path, key = tmp_path / "a.json", {"data": "x", "budget": {"ram_bytes": None}}
    saved.write(path, key, {"found": 1})
    assert saved.read(path, key) == {"found": 1}
    assert saved.read(path, {**key, "data": "y"}) is None
    monkeypatch.setattr(saved, "code_digest", lambda: "other")
    assert saved.read(path, key) is None


def test_table_means_and_marks_what_does_not_fit() -> None:
    """Mean and interval; no value after the cuts where nothing was cut; differences are within a case."""
    rows = [
        Row(m, None, (_one(m, 0, 80.0 + i), _one(m, 1, 90.0 + i))) for i, m in enumerate((OURS, "hand", "original"))
    ]
    text = markdown(rows, 1000)
    assert "| 3 | 50.0 | 60.0 | 85.0 | **85.0 (53.4 to 116.6)** | 1,000 | 200 | 300 | 70,000 predicted |" in text
    assert "the original made narrower, from scratch |  |  | 60.0 | 86.0" in text
    assert "the original, trained as long (fits in 0 of 2)" in text
    assert (
        "- ours less the original made narrower, from scratch: -1.0 (-1.0 to -1.0) points of accuracy, without 0"
        in text
    )


def test_seeds_of_a_fold_count_once() -> None:
    """The interval is over folds: 2 points in one, 0 in the other; two seeds each make it no narrower."""
    ours = {(f, s): _one(OURS, s, 80.0 + 2 * (f == 0), f) for f in (0, 1) for s in (0, 1)}
    other = {(f, s): _one("l1", s, 80.0, f) for f in (0, 1) for s in (0, 1)}
    found = difference(ours, other)
    assert found.value == 1.0 and found.high == pytest.approx(1.0 + 6.313751515 * 2**0.5 / 2**0.5)


SEVERAL = """
import numpy as np
from torch import nn

def sets():
    x = np.random.default_rng(0).normal(size=(90, 2, 16)).astype(np.float32)
    y = (x.mean(2) > 0).astype(np.int64)
    sides = {"train": (0, 40), "validation": (40, 60), "test": (60, 90)}
    return {f"{n}_{side}": v[a:b] for side, (a, b) in sides.items() for n, v in (("x", x), ("y", y))}

def net():
    parts = nn.Conv1d(2, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
    return nn.Sequential(*parts), {"input_shape": (2, 16)}

def wide_at_first():
    parts = nn.Conv1d(2, 64, 3, padding=1), nn.ReLU(), nn.Conv1d(64, 8, 3, 4, 1), nn.ReLU()
    return nn.Sequential(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)), {"input_shape": (2, 16)}
"""


@pytest.mark.slow
def test_the_metric_is_the_data_s_where_none_is_given(tmp_path: Path) -> None:
    """Of several labels it is macro F1, in the saved run, the table and the plot; drawn again it is the same."""
    (tmp_path / "sounds.py").write_text(SEVERAL)
    spec = str(tmp_path / "sounds.py")
    plan = Plan(Request(f"{spec}:net", "esp32", f"{spec}:sets", steps=1), seeds=1, methods=("original",))
    found = one(plan, Job("original", None, 0, None), str(tmp_path))
    assert found.word == "macro F1"
    document = {"plan": {"steps": 1}, "title": plan.title, "rows": [Row("original", None, (found,)).document()]}
    (tmp_path / "pruning.json").write_text(json.dumps(document))
    text = pruning.draw(tmp_path)
    assert "after the cuts, validation macro F1 %" in text and "accuracy" not in text
    drawn = (tmp_path / "pruning.svg").read_bytes()
    assert b"<!-- int8 macro F1 on test groups, % -->" in drawn
    assert b"<!-- sounds.py:net on sounds.py:sets, esp32 -->" in drawn
    assert pruning.draw(tmp_path) == text and (tmp_path / "pruning.svg").read_bytes() == drawn


@pytest.mark.slow
def test_the_plot_is_the_same_bytes_again(tmp_path: Path) -> None:
    """One file, every method of the rows in it by name."""
    rows = [Row(m, s, (_one(m, 0, 80.0), _one(m, 1, 90.0))) for m in (OURS, "l1") for s in (50, 25)]
    for name in ("a.svg", "b.svg"):
        plot(rows, tmp_path / name, "a title")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text() and text.count("<!-- L1 -->") == 1


def test_the_hand_made_network_is_the_widest_that_fits(mine: str) -> None:
    """All groups keep the same share; one part more does not fit; None where nothing does."""
    network = load_model(f"{mine}:net")
    assert isinstance(network, Network)
    parameters = {n: p.numel() for n, p in network.module.named_parameters()}
    half = sum(parameters.values()) // 2

    def size(n: Network) -> int:
        return sum(p.numel() for p in n.module.parameters())

    found = narrowed(network, lambda n: size(n) <= half)
    assert found is not None and 0.8 * half < size(found) <= half
    kept = [b.size / a.size for a, b in zip(find_filters(network), find_filters(found), strict=True) if a.removable]
    assert max(kept) - min(kept) < 0.1
    assert narrowed(network, lambda n: False) is None


@pytest.mark.slow
def test_folds_train_a_network_each_and_are_paired(mine: str, tmp_path: Path) -> None:
    """Recordings of six groups in three folds: each run is tested on its fold's groups, with that fold's network."""
    request = Request(f"{mine}:net", "esp32c3", f"{mine}:recordings", steps=3)
    plan = Plan(request, 1, (70,), 3, 8, (OURS, "scratch", "original"))
    rows = pruning.bench(plan, 1, tmp_path / "out", lambda line: None)
    assert [(r.method, [one.fold for one in r.runs]) for r in rows] == [(m, [0, 1, 2]) for m in plan.methods]
    pairs = [(a.instructions or 0, b.instructions or 0) for a, b in zip(rows[0].runs, rows[2].runs, strict=True)]
    assert all(r.fits for r in rows[0].runs) and all(a < b for a, b in pairs)
    assert len(list((tmp_path / "out" / "networks").glob("*.safetensors"))) == 3


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    """Unknown methods, scratch without ours, shares that are none."""
    request = Request("zoo:digits-net", "esp32", "zoo:digits")
    with pytest.raises(UserError, match="--methods magic"):
        Plan(request, methods=("magic",))
    with pytest.raises(UserError, match="trains what similarity finds"):
        Plan(request, methods=("scratch",))
    with pytest.raises(UserError, match="--shares"):
        Plan(request, shares=(100,))
    with pytest.raises(UserError, match="--shares a half"):
        parse_shares("a half")


def test_an_int8_model_is_refused(tmp_path: Path) -> None:
    """There is nothing to train in it."""
    request = Request("zoo:digits-net", "esp32", None)
    with pytest.raises(UserError, match="takes a float network and --data"):
        pruning.bench(Plan(request, 1), 1, tmp_path, print)


def test_documents_are_json(tmp_path: Path) -> None:
    """`--json` prints every run."""
    assert json.loads(json.dumps(Row("l1", None, (_one("l1", 0),)).document()))["runs"][0]["macs"] == 1000
