"""Folders of data as a whole: classes, groups, sets, what is kept on disk, and what goes through a front end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import data_files as make
import numpy as np
import pytest

from secateur.compiler.frontends import windows_cache
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.data_options import DataOptions
from secateur.compiler.frontends.sets_text import sets_text
from secateur.compiler.frontends.write_sets import _by_number
from secateur.errors import UserError
from secateur.models.cache_folder import cache_folder
from secateur.models.data import Data, Split
from secateur.models.front_end.chain import FrontEnd
from secateur.models.zoo import watch

WORDS = (1, 100)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder where windows are kept."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "windows"


def sides(data):
    """Recovery, validation and test."""
    return data.recovery, data.validation, data.test


def windows(data) -> set[bytes]:
    """Every window of all sets, with its class."""
    return {bytes([y]) + x.tobytes() for split in sides(data) for x, y in zip(split.x, split.y, strict=True)}


def test_a_folder_of_wav_files_gives_each_window_once(tmp_path):
    """400 samples are 7 windows of 100, half a window apart; classes are folder names; files do not cross."""
    root = make.write_words(tmp_path / "words")
    told: list[str] = []
    data = load_data(str(root), WORDS, tell=told.append)
    assert data.labels == ("no", "yes") and data.name == "words"
    expected = set()
    for y in range(2):
        for i in range(6):
            samples = make.noise(100 * y + i, 400).astype(np.float32)
            expected |= {bytes([y]) + samples[k : k + 100].tobytes() for k in range(0, 301, 50)}
    assert windows(data) == expected
    assert [len(split) for split in sides(data)] == [8 * 7, 2 * 7, 2 * 7]
    assert [len(np.unique(split.groups)) for split in sides(data)] == [8, 2, 2]
    assert told[-3:] == [
        "words: recovery:   8 groups, 56 windows: no 28, yes 28",
        "words: validation: 2 groups, 14 windows: no 7, yes 7",
        "words: test:       2 groups, 14 windows: no 7, yes 7",
    ]
    assert told[:-3] == [f"words: {note}" for note in data.notes]


def test_the_order_of_classes_is_the_networks(tmp_path):
    """With labels, a folder's class is where the network has that name."""
    root = make.write_words(tmp_path / "words")
    data = load_data(str(root), WORDS, ("yes", "no"))
    assert data.labels == ("yes", "no")
    assert windows(data) == {
        bytes([1 - w[0]]) + w[1:] for w in windows(load_data(str(root), WORDS))
    }  # fmt: skip


def test_another_hop_gives_other_windows_and_another_window_is_refused(tmp_path):
    """--hop 100: four windows a file; --window must be what the network takes."""
    root = make.write_words(tmp_path / "words")
    assert len(load_data(str(root), WORDS, options=DataOptions(window=100, hop=100)).recovery) == 8 * 4
    with pytest.raises(UserError, match="--window 64: the network takes 100 samples of 1 channels"):
        load_data(str(root), WORDS, options=DataOptions(window=64))


@pytest.mark.parametrize("naming", ["{person}/{i}.wav", "{person}_nohash_{i}.wav"])
def test_a_person_stands_on_one_side(tmp_path, naming):
    """Sub-folders and Speech Commands' speakers are groups, one name being one in all classes."""
    root = tmp_path / "words"
    for y, name in enumerate(("no", "yes")):
        for person in range(5):
            for i in range(2):
                path = root / name / naming.format(person=f"p{person}", i=i)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(make.wav_bytes(make.noise(100 * y + 10 * person + i, 100).tobytes()))
    data = load_data(str(root), WORDS)
    assert [len(np.unique(split.groups)) for split in sides(data)] == [3, 1, 1]
    assert [len(split) for split in sides(data)] == [12, 4, 4]
    assert [np.bincount(split.y).tolist() for split in sides(data)] == [[6, 6], [2, 2], [2, 2]]
    assert data.notes[0].startswith("Groups are the")


HASHED = """
import sys
from secateur.compiler.frontends.data import load_data
print(load_data(sys.argv[1], (1, 100)).fingerprint())
"""


@pytest.mark.slow
def test_the_split_is_the_same_in_every_process(tmp_path, monkeypatch):
    """p1 and p01 count alike, and are two persons in one order; the order of a set is another in every process."""
    root = tmp_path / "words"
    for y, name in enumerate(("no", "yes")):
        for person in range(12):
            path = root / name / f"p{'0' * (person % 2)}{person // 2}" / "0.wav"
            path.parent.mkdir(parents=True)
            path.write_bytes(make.wav_bytes(make.noise(100 * y + person, 100).tobytes()))
    found = set()
    for seed in range(3):
        monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / f"cache{seed}"))
        monkeypatch.setenv("PYTHONHASHSEED", str(seed))
        found.add(subprocess.run([sys.executable, "-c", HASHED, root], capture_output=True, check=True).stdout)
    assert len(found) == 1


def test_folders_that_are_sets_are_respected(tmp_path):
    """train, val and test are the sets; without val, half of the test groups become it."""
    root = tmp_path / "words"
    for number, side in enumerate(("train", "val", "test")):
        for y, name in enumerate(("no", "yes")):
            (root / side / name).mkdir(parents=True)
            for i in range(4):
                content = make.wav_bytes(make.noise(100 * number + 10 * y + i, 100).tobytes())
                (root / side / name / f"{i}.wav").write_bytes(content)
    data = load_data(str(root), WORDS)
    for number, split in enumerate(sides(data)):
        found = {x.tobytes() for x in split.x}
        seeds = (100 * number + 10 * y + i for y in range(2) for i in range(4))
        assert found == {make.noise(seed, 100).astype(np.float32).tobytes() for seed in seeds}
    for path in sorted((root / "val").rglob("*.wav")):
        path.unlink()
    for name in ("no", "yes"):
        (root / "val" / name).rmdir()
    (root / "val").rmdir()
    data = load_data(str(root), WORDS)
    assert [len(split) for split in sides(data)] == [8, 4, 4]
    assert "No validation set was given: half of the groups in test became it." in data.notes


def test_images_become_samples_of_the_networks_shape(tmp_path):
    """Pixels as they are, channels first."""
    root = make.write_pets(tmp_path / "pets")
    data = load_data(str(root), (3, 8, 8))
    expected = {
        bytes([y]) + np.moveaxis(np.asarray(make.picture(100 * y + i), np.float32), -1, 0).tobytes()
        for y in range(2)
        for i in range(6)
    }
    assert windows(data) == expected and data.streams == ()
    with pytest.raises(UserError, match="--hop does not go with pets, which is a folder of image files"):
        load_data(str(root), (3, 8, 8), options=DataOptions(hop=3))


def test_one_csv_may_hold_all_persons_and_classes(tmp_path):
    """Label, group and time columns by name; rows of another person or class are another recording."""
    rows = make.csv_rows(7, rows=240)
    rows[0] += ["who", "what"]
    for i, row in enumerate(rows[1:]):
        row += [f"p{i // 40}", "walk" if i % 40 < 20 else "still"]
    (tmp_path / "log.csv").write_text(make.csv_text(rows))
    options = DataOptions(hop=16, group_column="who", label_column="what", time_column="time_ms")
    data = load_data(str(tmp_path / "log.csv"), (3, 16), ("walk", "still"), options=options)
    values = np.array([[float(v) for v in row[1:4]] for row in rows[1:]], np.float32)
    expected = {bytes([(k // 20) % 2]) + values[k : k + 16].T.tobytes() for k in range(0, 240, 20)}
    assert windows(data) == expected
    assert [len(np.unique(split.groups)) for split in sides(data)] == [4, 1, 1]


def write_watch(root):
    """The shoulder exercises as their owner might have written them down."""
    for number, recording in enumerate(watch.watch_recordings()):
        path = root / watch.LABELS[recording.exercise] / f"{number:03}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["time_ms", "person", *watch.CHANNELS])
            for i, row in enumerate(recording.samples):
                writer.writerow([20 * i, f"p{recording.person}", *map(repr, row.tolist())])
    return root


WATCH = DataOptions(group_column="person", time_column="time_ms")


@pytest.mark.slow
def test_the_watch_recordings_as_csv_are_the_zoos_data(tmp_path, called):
    """The same windows in the same three sets as zoo:watch, and they compile."""
    root = write_watch(tmp_path / "shoulder")
    data, zoo = load_data(str(root), watch.INPUT_SHAPE, watch.LABELS, options=WATCH), watch.watch_data()
    for mine, theirs in zip(sides(data), sides(zoo), strict=True):
        assert len(mine) == len(theirs)
        assert {x.tobytes() for x in mine.x} == {x.tobytes() for x in theirs.x}
        assert np.bincount(mine.y).tolist() == np.bincount(theirs.y).tolist()
    arguments = ["compile", "zoo:watch-resnet", "-t", "esp32", "--data", str(root), "--group-column", "person"]
    arguments += ["--time-column", "time_ms", "--run", "none", "--recovery", "none", "-o", str(tmp_path / "out")]
    code, _, said = called(arguments)
    assert code == 0, said
    assert "shoulder: test:       2 groups, 782 windows: PEN 78, ABD 127, FEL 132," in said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "shoulder" in json.dumps(report)


def test_streams_are_validation_recordings_of_all_classes(tmp_path):
    """At most eight, different classes first, each ten windows long at most, as they went to the windows."""
    root = make.write_words(tmp_path / "words", classes=("a", "b", "c"), files=20, length=2000)
    data = load_data(str(root), WORDS)
    assert len(data.streams) == 8
    assert [stream.label for stream in data.streams] == [0, 1, 2, 0, 1, 2, 0, 1]
    first = {x.tobytes() for x in data.validation.x}
    for stream in data.streams:
        assert stream.samples.shape == (100 + 9 * 50, 1) and stream.rate_hz == 8000
        assert stream.samples[:100, 0].tobytes() in first and stream.group in data.validation.groups
    again = load_data(str(root), WORDS)
    for one, two in zip(data.streams, again.streams, strict=True):
        assert one.source == two.source and np.array_equal(one.samples, two.samples)


def test_a_front_end_makes_the_windows(tmp_path):
    """Rounded to its counts, at its rate; its window and hop are the data's."""
    root = make.write_words(tmp_path / "words")
    front = FrontEnd(rate_hz=8000, channels=1, window=50, hop=25, counts_per_unit=(0.5,))
    data = load_data(str(root), (1, 50), front_end=front)
    expected = set()
    for y in range(2):
        for i in range(6):
            samples = make.noise(100 * y + i, 400)[:, None].astype(np.float32)
            expected |= {bytes([y]) + x.tobytes() for x in front.samples(samples, (1, 50))}
    assert windows(data) == expected and len(data.streams[0].samples) == 50 + 9 * 25
    half = load_data(str(root), (1, 50), front_end=FrontEnd(rate_hz=4000, channels=1, window=50, hop=25))
    assert [len(split) for split in sides(half)] == [8 * 7, 2 * 7, 2 * 7]
    assert half.streams[0].rate_hz == 4000
    assert "12 of 12 files (no/0.wav) were resampled from 8000 to 4000 Hz." in half.notes
    with pytest.raises(UserError, match="--hop 7: the front end has 25"):
        load_data(str(root), (1, 50), options=DataOptions(hop=7), front_end=front)
    with pytest.raises(UserError, match="has 1 channels, the front end takes 3"):
        load_data(str(root), (3, 50), front_end=FrontEnd(rate_hz=8000, channels=3, window=50, hop=25))


def test_windows_are_memory_mapped_and_read_once(tmp_path, cache, monkeypatch):
    """A second run reads no recording; whatever else decides the windows makes another entry."""
    root = make.write_words(tmp_path / "words")
    data = load_data(str(root), WORDS)
    assert all(isinstance(split.x, np.memmap) for split in sides(data))
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr("secateur.compiler.frontends.gather.read_wav", lambda path: pytest.fail(f"{path} was read"))
        again = load_data(str(root), WORDS)
    assert again.fingerprint() == data.fingerprint() and again.notes == data.notes
    load_data(str(root), WORDS, seed=1)
    load_data(str(root), WORDS, options=DataOptions(hop=10))
    load_data(str(root), WORDS, front_end=FrontEnd(8000, 1, 100, 50))
    assert len(list(cache.iterdir())) == 4
    (root / "no" / "0.wav").write_bytes(make.wav_bytes(make.noise(999, 400).tobytes()))
    assert load_data(str(root), WORDS).fingerprint() != data.fingerprint()
    assert len(list(cache.iterdir())) == 5
    load_data(str(root), (1, WORDS[1] // 2))
    assert len(list(cache.iterdir())) == 6
    with monkeypatch.context() as patch:
        patch.setattr("secateur.compiler.frontends.gather._versions", lambda: "another numpy")
        load_data(str(root), WORDS)
    assert len(list(cache.iterdir())) == 7


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "json"])
def test_a_damaged_entry_is_made_again(tmp_path, cache, damage):
    """Whatever happened to the files, the windows are those of the recordings."""
    root = make.write_words(tmp_path / "words")
    whole = load_data(str(root), WORDS).fingerprint()
    (entry,) = cache.iterdir()
    file = entry / ("about.json" if damage == "json" else "recovery_x.npy")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[:-100])
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    assert load_data(str(root), WORDS).fingerprint() == whole
    assert load_data(str(root), WORDS).fingerprint() == whole
    assert [path.name for path in cache.iterdir()] == [entry.name]


def test_a_failed_read_leaves_nothing_behind(tmp_path, cache):
    """The temporary folder is gone after an error."""
    root = make.write_words(tmp_path / "words", files=1)
    with pytest.raises(UserError, match="three at least"):
        load_data(str(root), WORDS)
    assert list(cache.iterdir()) == []


def test_the_cache_folder_is_where_it_is_said_to_be(tmp_path, monkeypatch):
    """SECATEUR_CACHE, else XDG_CACHE_HOME, else the home folder; one that cannot be written is one line."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SECATEUR_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "secateur"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "secateur"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="choose another folder with SECATEUR_CACHE"):
        load_data(str(make.write_words(tmp_path / "words")), WORDS)


def test_files_are_counted_for_whoever_watches(tmp_path):
    """Each file is reported when it was looked at, and when it was read."""
    seen: list[tuple[str, int, int]] = []
    load_data(str(make.write_words(tmp_path / "words")), WORDS, progress=lambda *step: seen.append(step))
    steps = [(what, done, 12) for what in ("looking through files", "reading") for done in range(1, 13)]
    assert seen == steps


def test_the_order_of_files_on_the_disk_does_not_matter(tmp_path, monkeypatch):
    """Names are sorted, so two file systems give the same sets."""
    root = make.write_words(tmp_path / "words")
    one = load_data(str(root), WORDS).fingerprint()
    real = os.scandir
    turned = lambda path: list(real(path))[::-1] if str(path).startswith(str(root)) else real(path)  # noqa: E731
    monkeypatch.setattr(os, "scandir", turned)
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "other"))
    assert load_data(str(root), WORDS).fingerprint() == one


LOADER = """
from dataclasses import replace
from pathlib import Path
import numpy as np
from secateur.models.recordings import Recording

def one(group, label, length=300, bad=False):
    samples = np.random.default_rng(10 * group + label).normal(size=(length, 1)).astype(np.float32)
    if bad: samples[5] = np.nan
    return Recording(samples, 8000.0, label, group, f"person {group}")

def lazily():
    for group in range(5):
        for label in range(2):
            yield one(group, label)

def listed(): return list(lazily())
def nan():
    yield one(0, 0)
    yield one(1, 1, bad=True)
def strange(): return [one(0, 0), 3]
def unknown(): return [one(0, 7)]
def breaks():
    yield one(0, 0)
    raise KeyError("sensor")
def leaves():
    yield one(0, 0)
    raise SystemExit(3)
def given(**change): return [replace(r, **change) for r in lazily()]
def label_none(): return given(label=None)
def label_float(): return given(label=0.0)
def label_text(): return given(label="no")
def group_float(): return given(group=1.5)
def group_empty(): return given(group="")
def rate_nan(): return given(rate_hz=float("nan"))
def rate_text(): return given(rate_hz="fast")
def named(): return [replace(r, group=f"person{r.group}") for r in lazily()]
def many(): return given(label=2**62)
times = Path(__file__).with_name("times")
def fewer():
    again = times.exists()
    times.write_text("")
    return list(lazily())[: 1 if again else None]
"""


def test_a_python_function_may_yield_recordings(tmp_path, cache):
    """One after the other; groups are its own; a list and a generator give the same sets."""
    (tmp_path / "mine.py").write_text(LOADER)
    data = load_data(f"{tmp_path}/mine.py:lazily", WORDS, ("no", "yes"))
    assert [len(np.unique(split.groups)) for split in sides(data)] == [3, 1, 1]
    assert [len(split) for split in sides(data)] == [30, 10, 10]
    assert [stream.source for stream in data.streams] == [f"person {data.validation.groups[0]}"] * 2
    assert windows(load_data(f"{tmp_path}/mine.py:listed", WORDS)) == windows(data)
    assert len(list(cache.iterdir())) == 2
    for function, message in (
        ("nan", r"mine.py:nan: recording 1 \(person 1\): row 5 holds NaN or infinity"),
        ("strange", "mine.py:strange gave a int as number 1; Recording is expected"),
        ("unknown", r"recording 0 \(person 0\): label 7; the network has 2 labels"),
        ("breaks", r"mine.py:breaks: line \d+: KeyError: 'sensor'"),
    ):
        with pytest.raises(UserError, match=message):
            load_data(f"{tmp_path}/mine.py:{function}", WORDS, ("no", "yes"))


@pytest.mark.parametrize(
    "function, message",
    [
        (
            "label_none",
            r"recording 0 \(person 0\): label None is no class number; a whole number from 0 on is expected",
        ),
        ("label_float", "label 0.0 is no class number"),
        ("label_text", "label 'no' is no class number"),
        ("group_float", "group 1.5 is neither a whole number nor a name"),
        ("group_empty", "group '' is neither a whole number nor a name"),
        ("rate_nan", "rate nan; Hz are expected"),
        ("rate_text", "rate 'fast'; Hz are expected"),
        ("many", "labels run to 4611686018427387904, which are 4611686018427387905 classes for 10 recordings"),
        ("fewer", "it is read twice, and recording . was there the first time only"),
        ("leaves", r"mine.py:leaves: line \d+: SystemExit: 3"),
        ("exits", r"later.py:exits: line 1: SystemExit: bye"),
    ],
)
def test_a_function_that_gives_something_else_is_one_line(tmp_path, function, message):
    """Whatever is wrong in a recording, in their number, or in the way the function ends."""
    (tmp_path / "mine.py").write_text(LOADER)
    (tmp_path / "later.py").write_text("import sys; sys.exit('bye')")
    file = "later.py" if function == "exits" else "mine.py"
    with pytest.raises(UserError, match=message) as caught:
        load_data(f"{tmp_path}/{file}:{function}", WORDS)
    assert "\n" not in str(caught.value)


def test_groups_of_recordings_may_have_names(tmp_path):
    """They stand for what numbers do: the same sets."""
    (tmp_path / "mine.py").write_text(LOADER)
    named, numbered = (load_data(f"{tmp_path}/mine.py:{name}", WORDS) for name in ("named", "lazily"))
    assert [s.fingerprint() for s in sides(named)] == [s.fingerprint() for s in sides(numbered)]


def test_windows_beside_a_front_end_are_told(tmp_path):
    """An npz holds windows: the front end did not make them, and the report says so."""
    x, y = np.ones((40, 1, 100), np.float32), np.arange(40) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = load_data(str(tmp_path / "d.npz"), WORDS, front_end=FrontEnd(8000, 1, 100, 50))
    assert data.notes[-1].startswith("The windows came as they are")
    with pytest.raises(UserError, match=r"--hop does not go with .*d\.npz, which is windows already"):
        load_data(str(tmp_path / "d.npz"), WORDS, options=DataOptions(hop=3))


def test_windows_never_lie_in_memory_all_at_once(tmp_path):
    """64 MB of windows are made and checked with less than a quarter of that beside the mapped files."""
    import tracemalloc

    root = make.write_words(tmp_path / "words", files=20, length=1400)
    options = DataOptions(hop=1)
    load_data(str(make.write_words(tmp_path / "other")), WORDS)  # modules are imported now
    tracemalloc.start()
    data = load_data(str(root), (1, 1000), options=options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    total = sum(split.x.nbytes for split in sides(data))
    assert total == 40 * 401 * 1000 * 4
    assert peak < total / 4, (peak, total)


def test_the_faster_of_two_runs_leaves_the_entry(tmp_path, cache, monkeypatch):
    """Where an entry appears between the look and the rename, it is used, and nothing else is left."""
    root = make.write_words(tmp_path / "words")
    whole = load_data(str(root), WORDS).fingerprint()
    (entry,) = cache.iterdir()
    with monkeypatch.context() as patch:
        loads = iter([None])
        real = windows_cache.load
        patch.setattr(windows_cache, "load", lambda *a, **k: next(loads) if not k else real(*a, **k))

        def gone(path, target):
            raise FileNotFoundError if path == entry else OSError(39, "Directory not empty")

        patch.setattr(type(entry), "rename", gone)
        assert load_data(str(root), WORDS).fingerprint() == whole
    assert list(cache.iterdir()) == [entry]


@pytest.mark.parametrize(
    "y,names,expected",
    [
        (np.arange(14), "abcdefghijklmn", "a 1, b 1, c 1, d 1, e 1, f 1, g 1, h 1, i 1, j 1, k 1, l 1, and 2 more"),
        (np.array([[1, 1], [0, 1], [0, 0]]), "ab", "a 1, b 2"),
        (np.array([[1.5, 1], [0, -2]], np.float32), "ab", "a 0 to 1.5, b -2 to 1"),
        (np.full(3, -1), "ab", "no labels"),
    ],
)
def test_the_line_of_a_set_follows_the_task(y, names, expected):
    """Classes and labels are counted, numbers have a range, and there may be no truth at all."""
    split = Split(np.zeros((len(y), 1), np.float32), y, np.zeros(len(y), np.int64))
    data = Data("d", split, split, split, tuple(names))
    assert sets_text(data, "samples")[2] == f"test:       1 group, {len(y)} samples: {expected}"


def test_twins_are_on_one_side_and_groups_are_counted_as_people_count(tmp_path):
    """Ten copies of one recording, in two classes, never cross; p2 comes before p10."""
    root = make.write_words(tmp_path / "words", files=8)
    for name in ("no", "yes"):
        for i in range(5):
            (root / name / f"copy{i}.wav").write_bytes((root / "no" / "0.wav").read_bytes())
    for seed in range(5):
        data = load_data(str(root), WORDS, seed=seed)
        twin = make.noise(0, 400).astype(np.float32)[:100].tobytes()
        counts = [sum(x.tobytes() == twin for x in split.x) for split in sides(data)]
        assert sorted(counts) == [0, 0, 11]
    assert sorted(["p10", "a", "p2", "p2b"], key=_by_number) == ["a", "p2", "p2b", "p10"]


def test_a_slower_run_never_moves_a_whole_entry(tmp_path, cache):
    """Whoever put it there may be about to read it; a broken one is replaced."""
    root = make.write_words(tmp_path / "words")
    load_data(str(root), WORDS)
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    put_there = entry.stat().st_ino
    for spoilt in (False, True):
        if spoilt:
            (entry / "test_y.npy").write_bytes(b"")
        with windows_cache.writing(WORDS) as writer:
            shutil.copytree(entry, writer.folder, dirs_exist_ok=True)
            windows_cache.keep(writer, entry.name)
        assert (entry.stat().st_ino != put_there) == spoilt
        assert [path for path in cache.iterdir() if path.is_dir()] == [entry]


def test_a_file_that_is_left_out_is_told_whatever_the_cache_holds(tmp_path):
    """A copy of a test file comes into train: the windows stay, what is said of them does not."""
    root = tmp_path / "words"
    for number, side in enumerate(("train", "validation", "test")):
        make.write_words(root / side, files=2)
        for i, path in enumerate(sorted((root / side).rglob("*.wav"))):
            path.write_bytes(make.wav_bytes(make.noise(100 * number + i, 400).tobytes()))
    before = load_data(str(root), WORDS)
    (root / "train" / "no" / "leak.wav").write_bytes((root / "test" / "no" / "0.wav").read_bytes())
    after = load_data(str(root), WORDS)
    assert after.fingerprint() == before.fingerprint()
    assert [note for note in after.notes if "left out" in note and "train/no/leak.wav" in note]
