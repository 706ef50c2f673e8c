"""`--data`: what is accepted, how it is split, and one line for everything else."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

from secateur.compiler.frontends.arrays import blocks
from secateur.compiler.frontends.data import load_data, read_labels
from secateur.compiler.frontends.truth import Wanted
from secateur.errors import UserError

SHAPE = (3, 8, 6)
LABELS = ("a", "b", "c", "d")


def arrays(n: int = 120, shape: tuple[int, ...] = SHAPE, **change):
    rng = np.random.default_rng(0)
    table = {
        "x_train": rng.normal(size=(n, *shape)),
        "y_train": np.arange(n) % 4,
        "x_test": rng.normal(size=(n // 2, *shape)),
        "y_test": np.arange(n // 2) % 4,
    } | change
    return {key: value for key, value in table.items() if value is not None}


@pytest.fixture
def load(tmp_path):
    """Write arrays to an npz and load it."""

    def _load(table, shape=SHAPE, labels=LABELS, seed=0):
        np.savez(tmp_path / "d.npz", **table)
        return load_data(str(tmp_path / "d.npz"), shape, labels, seed)

    return _load


def sides(data):
    return [set(s.groups.tolist()) for s in (data.recovery, data.validation, data.test)]


def test_without_groups_blocks_stand_for_them_and_a_note_says_so(load):
    """Training data is for recovery, the test set is halved by blocks, and both facts are noted."""
    data = load(arrays())
    assert (len(data.recovery), len(data.validation), len(data.test)) == (120, 32, 28)
    a, b, c = sides(data)
    assert not (a & b or a & c or b & c)
    assert data.recovery.x.dtype == np.float32
    assert "No groups were given for train and test" in data.notes[0]
    assert "32 of 60 test samples" in data.notes[1]
    for split in (data.validation, data.test):
        assert set(split.y.tolist()) == {0, 1, 2, 3}


def test_blocks_keep_neighbours_together_and_reach_every_class():
    """A file sorted by class: 20 blocks a class, contiguous in it, of nearly equal size."""
    y = np.repeat([0, 1], [100, 7])
    found = blocks(y, first=5)
    assert (np.diff(found) >= 0).all()
    assert len(np.unique(found[:100])) == 20
    assert len(np.unique(found[100:])) == 7
    assert found.min() == 5
    assert not set(found[:100].tolist()) & set(found[100:].tolist())


def test_given_groups_are_kept_whole(load):
    """Test groups are divided between validation and test, no group on two sides; names work as numbers do."""
    people = np.array(["ann", "bob", "eve", "joe"])
    table = arrays(groups=people[np.arange(120) // 80 % 2], groups_test=people[2 + np.arange(60) // 30])
    data = load(table)
    assert sides(data)[0] == {0, 1}
    assert {tuple(s) for s in sides(data)[1:]} == {(2,), (3,)}
    assert "blocks" not in " ".join(data.notes)


def test_the_split_depends_on_the_seed_alone(load):
    """Equal seeds, equal sides."""
    assert sides(load(arrays(), seed=1)) == sides(load(arrays(), seed=1))
    assert sides(load(arrays(), seed=1)) != sides(load(arrays(), seed=2))


def test_one_test_group_takes_validation_from_training(load):
    """Leave one subject out: the subject is the test set, whole; the note warns of what the network has seen."""
    data = load(arrays(groups=np.arange(120) // 24, groups_test=np.full(60, 9)))
    assert sides(data)[2] == {9}
    assert len(sides(data)[1]) == 1
    assert "looks too good" in data.notes[-1]


def test_a_given_validation_set_is_used_as_it_is(load):
    """x_validation and x_val are the same; nothing is taken from the test set."""
    extra = {"x_val": np.ones((8, *SHAPE)), "y_val": np.arange(8) % 4}
    data = load(arrays(**extra))
    assert (len(data.recovery), len(data.validation), len(data.test)) == (120, 8, 60)


def test_seen_data_is_marked(load):
    """`seen` in the file reaches Data."""
    assert load(arrays(seen=np.array(True))).seen
    assert not load(arrays()).seen


def test_channels_last_is_transposed_and_logged(load, caplog):
    """(n, h, w, c) for a (c, h, w) network: values arrive at their places, and a line says so."""
    table = arrays(shape=(8, 6, 3))
    with caplog.at_level(logging.INFO):
        data = load(table)
    assert np.array_equal(data.recovery.x, np.moveaxis(table["x_train"], -1, 1).astype(np.float32))
    assert "8x6x3 are channels last; transposed to 3x8x6" in caplog.text


def test_an_ambiguous_layout_is_left_as_it_is(load):
    """Where both layouts fit, channels first is what the interface says."""
    table = arrays(shape=(6, 6, 6))
    assert np.array_equal(load(table, (6, 6, 6)).recovery.x, table["x_train"].astype(np.float32))


def test_a_missing_single_channel_is_added(load):
    """(n, h, w) for a (1, h, w) network, and time series (n, length, channels) for (channels, length)."""
    assert load(arrays(shape=(8, 6)), (1, 8, 6)).recovery.x.shape == (120, 1, 8, 6)
    assert load(arrays(shape=(50, 6)), (6, 50)).recovery.x.shape == (120, 6, 50)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.astype(np.float64),
        lambda y: np.eye(4)[y],
        lambda y: np.array(LABELS)[y],
        lambda y: np.array(LABELS).astype("S")[y],
        lambda y: y[:, None],
    ],
)
def test_labels_come_in_many_forms(load, form):
    """Whole floats, one-hot rows, names and columns mean the same classes."""
    plain = arrays()
    table = plain | {key: form(plain[key]) for key in ("y_train", "y_test")}
    assert np.array_equal(load(table).recovery.y, plain["y_train"])
    assert len(load(table, labels=()).labels) == 4


NAN = np.zeros((120, *SHAPE))
NAN[17] = np.nan


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x_train": np.zeros((120, 3, 7, 7))}, "train: samples are 3x7x7, the network takes 3x8x6"),
        ({"x_train": np.zeros(120)}, "train: samples are single numbers, the network takes 3x8x6"),
        ({"x_train": np.full((120, *SHAPE), "z")}, "samples are of type <U1; numbers"),
        ({"x_train": NAN}, "recovery sample 17 holds NaN"),
        ({"y_train": np.arange(120) % 5}, r"train labels run from 0 to 4; 4 classes are known \(0 to 3\)"),
        ({"y_test": np.arange(60) - 1}, "test labels run from -1"),
        ({"y_train": np.arange(120) % 3}, r"1 of 4 classes have no recovery sample: 3 \(d\)"),
        ({"y_train": np.arange(119) % 4}, "120 samples and 119 labels"),
        ({"y_train": np.arange(120) / 4}, "label 0.25 is not a whole number"),
        ({"y_train": np.full(120, np.nan)}, "label 0 is NaN"),
        ({"y_train": np.array(["a", "x"])[np.arange(120) % 2]}, "1 labels are not among the network's: x"),
        ({"y_train": np.eye(7)[np.arange(120) % 4]}, "one-hot labels of 7 classes, 4 are known"),
        ({"y_train": np.ones((120, 3), int)}, r"labels are \(120, 3\)"),
        ({"y_test": None}, "misses y_test; it holds x_test, x_train, y_train"),
        ({"subject": np.zeros(120)}, "holds unknown subject"),
        ({"groups_train": np.zeros(7, int)}, r"120 samples and groups \(7,\)"),
        ({"groups_train": np.zeros(120)}, "groups are of type float64"),
        ({"groups_train": np.zeros(120, int), "groups_test": np.ones(60, int)}, "one group each"),
        ({"groups_train": np.zeros(120, int), "groups_test": np.arange(60) % 3}, "group 0 is in recovery"),
        ({"x_test": np.zeros((0, *SHAPE)), "y_test": np.zeros(0, int)}, "test is empty"),
        ({"x_val": np.zeros((4, *SHAPE))}, "y_validation is missing"),
        ({"x_train": np.array([{}])}, "pickles are not opened"),
    ],
)
def test_what_does_not_fit_is_one_line(load, change, message):
    """Every fault names the file, the set and the numbers."""
    with pytest.raises(UserError, match=message) as caught:
        load(arrays(**change))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("d.npz", "/"))


def test_classes_counted_from_1_and_names_in_sorted_order_are_told(load):
    """Where nobody names the classes, what they are taken for is said, or refused."""
    from_1 = {key: arrays()[key] + 1 for key in ("y_train", "y_test")}
    with pytest.raises(UserError, match=r"labels run from 1 to 4; classes are counted from 0.*subtract 1"):
        load(arrays(**from_1), labels=())
    names = {key: np.array(list("wxyz"))[arrays()[key]] for key in ("y_train", "y_test")}
    told = "Class names are taken in sorted order (w is output 0, x is output 1"
    assert any(note.startswith(told) for note in load(arrays(**names), labels=()).notes)
    assert not any(note.startswith(told) for note in load(arrays(**names), labels=tuple("wxyz")).notes)


def test_broken_files_are_one_line(tmp_path):
    """Absent, truncated at every tenth, damaged inside, not an archive, a folder, an unknown kind."""
    path = tmp_path / "d.npz"
    with pytest.raises(UserError, match=r"d\.npz: no such file"):
        load_data(str(path), SHAPE)
    np.savez_compressed(path, **arrays(40))
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(UserError, match=r"d\.npz") as caught:
            load_data(str(path), SHAPE)
        assert "\n" not in str(caught.value)
    damaged = bytearray(whole)
    for place in range(200, len(whole) // 2, 50):
        damaged[place] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(UserError, match="broken"):
        load_data(str(path), SHAPE)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="a single array"):
        load_data(str(path), SHAPE)
    with pytest.raises(UserError, match=r"d\.npy: no such folder; data is a folder of images, WAV or CSV files"):
        load_data(str(tmp_path / "d.npy"), SHAPE)
    (tmp_path / "e.npz").mkdir()
    with pytest.raises(UserError, match=r"e\.npz"):
        load_data(str(tmp_path / "e.npz"), SHAPE)


LOADER = """
from dataclasses import dataclass
import numpy as np
import helper_beside_it
from secateur.models.data import Data, Split

@dataclass
class Mine:
    n: int = 40

def _x(n): return np.ones((n, 3, 8, 6), dtype=np.float32)
def table():
    n = Mine().n
    return {"x_train": _x(n), "y_train": np.arange(n) % 4, "x_test": _x(n), "y_test": np.arange(n) % 4}
def record():
    parts = [Split(_x(8), np.arange(8) % 4, np.full(8, group)) for group in range(3)]
    return Data("mine", *parts, labels=("a", "b", "c", "d"))
def wrong(): return 3
def fails(): return {}["nothing"]
def small():
    parts = [Split(_x(8)[:, :2], np.arange(8) % 4, np.full(8, group)) for group in range(3)]
    return Data("mine", *parts, labels=("a", "b", "c", "d"))
"""


def test_a_loader_gives_data_or_arrays(tmp_path):
    """Both forms work; files beside it can be imported; the path is put back afterwards."""
    import sys

    (tmp_path / "mine.py").write_text(LOADER)
    (tmp_path / "helper_beside_it.py").write_text("")
    before = list(sys.path)
    assert len(load_data(f"{tmp_path}/mine.py:table", SHAPE, LABELS).recovery) == 40
    assert load_data(f"{tmp_path}/mine.py:record", SHAPE, LABELS).name == "mine"
    for function, message in (
        ("wrong", "returned a int; Data or a dict of arrays is expected, or Recordings"),
        ("fails", r"mine.py:fails: line \d+: KeyError: 'nothing'"),
        ("absent", "no function 'absent'"),
        ("small", r"samples are \(2, 8, 6\), the network takes \(3, 8, 6\)"),
    ):
        with pytest.raises(UserError, match=message):
            load_data(f"{tmp_path}/mine.py:{function}", SHAPE, LABELS)
    with pytest.raises(UserError, match=r"none\.py: no such file"):
        load_data(f"{tmp_path}/none.py:load", SHAPE)
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(UserError, match="SyntaxError"):
        load_data(f"{tmp_path}/broken.py:f", SHAPE)
    assert sys.path == before


def test_zoo_data_must_fit_the_network():
    """Shape and number of classes are compared."""
    assert len(load_data("zoo:digits-net", (1, 8, 8)).labels) == 10
    with pytest.raises(UserError, match=r"samples are \(1, 8, 8\), the network takes \(3, 8, 6\)"):
        load_data("zoo:digits", SHAPE)
    with pytest.raises(UserError, match="10 classes, the network has 4"):
        load_data("zoo:digits", (1, 8, 8), LABELS)


def test_label_files(tmp_path):
    """One a line, in order; empty, doubled, binary and missing files are named."""
    path = tmp_path / "labels.txt"
    path.write_text("left arm\nright arm\n\n")
    assert read_labels(path) == ("left arm", "right arm")
    for content, message in (
        (b"", "no labels"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\nb\na\n", "'a' stands on lines 1 and 3"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_labels(path)
    with pytest.raises(UserError, match="No such file"):
        read_labels(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    "change, labels, message",
    [
        (
            {"y_train": np.r_[np.arange(119) % 4, 2**31 - 1]},
            (),
            "labels run to 2147483647, which are 2147483648 classes",
        ),
        ({"y_test": np.r_[np.arange(59) % 4, 2**62]}, (), "for 180 samples; number the classes from 0 on"),
        ({"y_test": np.full(60, 2**64 - 1, np.uint64)}, (), "labels run to 18446744073709551615"),
        ({"seen": np.array([1, 0])}, LABELS, r"seen is int64 \(2,\); a single true or false is expected"),
        ({"groups_train": np.full(120, 2**63 - 1)}, LABELS, "groups run to 9223372036854775807; numbers below"),
        ({"groups_train": np.full(120, 2**64 - 1, np.uint64)}, LABELS, "groups run to 18446744073709551615"),
        (
            {"y_train": np.zeros((0, 3)), "y_test": np.zeros((0, 3))},
            (),
            r"y_train is \(0, 3\): there is no label in it",
        ),
    ],
)
def test_numbers_that_nobody_means_are_one_line(load, change, labels, message):
    """Labels that count to billions, groups at the end of int64, an empty table."""
    with pytest.raises(UserError, match=message) as caught:
        load(arrays(**change), labels=labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["regression", "anomaly", "multi-label"])
@pytest.mark.parametrize("y", [np.array(1), np.ones((60, 2, 2))])
def test_labels_of_a_shape_that_no_task_takes_are_one_line(load, tmp_path, task, y):
    """A single number, a cube."""
    np.savez(tmp_path / "d.npz", **arrays(60, y_train=y, y_test=y))
    with pytest.raises(UserError, match=rf"train: y is {re.escape(str(y.shape))}; {task} takes \(n,\)"):
        load_data(str(tmp_path / "d.npz"), SHAPE, wanted=Wanted(task))


def test_samples_of_training_in_the_test_set_are_told(load, tmp_path):
    """Value for value: in arrays, and in the sets that a function gives; where there are none, nothing is said."""
    assert not [note for note in load(arrays()).notes if "stand in recovery too" in note]
    table = arrays()
    table["x_test"][:7] = table["x_train"][:7]
    (note,) = [note for note in load(table).notes if "stand in recovery too" in note]
    assert sum(int(n) for n in re.findall(r"(\d+) of", note)) == 7
    (tmp_path / "l.py").write_text(GIVEN)
    (note,) = [n for n in load_data(f"{tmp_path / 'l.py'}:f", (6,)).notes if "stand in recovery too" in n]
    assert note.startswith("4 of 4 test samples stand in recovery too, value for value")


GIVEN = """
import numpy as np
from secateur.models.data import Data, Split
def f():
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("f")
    one = lambda rows, first: Split(rows, np.arange(4) % 2, np.arange(first, first + 4))
    return Data("d", one(x[:4], 0), one(x[4:], 4), one(x[:4], 8), ("a", "b"))
"""
