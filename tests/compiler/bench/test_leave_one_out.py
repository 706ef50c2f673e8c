"""`bench loso`: folds share nobody, the table's numbers are those of scipy, saved folds are not computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from secateur.compiler.bench import loso
from secateur.compiler.bench.folds import VALIDATION_GROUPS, Recordings, fold_data, load_recordings
from secateur.compiler.budget import Budget
from secateur.errors import UserError
from secateur.targets.target import find

PEOPLE = 5


def _recordings() -> Recordings:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(PEOPLE), 12)
    y = np.tile(np.arange(3), 4 * PEOPLE)
    return Recordings("tiny.py:all", rng.normal(size=(len(y), 2, 16)).astype(np.float32), y, people)


def _fold(person: int, before: float) -> loso.Fold:
    scores = {"before": before, "after_float": before - 1, "after_int8": before - 2}
    return loso.Fold(
        person, 12, scores, scores, 4, (900, None), (800, 700), (6000, 5000), (50.0, None), "qemu-riscv32", "golden",
        192, 0, 0, "emulated",
    )  # fmt: skip


def test_each_person_is_tested_once_and_in_no_other_set_of_that_fold() -> None:
    """Test, validation and recovery have disjoint people and together all of them."""
    recordings = _recordings()
    for person in range(PEOPLE):
        data = fold_data(recordings, person)
        data.check()
        sets = [set(np.unique(s.groups).tolist()) for s in (data.test, data.validation, data.recovery)]
        assert sets[0] == {person}
        assert len(sets[1]) == VALIDATION_GROUPS
        assert set.union(*sets) == set(range(PEOPLE)) and sum(len(s) for s in sets) == PEOPLE


def test_every_third_group_is_a_fold_of_its_own() -> None:
    """Fewer folds than groups: each group is tested once, two groups at least choose, none stands on two sides."""
    tested: list[int] = []
    for fold in range(3):
        data = fold_data(_recordings(), fold, 3)
        sets = [set(np.unique(s.groups).tolist()) for s in (data.test, data.validation, data.recovery)]
        assert len(sets[1]) >= VALIDATION_GROUPS and sum(map(len, sets)) == PEOPLE == len(set.union(*sets))
        tested += sets[0]
    assert sorted(tested) == list(range(PEOPLE))
    with pytest.raises(UserError, match="--folds 2"):
        fold_data(_recordings(), 0, 2)


def test_interval_is_students_over_folds() -> None:
    """Mean plus and minus t(0.95, folds - 1) s / sqrt(folds)."""
    values = [80.0, 90.0, 97.0]
    found = loso.summary([_fold(i, v) for i, v in enumerate(values)])["accuracy"]["after_int8"]
    half = t.ppf(0.95, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert found["mean"] == pytest.approx(87.0)
    assert found["low"] == pytest.approx(87.0 - half) and found["high"] == pytest.approx(87.0 + half)


def test_table_says_unknown_where_a_number_is_missing() -> None:
    """No instruction count is shown as zero, and every fold has its row."""
    text = loso.markdown([_fold(0, 90.0), _fold(1, 92.0)])
    assert text.count("900 to unknown") == 2
    assert "| after int8 | 89.0 (" in text
    assert "384 output values of the 2 images on qemu-riscv32 equal golden, 0 mismatches" in text


def test_saved_folds_are_taken_up_and_other_options_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run computes nothing; another seed computes everything."""
    computed: list[int] = []

    def one(recordings: Recordings, person: int, *rest: object) -> loso.Fold:
        computed.append(person)
        return replace(_fold(person, 90.0), values=100 + person)

    monkeypatch.setattr(loso, "one", one)
    recordings, target = _recordings(), find("esp32c3")
    first = loso.bench(recordings, target, Budget(), tmp_path)
    assert loso.bench(recordings, target, Budget(), tmp_path) == first
    assert computed == list(range(PEOPLE))
    loso.bench(recordings, target, Budget(), tmp_path, seed=1)
    assert computed == 2 * list(range(PEOPLE))


@pytest.mark.parametrize(
    "body,words",
    [
        ("{'x': 1}", "a dict of x, y and groups"),
        ("{'x': np.zeros((4, 2)), 'y': np.zeros(4), 'groups': np.zeros(4)}", "(n, channels, length)"),
        ("{'x': np.zeros((4, 2, 8)), 'y': np.zeros(4), 'groups': np.arange(4) % 3}", "3 groups"),
    ],
)
def test_what_cannot_be_divided_is_one_line(body: str, words: str, tmp_path: Path) -> None:
    """Wrong keys, wrong shapes, too few people: a UserError that says so."""
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef load():\n    return {body}\n")
    with pytest.raises(UserError) as error:
        load_recordings(f"{tmp_path / 'mine.py'}:load")
    assert words in str(error.value) and "\n" not in str(error.value)
