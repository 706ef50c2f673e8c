"""`bench pruning`: every method at the same training, saved runs taken up only where nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.compiler.bench import pruning, saved
from secateur.compiler.session import Request
from secateur.errors import UserError


def _one(method: str, seed: int, accuracy: float = 90.0) -> pruning.One:
    return pruning.One(method, seed, method != "original", 3, 50.0, accuracy, accuracy, 1000, 200, 300, 4.0)


@pytest.mark.slow
def test_every_method_runs_and_a_second_call_computes_nothing(tmp_path: Path) -> None:
    """Seven rows; ours and its architecture from scratch have one shape; what was saved is read again."""
    request = Request("zoo:digits-net", "esp32", "zoo:digits", "2K", "24K", "300ms", steps=6)
    said: list[str] = []
    rows = {row.method: row.runs[0] for row in pruning.bench(request, 1, 2, tmp_path, said.append)}
    assert list(rows) == list(pruning.LABELS) and len(said) == len(rows)
    assert rows["scratch"].macs == rows["similarity"].macs < rows["original"].macs
    assert rows["similarity"].fits and not rows["original"].fits
    again: list[str] = []
    assert [row.runs[0] for row in pruning.bench(request, 1, 2, tmp_path, again.append)] == list(rows.values())
    assert again == []


def test_a_saved_run_of_other_data_budget_or_code_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is all that a result depends on; the code is part of it."""
    path, key = tmp_path / "a.json", {"data": "x", "budget": {"ram_bytes": None}}
    saved.write(path, key, {"found": 1})
    assert saved.read(path, key) == {"found": 1}
    assert saved.read(path, {**key, "data": "y"}) is None
    monkeypatch.setattr(saved, "code_digest", lambda: "other")
    assert saved.read(path, key) is None


def test_table_means_and_marks_what_does_not_fit() -> None:
    """Mean, lowest and highest seed; no value after the cuts where nothing was cut from."""
    rows = [pruning.Row(m, (_one(m, 0, 80.0), _one(m, 1, 90.0))) for m in ("similarity", "scratch", "original")]
    lines = pruning.markdown(rows, 1000).splitlines()
    assert "| ours (similarity) | 3 | 50.0 | **85.0** (80.0 to 90.0) | 1,000 | 200 | 300 | 4 |" in lines
    assert "| our final architecture, from scratch | 3 |  | **85.0**" in "\n".join(lines)
    assert "the original, trained as long (does not fit)" in lines[-1]


def test_an_int8_model_is_refused(tmp_path: Path) -> None:
    """There is nothing to train in it."""
    request = Request("zoo:digits-net", "esp32", None)
    with pytest.raises(UserError, match="takes a float network and --data"):
        pruning.bench(request, 1, 1, tmp_path, print)


def test_documents_are_json(tmp_path: Path) -> None:
    """`--json` prints every run."""
    assert json.loads(json.dumps(pruning.Row("l1", (_one("l1", 0),)).document()))["runs"][0]["macs"] == 1000
