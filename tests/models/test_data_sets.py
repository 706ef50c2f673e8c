"""Three disjoint sets by group, and what `Data.check` refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.models.data import Data, Split, chunks, leave_one_group_out, sides_by_group, split_by_group

LABELS = ("a", "b", "c")


def _data(groups: int = 10, seed: int = 0) -> Data:
    rng = np.random.default_rng(1)
    n = 12 * groups
    x = rng.normal(size=(n, 2, 5)).astype(np.float32)
    return split_by_group("d", x, rng.integers(0, 3, n), np.repeat(np.arange(groups), 12), LABELS, seed=seed)


def _sides(data: Data) -> list[set[int]]:
    return [set(s.groups.tolist()) for s in (data.recovery, data.validation, data.test)]


@pytest.mark.parametrize("groups", [3, 4, 5, 10, 31])
def test_no_group_stands_on_two_sides(groups):
    """Whole groups go to one side, none is lost, no side is empty."""
    sides = _sides(_data(groups))
    assert sum(map(len, sides)) == groups
    assert set.union(*sides) == set(range(groups))
    assert all(sides)


def test_the_seed_decides_the_split():
    """Equal seeds give equal sides, another seed other ones."""
    assert _sides(_data(seed=3)) == _sides(_data(seed=3))
    assert _sides(_data(seed=3)) != _sides(_data(seed=4))


def test_leaving_one_out_tests_each_group_once():
    """Each group is the test set of one fold, alone, and the folds' sides are disjoint."""
    whole = _data(5)
    x, y, groups = (
        np.concatenate([getattr(s, k) for s in (whole.recovery, whole.validation, whole.test)])
        for k in ("x", "y", "groups")
    )
    folds = list(leave_one_group_out("d", x, y, groups, LABELS))
    assert [_sides(fold)[2] for fold in folds] == [{0}, {1}, {2}, {3}, {4}]
    for fold in folds:
        fold.check()
        assert set.union(*_sides(fold)) == set(range(5))
    with pytest.raises(UserError, match="2 groups; three at least"):
        next(leave_one_group_out("d", x, y, groups % 2, LABELS))


def test_two_groups_are_too_few():
    """Three sets need three groups."""
    with pytest.raises(UserError, match="2 groups; three at least"):
        _data(2)


def _spoilt(**change):
    data = _data()
    return replace(data, validation=replace(data.validation, **change))


@pytest.mark.parametrize(
    "data, message",
    [
        (lambda: replace(_data(), test=_data().recovery), "is in recovery and in test"),
        (lambda: _spoilt(x=np.full_like(_data().validation.x, np.nan)), "validation sample 0 holds NaN"),
        (lambda: _spoilt(y=_data().validation.y + 2), "validation labels run from 2 to 4, 3 classes are known"),
        (lambda: _spoilt(y=_data().validation.y - 1), "validation labels run from -1"),
        (lambda: _spoilt(y=_data().validation.y[1:]), "24 samples, 23 labels and 24 groups"),
        (lambda: _spoilt(x=_data().validation.x[:, :, 1:]), r"validation samples are \(2, 4\), recovery"),
        (lambda: replace(_data(), test=_data().test.subset(np.array([], int))), "the test set is empty"),
    ],
)
def test_check_names_what_is_wrong(data, message):
    """Each fault is one line that names the set and the numbers."""
    with pytest.raises(UserError, match=message) as caught:
        data().check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_on_every_side_where_its_groups_allow(seed):
    """Groups of one class each: three groups reach all sides, two reach recovery and one more, one trains."""
    holders = {0: range(10), 1: range(10, 13), 2: range(13, 15), 3: range(15, 16)}
    y = np.concatenate([np.full(2 * len(held), value) for value, held in holders.items()])
    groups = np.repeat(np.arange(16), 2)
    sides = sides_by_group("d", y, groups, seed)
    assert sorted(np.concatenate(sides).tolist()) == list(range(16))
    on = {value: [int(np.isin(side, held).sum()) for side in sides] for value, held in holders.items()}
    assert all(on[0]) and on[1] == [1, 1, 1] and on[3] == [1, 0, 0]
    assert on[2] in ([1, 0, 1], [1, 1, 0])
    assert all(1 <= len(side) <= 5 for side in sides[1:])


def test_two_groups_a_class_fill_all_three_sets():
    """Each class trains with one group; validation and test take turns with the other."""
    y = np.repeat([0, 1, 2], 2)
    sides = sides_by_group("d", y, np.arange(6), seed=0)
    assert [len(side) for side in sides] == [3, 1, 2]
    assert set(y[sides[0]]) == {0, 1, 2}


def test_a_fingerprint_is_of_the_content_however_it_is_read(monkeypatch):
    """Parts of 64 bytes give the digest of the whole, and the chunks cover each row once."""
    split = Split(np.arange(60, dtype=np.float32).reshape(20, 3), np.zeros(20, np.int64), np.arange(20))
    whole = split.fingerprint()
    monkeypatch.setattr("secateur.models.data.CHUNK_BYTES", 64)
    assert split.fingerprint() == whole
    assert np.concatenate([split.x[part] for part in chunks(split.x)]).tolist() == split.x.tolist()
    assert len(list(chunks(split.x))) == 4
    split.x[17, 1] = np.nan
    with pytest.raises(UserError, match="recovery sample 17 holds NaN"):
        Data("d", split, split, split, LABELS).check()
