"""Data as it should not be: what is printed of it. Run as a script, this prints the table of docs/data.md."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import data_files as make

from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.data_options import DataOptions
from secateur.errors import UserError
from secateur.models.front_end.chain import FrontEnd

PLAIN = DataOptions()
TIMED = DataOptions(time_column="time_ms")
WORDS, MOTION, PETS = (1, 100), (3, 16), (3, 8, 8)
WORDS_8K = FrontEnd(rate_hz=8000, channels=1, window=100, hop=50)
MOTION_COUNTS = FrontEnd(rate_hz=50, channels=3, window=16, hop=8, counts_per_unit=(1000,))
READ = ""


@dataclass(frozen=True)
class Case:
    """`spoil` makes data in an empty folder and returns --data. `line`: what is printed; READ: nothing."""

    what: str
    line: str
    spoil: Callable[[Path], Path]
    shape: tuple[int, ...]
    options: DataOptions = PLAIN
    front_end: FrontEnd | None = None
    labels: tuple[str, ...] = ()


def words(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Twelve good WAV files and then a change."""

    def spoil(folder: Path) -> Path:
        root = make.write_words(folder / "words")
        change(root)
        return root

    return spoil


def wav(content: bytes, name: str = "no/5.wav") -> Callable[[Path], Path]:
    """One of the WAV files has another content."""
    return words(lambda root: (root / name).write_bytes(content))


def motion(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Twelve good CSV files and then a change."""

    def spoil(folder: Path) -> Path:
        root = make.write_motion(folder / "motion")
        change(root)
        return root

    return spoil


def table(change: Callable[[list[list[str]]], object], name: str = "walk/5.csv") -> Callable[[Path], Path]:
    """One of the CSV files has other rows; row 0 is the header."""

    def write(root: Path) -> None:
        rows = make.csv_rows(105)
        change(rows)
        (root / name).write_text(make.csv_text(rows))

    return motion(write)


def cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    """One cell has another text."""

    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


def times(change: Callable[[list[int]], object]) -> Callable[[Path], Path]:
    """One of the CSV files has other times, in ms; they are 0, 20, 40, ..."""

    def rewrite(rows: list[list[str]]) -> None:
        stamps = [int(row[0]) for row in rows[1:]]
        change(stamps)
        for row, stamp in zip(rows[1:], stamps, strict=True):
            row[0] = str(stamp)

    return table(rewrite)


def shifted(first: int, by: int) -> Callable[[list[int]], None]:
    """From one row on, time is later (or earlier) by some ms."""

    def change(stamps: list[int]) -> None:
        stamps[first:] = [stamp + by for stamp in stamps[first:]]

    return change


def shuffled(stamps: list[int]) -> None:
    """No order is left."""
    stamps[:] = np.random.default_rng(0).permutation(stamps).tolist()


def uneven(stamps: list[int]) -> None:
    """Up to 9 ms late."""
    stamps[1:] = [stamp + 9 * (i % 2) for i, stamp in enumerate(stamps[1:])]


def pets(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Twelve good images and then a change."""

    def spoil(folder: Path) -> Path:
        root = make.write_pets(folder / "pets")
        change(root)
        return root

    return spoil


def shorten(path: Path) -> None:
    """Cut a file after 100 bytes."""
    path.write_bytes(path.read_bytes()[:100])


def deep_png(root: Path) -> None:
    """A 16-bit grey image."""
    from PIL import Image

    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(root / "dog" / "5.png")


def sets(folder: Path) -> Path:
    """Class folders in the folders train, validation and test, without one file twice."""
    root = folder / "words"
    for number, side in enumerate(("train", "validation", "test")):
        make.write_words(root / side, files=3)
        for path in (root / side).rglob("*.wav"):
            path.write_bytes(make.wav_bytes(make.noise(1000 * (number + 1) + hash_of(path), 400).tobytes()))
    return root


def hash_of(path: Path) -> int:
    """A number of a file's class and name."""
    return 10 * len(path.parent.name) + int(path.stem)


def twins_in_sets(folder: Path) -> Path:
    """A training file lies in the test set as well."""
    root = sets(folder)
    (root / "test" / "no" / "copy.wav").write_bytes((root / "train" / "no" / "1.wav").read_bytes())
    return root


def class_only_in_test(folder: Path) -> Path:
    """A class that nothing is trained on."""
    root = sets(folder)
    make.write_words(root / "test", classes=("maybe",), files=2)
    return root


def one_table(change: Callable[[list[list[str]]], object]) -> Callable[[Path], Path]:
    """One CSV file: six persons, two classes."""

    def spoil(folder: Path) -> Path:
        rows = make.csv_rows(7, rows=240)
        rows[0] += ["who", "what"]
        for i, row in enumerate(rows[1:]):
            row += [f"p{i // 40}", "walk" if i % 40 < 20 else "still"]
        change(rows)
        (folder / "log.csv").write_text(make.csv_text(rows))
        return folder / "log.csv"

    return spoil


def one_person(rows: list[list[str]]) -> None:
    """All rows are of one group."""
    for row in rows[1:]:
        row[4] = "p0"


def bare_rows(rows: list[list[str]]) -> None:
    """Some rows have no class."""
    for row in rows[101:111]:
        row[5] = ""


LOG = DataOptions(group_column="who", label_column="what")
NO = "words: 1 of 12 files could not be read: no/5.wav "
WALK = "motion: 1 of 12 files could not be read: walk/5.csv "
DOG = "pets: 1 of 12 files could not be read: dog/5.png "

CASES = (
    Case("no such folder", "{}/none: no such folder; data is a folder of images, WAV or CSV files, file.csv, file.npz, "
         "file.py:loader or zoo:NAME", lambda f: f / "none", WORDS),
    Case("an empty folder", "words: no image, WAV or CSV file in it", lambda f: mkdir(f / "words"), WORDS),
    Case("an empty class", "words: no WAV file in class folder maybe; add files or remove the folder",
         words(lambda r: mkdir(r / "maybe")), WORDS),
    Case("one class only", "words: one class only, no; two at least are expected",
         lambda f: make.write_words(f / "words", classes=("no",)), WORDS),
    Case("a class that the network does not know", "words: class folder yes is not among the network's 2 labels: "
         "no, maybe; rename or remove, or give --labels", words(lambda r: None), WORDS, labels=("no", "maybe")),
    Case("files beside the class folders",
         "words: 1 of 13 WAV files stand outside of a class folder: loose.wav; give each class a folder with "
         "its files", wav(make.wav_bytes(b"ab"), "loose.wav"), WORDS),
    Case("two kinds of data", "words: 12 WAV, 1 image files; one kind of data in a folder is expected",
         words(lambda r: make.picture(1).save(r / "no" / "cover.png")), WORDS),
    Case("files of other kinds", "words: Not read: 2 other files: 1 .txt, 1 no suffix.",
         words(lambda r: [(r / name).write_text("") for name in ("no/list.txt", "README")]), WORDS),
    Case("hidden files", "words: Not read: 1 other file: 1 hidden.",
         words(lambda r: (r / "no" / ".DS_Store").write_text("")), WORDS),
    Case("a link that leads back", "words: Not read: 1 other file: 1 link to a folder that was read already.",
         words(lambda r: (r / "no" / "up").symlink_to(r)), WORDS),
    Case("a link to nowhere", "words: Not read: 1 other file: 1 link to nowhere.",
         words(lambda r: (r / "no" / "gone.wav").symlink_to(r / "nowhere.wav")), WORDS),
    Case("one file twice", "words: Files with a twin of the same content: 2 (no/0.wav = yes/0.wav); twins are in one "
         "group. Contents that stand in two classes: 1.",
         words(lambda r: (r / "yes" / "0.wav").write_bytes((r / "no" / "0.wav").read_bytes())), WORDS),
    Case("one file in the training and in the test folder",
         "words: Files left out because a set that judges holds the same content: 1 (train/no/1.wav).",
         twins_in_sets, WORDS),
    Case("a class in the test folder only",
         "words: 1 of 3 classes have no recovery sample: 0 (maybe); training would "
         "make the network forget them; add samples, or try another --seed", class_only_in_test, WORDS),
    Case("a class with one file", "words: Class rare has 1 group and is not in the validation and the test set.",
         words(lambda r: make.write_words(r, classes=("rare",), files=1)), WORDS),
    Case("two files in all", "words: 2 groups (no/0.wav, yes/0.wav), three at least are needed, for recovery, "
         "validation and test: give more files or persons", lambda f: make.write_words(f / "words", files=1), WORDS),
    Case("an empty WAV", NO + "(empty file).", wav(b""), WORDS),
    Case("a WAV without samples", NO + "(no samples).", wav(make.wav_bytes(b"")), WORDS),
    Case("a truncated WAV", NO + "(cut after 400 bytes, 844 expected).",
         wav(make.wav_bytes(make.noise(5, 400).tobytes())[:400]), WORDS),
    Case("a WAV cut in its header", NO + "(cut after 20 bytes, in the format).",
         wav(make.wav_bytes(b"ab")[:20]), WORDS),
    Case("text named .wav", NO + "(no WAV file).", wav(b"this is not a recording"), WORDS),
    Case("a compressed WAV", NO + "(encoding 7 (mu-law); write it as PCM).",
         wav(make.wav_bytes(bytes(400), bits=8, encoding=7)), WORDS),
    Case("NaN in a float WAV", NO + "(sample 3 is NaN or infinite).",
         wav(make.wav_bytes(np.array([0, 0, 0, np.nan] * 100, "<f4").tobytes(), bits=32, encoding=3)), WORDS),
    Case("an 8-bit WAV", READ, wav(make.wav_bytes(make.noise(5, 400).astype(np.uint8).tobytes(), bits=8)), WORDS),
    Case("a stereo WAV", READ, wav(make.wav_bytes(make.noise(5, 400, 2).tobytes(), channels=2)), WORDS),
    Case("mixed sample rates", "words: no/0.wav is at 8000 Hz, no/5.wav at 16000 Hz: windows of as many samples "
         "would last differently. Convert the files to one rate, or give a front end with its rate in "
         "--preprocess", wav(make.wav_bytes(make.noise(5, 800).tobytes(), rate=16000)), WORDS),
    Case("mixed sample rates, with a front end", "words: 1 of 12 files (no/5.wav) were resampled from 16000 to 8000 "
         "Hz.", wav(make.wav_bytes(make.noise(5, 800).tobytes(), rate=16000)), WORDS, front_end=WORDS_8K),
    Case("a WAV shorter than a window", "words: 1 of 12 files (no/5.wav) are shorter than one window of 100 samples: "
         "zeros were added at their end.", wav(make.wav_bytes(make.noise(5, 25).tobytes())), WORDS),
    Case("a WAV shorter than a quarter of a window", "words: Recordings that are shorter than a quarter of a window "
         "give none: 1 (no/5.wav).", wav(make.wav_bytes(make.noise(5, 24).tobytes())), WORDS),
    Case("more than half unreadable", "words: 7 of 12 files could not be read (empty file): no/0.wav, no/1.wav, "
         "no/2.wav, no/3.wav, no/4.wav, and 2 more; that is more than half",
         words(lambda r: [path.write_bytes(b"") for path in sorted(r.rglob("*.wav"))[:7]]), WORDS),
    Case("WAV files for a network of features",
         "words: no/0.wav has 1 channel, the network takes 1x49x10: no window of "
         "samples has that shape. If it takes features, say with --preprocess how they are made",
         words(lambda r: None), (1, 49, 10)),
    Case("text in a number column", WALK + "(line 9, column 'y': 'n/a' is not a number).",
         table(cell(8, 2, "n/a")), MOTION, TIMED),
    Case("counts that int16 does not hold", "motion: Values beyond int16 at counts-per-unit 1000 are clipped, as on "
         "the device: 1, in 1 of 12 files (walk/5.csv).", table(cell(8, 2, "99")), MOTION, TIMED,
         front_end=MOTION_COUNTS),
    Case("an empty cell", WALK + "(line 9, column 'y' is empty).", table(cell(8, 2, "")), MOTION, TIMED),
    Case("NaN in a CSV", WALK + "(line 9, column 'y': nan).", table(cell(8, 2, "nan")), MOTION, TIMED),
    Case("a row too short", WALK + "(line 9 has 3 columns, the header 4).", table(lambda r: r[8].pop()), MOTION, TIMED),
    Case("an empty CSV", WALK + "(empty file).", motion(lambda r: (r / "walk/5.csv").write_text("")), MOTION, TIMED),
    Case("a CSV of delimiters alone", WALK + "(empty file).",
         motion(lambda r: (r / "walk/5.csv").write_text(",,,\n,,,\n")), MOTION, TIMED),
    Case("a CSV of an invisible mark alone", WALK + "(empty file).",
         motion(lambda r: (r / "walk/5.csv").write_bytes(b"\xef\xbb\xbf\n")), MOTION, TIMED),
    Case("a header and no rows", WALK + "(a header, and no rows).",
         motion(lambda r: (r / "walk/5.csv").write_text("time_ms,x,y,z\n")), MOTION, TIMED),
    Case("a CSV that is not UTF-8", WALK + "(line 1: byte 8 is not UTF-8; save it as UTF-8).",
         motion(lambda r: (r / "walk/5.csv").write_bytes("time_ms,µ,y,z\n0,1,2,3\n".encode("latin-1"))), MOTION, TIMED),
    Case("a CSV in UTF-16", WALK + "(UTF-16; save it as UTF-8).",
         motion(lambda r: (r / "walk/5.csv").write_bytes("time_ms,x,y,z\n0,1,2,3\n".encode("utf-16"))), MOTION, TIMED),
    Case("semicolons and decimal commas", READ, motion(lambda r: (r / "walk/5.csv").write_text(
         make.csv_text(make.csv_rows(105), ";").replace(".", ","))), MOTION, TIMED),
    Case("a missing column", "motion: 12 of 12 files could not be read (no column 'who'; it has time_ms, x, y, z): "
         "still/0.csv, still/1.csv, still/2.csv, still/3.csv, still/4.csv, and 7 more; that is more than half",
         motion(lambda r: None), MOTION, DataOptions(group_column="who", time_column="time_ms")),
    Case("a time column that is not named", "motion: still/0.csv has 4 channels, the network takes 3x16: no window of "
         "samples has that shape. Name the columns that are no channels: --time-column, --group-column, "
         "--label-column, --skip-columns", motion(lambda r: None), MOTION),
    Case("timestamps without order", WALK + "(timestamps go back at 36 of 64 rows, first in line 4; sort the rows by "
         "time).", times(shuffled), MOTION, TIMED),
    Case("two recordings in one file", "motion: A new recording begins where time goes back: 1, in 1 of 12 files "
         "(walk/5.csv).", times(shifted(32, -640)), MOTION, TIMED),
    Case("some timestamps twice", "motion: Rows that repeat the timestamp before theirs are left out: 2, in 1 of 12 "
         "files (walk/5.csv).", times(lambda t: (t.__setitem__(10, 180), t.__setitem__(30, 580))), MOTION, TIMED),
    Case("many timestamps twice", WALK + "(32 of 64 timestamps repeat the one before; give them finer).",
         times(lambda t: t.__setitem__(slice(None), [40 * (i // 2) for i in range(64)])), MOTION, TIMED),
    Case("time stands still", WALK + "(column 'time_ms': time stands still).",
         times(lambda t: t.__setitem__(slice(None), [5] * 64)), MOTION, TIMED),
    Case("timestamps that are none", WALK + "(column 'time_ms': steps of 1e+300 are none that a recording has).",
         table(lambda r: [row.__setitem__(0, f"{i}e300") for i, row in enumerate(r[1:])]), MOTION, TIMED),
    Case("gaps in time", "motion: Gaps in time cut recordings in two: 1, in 1 of 12 files (walk/5.csv).",
         times(shifted(32, 400)), MOTION, TIMED),
    Case("uneven timestamps", "motion: 1 of 12 files (walk/5.csv) have uneven timestamps: their samples were "
         "interpolated onto an even grid.", times(uneven), MOTION, TIMED),
    Case("a CSV shorter than a window", "motion: Recordings that are shorter than one window give none: 1 "
         "(walk/5.csv).", table(lambda r: r.__delitem__(slice(16, None))), MOTION, TIMED),
    Case("one CSV without a label column", "log.csv: one CSV file; say which of its columns holds the class with "
         "--label-column", one_table(lambda r: None), MOTION),
    Case("one person only", "log.csv: 1 group (p0), three at least are needed, for recovery, validation and test: give "
         "more files or persons", one_table(one_person), MOTION,
         DataOptions(group_column="who", label_column="what", time_column="time_ms")),
    Case("rows without a class", "log.csv: Rows without a label are left out: 10, in 1 of 1 files (log.csv).",
         one_table(bare_rows), MOTION, DataOptions(group_column="who", label_column="what", time_column="time_ms")),
    Case("text in a number column of the one file", "log.csv: line 3, column 'x': 'left' is not a number",
         one_table(cell(2, 1, "left")), MOTION, LOG),
    Case("a truncated PNG", DOG + "(cut after 100 bytes).", pets(lambda r: shorten(r / "dog/5.png")), PETS),
    Case("text named .png", DOG + "(no image that we know).",
         pets(lambda r: (r / "dog/5.png").write_text("a dog")), PETS),
    Case("an empty PNG", DOG + "(empty file).", pets(lambda r: (r / "dog/5.png").write_bytes(b"")), PETS),
    Case("an image of another size", "pets: 1 of 12 files (dog/5.png) are of another size and were cropped and resized "
         "to 8x8.", pets(lambda r: make.picture(105, 20, 12).save(r / "dog/5.png")), PETS),
    Case("a 16-bit PNG", READ, pets(deep_png), PETS),
    Case("images for a network of recordings", "pets: images, but the network takes 3x16, not 1xHxW or 3xHxW",
         pets(lambda r: None), MOTION),
    Case("an option for other data", "--time-column does not go with pets, which is a folder of image files; leave it "
         "out", pets(lambda r: None), PETS, TIMED),
)  # fmt: skip


def mkdir(path: Path) -> Path:
    """A new folder."""
    path.mkdir(parents=True)
    return path


def lines(case: Case, folder: Path) -> list[str]:
    """All that is printed when this data is given, the error last."""
    given, said = case.spoil(folder), []
    try:
        load_data(str(given), case.shape, case.labels, 0, case.options, case.front_end, said.append)
    except UserError as error:
        said.append(str(error))
    return [line.replace(str(folder), "{}") for line in said]


USUAL = ("Each file is a group of its own", "recovery: ", "validation: ", "test: ")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_spoilt_data_is_told(case, tmp_path, monkeypatch):
    """The line stands among what is printed; what can be read prints the sets and nothing else."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    said = lines(case, mkdir(tmp_path / "data"))
    if case.line == READ:
        assert [line for line in said if not line.split(": ", 1)[1].startswith(USUAL)] == []
        assert sum("12" in line or "groups, " in line for line in said) == 3
    else:
        assert case.line in said


def markdown() -> str:
    """The table of docs/data.md."""
    rows = ["| what is wrong | what is printed |", "|---|---|"]
    for case in CASES:
        rows.append(f"| {case.what} | {'nothing: it is read' if case.line == READ else f'`{case.line}`'} |")
    return "\n".join(rows).replace("{}/", "")


def test_the_table_in_the_documentation_is_this_one():
    """docs/data.md holds what `python tests/compiler/frontends/test_spoilt_data.py` prints."""
    assert markdown() in (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.environ["SECATEUR_CACHE"] = place
        for number, one in enumerate(CASES):  # the table tells what is printed now, or nothing
            found = lines(one, mkdir(Path(place) / str(number)))
            assert one.line == READ or one.line in found, (one.what, found)
    sys.stdout.write(markdown() + "\n")
