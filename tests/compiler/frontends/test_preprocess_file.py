"""`--preprocess FILE`: every key is read, every bad value ends in its one line, what is written reads back equal."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from secateur.compiler.frontends.preprocess_file import FEATURES, preprocess_text, read_preprocess
from secateur.errors import UserError
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.mfcc import Mfcc
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.resample import Resample
from secateur.models.front_end.stage import Features
from secateur.models.preprocess import Preprocess

PAGE = Path(__file__).parents[3] / "docs/front-end.md"
MOTION = "[source]\nrate = 50\nchannels = 6\n[window]\nlength = 128\n"
SOUND = "[source]\nrate = 16000\n[window]\nlength = 49\n"
MEL = {
    "frame-length": 480, "frame-step": 320, "fft-length": 512, "bins": 40, "lower-hz": 20, "upper-hz": 4000,
}  # fmt: skip


def text_of(values: dict[str, object]) -> str:
    """Keys and values as TOML."""
    return "".join(f"{key} = {value!r}\n".replace("True", "true") for key, value in values.items())


def mel(kind: str, **changes: object) -> str:
    """A whole file with log-mel or MFCC features."""
    return SOUND + "[features]\n" + text_of({"kind": kind} | MEL | {k.replace("_", "-"): v for k, v in changes.items()})


def read(text: str, folder: Path) -> Preprocess:
    path = folder / "p.toml"
    path.write_text(text, encoding="utf-8")
    return read_preprocess(path)


MFCC = Mfcc(16000, 480, 320, 512, 40, 20, 4000)
WHOLE: dict[str, tuple[str, Preprocess]] = {
    "nothing": ("", Preprocess()),
    "mean and std": ("[normalize]\nmean = [1, 2.5]\nstd = [3, 4]\n", Preprocess((1, 2.5), (3, 4))),
    "one mean for all": ("[normalize]\nmean = 0.5\nstd = 2\n", Preprocess((0.5,), (2,))),
    "defaults of motion": (MOTION, Preprocess(front_end=FrontEnd(50, 6, 128, 64))),
    "one sample": ("[source]\nrate = 1.5\n[window]\nlength = 1\n", Preprocess(front_end=FrontEnd(1.5, 1, 1, 1))),
    "all of motion": (
        "[source]\nrate = 50\nchannels = 2\ncounts-per-unit = [4096, 16.4]\n"
        '[window]\nlength = 20\nhop = 7\ndetrend = "linear"\n',
        Preprocess(front_end=FrontEnd(50, 2, 20, 7, (4096, 16.4), detrend="linear")),
    ),
    "one count for all": (
        MOTION.replace("channels = 6", "channels = 6\ncounts-per-unit = 1000"),
        Preprocess(front_end=FrontEnd(50, 6, 128, 64, (1000,))),
    ),
    "resampled to a rate": (
        MOTION + "[resample]\nrate = 75\n", Preprocess(front_end=FrontEnd(50, 6, 128, 64, resampler=Resample(3, 2))),
    ),
    "the same rate": (MOTION + "[resample]\nrate = 50.0\n", Preprocess(front_end=FrontEnd(50, 6, 128, 64))),
    "resampled, all keys": (
        MOTION + "[resample]\nup = 2\ndown = 5\nzero-crossings = 4\nattenuation-db = 70\n",
        Preprocess(front_end=FrontEnd(50, 6, 128, 64, resampler=Resample(2, 5, 4, 70))),
    ),
    "MFCC, defaults": (mel("mfcc"), Preprocess(front_end=FrontEnd(16000, 1, 49, 24, features=MFCC))),
    "MFCC, all keys": (
        mel("mfcc", rate_hz=16000, spectrum="power", mel="slaney", log="decibel", window="hamming", pre_emphasis=0.97,
            floor=1e-10, coefficients=13),
        Preprocess(front_end=FrontEnd(16000, 1, 49, 24, features=Mfcc(
            16000, 480, 320, 512, 40, 20, 4000, "power", "slaney", "decibel", "hamming", 0.97, 1e-10, 13))),
    ),
    "log-mel": (
        mel("log-mel", bins=20),
        Preprocess(front_end=FrontEnd(16000, 1, 49, 24, features=LogMel(16000, 480, 320, 512, 20, 20, 4000))),
    ),
    "log-mel of resampled sound": (
        mel("log-mel").replace("16000", "8000").replace("upper", "bins = 20\nupper").replace("bins = 40\n", "")
        + "[resample]\nrate = 16000\n",
        Preprocess(front_end=FrontEnd(8000, 1, 49, 24, resampler=Resample(2, 1),
                                      features=LogMel(16000, 480, 320, 512, 20, 20, 4000))),
    ),
    "micro, defaults": (
        SOUND + '[features]\nkind = "micro"\n', Preprocess(front_end=FrontEnd(16000, 1, 49, 24, features=Micro())),
    ),
    "micro, all keys": (
        SOUND + "[features]\n" + text_of({
            "kind": "micro", "rate-hz": 16000, "window-ms": 32, "step-ms": 20, "channels": 32, "lower-hz": 100,
            "upper-hz": 7000, "smoothing-bits": 11, "even-smoothing": 0.03, "odd-smoothing": 0.05,
            "min-signal-remaining": 0.1, "pcan-strength": 0.9, "pcan-offset": 90, "gain-bits": 20, "log-shift": 5,
            "unit": 0.1,
        }),
        Preprocess(front_end=FrontEnd(16000, 1, 49, 24, features=Micro(
            16000, 32, 20, 32, 100, 7000, 11, 0.03, 0.05, 0.1, 0.9, 90, 20, 5, 0.1))),
    ),
    "decisions, defaults": ("[decisions]\n", Preprocess(decisions=Decisions(keep_percent=99.0))),
    "decisions by steps": (
        '[decisions]\nsmooth = 3\nsteps = 400\nrefractory = 5\nbackground = ["silence", "other"]\nkind = "classes"\n',
        Preprocess(decisions=Decisions(3, 400, 5, ("silence", "other"))),
    ),
    "decisions by a real output": ("[decisions]\nthreshold = 0.7\n", Preprocess(decisions=Decisions(least=0.7))),
    "decisions by what is kept": ("[decisions]\nkeep = 90\n", Preprocess(decisions=Decisions(keep_percent=90.0))),
    "reconstruction": (
        '[decisions]\nkind = "reconstruction"\nsteps = 5000000000\n',
        Preprocess(decisions=Decisions(threshold=5_000_000_000, reconstructs=True)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_every_key_is_read(name: str, tmp_path: Path) -> None:
    """Values, and what stands where a key is left out."""
    text, expected = WHOLE[name]
    assert read(text, tmp_path) == expected


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_written_reads_back_equal(name: str, tmp_path: Path) -> None:
    """A threshold that is still to be found has none to write: it is 0 steps until the network is quantized."""
    made = read(WHOLE[name][0], tmp_path)
    how = made.decisions
    fitted = how if how.least is None and how.keep_percent is None else Decisions(how.smooth, 7, how.refractory)
    made = Preprocess(made.mean, made.std, made.front_end, fitted)
    text = preprocess_text(made)
    assert read(text, tmp_path) == made
    assert preprocess_text(read(text, tmp_path)) == text


def test_class_names_survive_with_quotes_backslashes_and_line_ends(tmp_path: Path) -> None:
    """TOML's escapes."""
    names = ('a "b"', "c\\d", "e\nf", "grün", "\t")
    made = Preprocess(decisions=Decisions(2, 9, 1, names))
    assert read(preprocess_text(made), tmp_path) == made


BAD: dict[str, tuple[str, str]] = {
    "no TOML": ("[source", "not TOML: "),
    "a table that is not known": ("[sauce]\nrate = 1\n", "unknown sauce; tables are source, resample, "),
    "a key for a table": ("source = 3\n", "source is no table; write [source]"),
    "a key of the source": (MOTION.replace("rate", "rat"), "[source]: unknown rat; known: rate, channels, "),
    "no rate": ("[source]\nchannels = 1\n[window]\nlength = 3\n", "[source]: rate is missing"),
    "no source": ("[window]\nlength = 3\n", "[source]: rate is missing"),
    "a rate of zero": (MOTION.replace("50", "0"), "[source]: rate 0 Hz; it must be above 0"),
    "a rate of nan": (MOTION.replace("50", "nan"), "[source]: rate is nan; a finite number is expected"),
    "a rate in words": (MOTION.replace("50", '"fast"'), "[source]: rate is 'fast'; a whole number or a number"),
    "a rate that is true": (MOTION.replace("50", "true"), "[source]: rate is True; a whole number or a number"),
    "half a channel": (MOTION.replace("6", "1.5"), "[source]: channels is 1.5; a whole number is expected"),
    "no channel": (MOTION.replace("6", "0"), "[source]: 0 channels; one at least"),
    "counts in words": (
        MOTION.replace("channels = 6", 'counts-per-unit = "many"'),
        "[source]: counts-per-unit is 'many'; a number, or a list with one a channel, is expected",
    ),
    "counts of too few": (
        MOTION.replace("channels = 6", "channels = 6\ncounts-per-unit = [1, 2]"),
        "counts-per-unit: 2 values for 6 channels",
    ),
    "counts of zero": (
        MOTION.replace("channels = 6", "channels = 6\ncounts-per-unit = 0"), "counts-per-unit: 1 values for 6 channels",
    ),
    "counts of infinity": (
        MOTION.replace("channels = 6", "counts-per-unit = [inf]"), "[source]: counts-per-unit is [inf]; a number, or",
    ),
    "no length": ("[source]\nrate = 50\n[window]\nhop = 3\n", "[window]: length is missing"),
    "a length of zero": (MOTION.replace("128", "0"), "window 0, hop 1: both are at least 1"),
    "a hop of zero": (MOTION + "hop = 0\n", "window 128, hop 0: both are at least 1"),
    "a hop in seconds": (MOTION + "hop = 0.5\n", "[window]: hop is 0.5; a whole number is expected"),
    "another trend": (MOTION + 'detrend = "cubic"\n', "[window]: detrend 'cubic'; one of none, mean, linear"),
    "a key of the window": (MOTION + "step = 3\n", "[window]: unknown step; known: length, hop, detrend"),
    "an empty resampler": (MOTION + "[resample]\n", "[resample] is empty; give its keys, or leave it out"),
    "a rate and a fraction": (MOTION + "[resample]\nrate = 25\nup = 1\n", "[resample]: unknown up; known: rate"),
    "no denominator": (MOTION + "[resample]\nup = 1\n", "[resample]: down is missing"),
    "a fraction to be reduced": (MOTION + "[resample]\nup = 2\ndown = 4\n", "resample 2/4: give a reduced fraction"),
    "a rate far from every fraction": (MOTION + "[resample]\nrate = 50000\n", "no fraction of integers up to 512"),
    "a rate of zero to resample to": (MOTION + "[resample]\nrate = 0\n", "resample 50 Hz to 0 Hz: rates are above 0"),
    "too many crossings": (
        MOTION + "[resample]\nup = 1\ndown = 2\nzero-crossings = 65\n", "resample: zero-crossings 65, ",
    ),
    "too much damping": (
        MOTION + "[resample]\nup = 1\ndown = 2\nattenuation-db = 91\n", "zero-crossings 12, attenuation 91.0",
    ),
    "empty features": (SOUND + "[features]\n", "[features] is empty; give its keys, or leave it out"),
    "features without a kind": (SOUND + "[features]\nbins = 40\n", "[features]: kind is missing"),
    "another kind": (SOUND + '[features]\nkind = "plp"\n', "[features]: kind 'plp'; one of log-mel, mfcc, micro"),
    "a key of another kind": (mel("log-mel", coefficients=10), "[features]: unknown coefficients; known: kind, "),
    "features that lack keys": (
        SOUND + '[features]\nkind = "mfcc"\nframe-length = 480\n',
        "[features]: frame-step, fft-length, bins, lower-hz, upper-hz are missing",
    ),
    "features that lack one key": (mel("mfcc").replace("bins = 40\n", ""), "[features]: bins is missing"),
    "features of six channels": (
        MOTION + '[features]\nkind = "log-mel"\n' + text_of(MEL | {"upper-hz": 25, "bins": 4}),
        "features are made of one channel, the input has 6; choose one",
    ),
    "half a filter": (mel("log-mel", bins=9.5), "[features]: bins is 9.5; a whole number is expected"),
    "another rate": (
        mel("log-mel", rate_hz=8000), "[features]: rate-hz 8000, but samples come at 16000 Hz; leave it out",
    ),
    "an FFT of no power of two": (mel("mfcc", fft_length=500), "FFT length 500 is no power of two from "),
    "a frame that is too long": (mel("mfcc", frame_length=600), "frames of 600 samples for an FFT of 512; 2 to"),
    "a step of zero": (mel("mfcc", frame_step=0), "a frame every 0 samples; choose at least 1"),
    "a step over a frame": (mel("mfcc", frame_step=500), "a frame of 480 samples every 500 leaves samples out"),
    "frequencies above half the rate": (mel("mfcc", upper_hz=9000), "mel filters from 20 to 9000 Hz at 16000"),
    "too many filters": (mel("mfcc", bins=200), "mel filter 2 of 200 lies between two bins of the FFT"),
    "another spectrum": (mel("mfcc", spectrum="energy"), "spectrum 'energy' is unknown; choose magnitude or power"),
    "another scale": (mel("mfcc", mel="bark"), "mel 'bark' is unknown; choose htk or slaney"),
    "another logarithm": (mel("mfcc", log="two"), "log 'two' is unknown; choose natural or decibel"),
    "another window": (mel("mfcc", window="box"), "window 'box' is unknown; choose hann or hamming"),
    "a spectrum that is a number": (mel("mfcc", spectrum=2), "[features]: spectrum is 2; text is expected"),
    "pre-emphasis of one": (mel("mfcc", pre_emphasis=1.0), "pre-emphasis 1; choose 0 (none) up to below 1"),
    "a floor of zero": (mel("mfcc", floor=0.0), "floor 0, whose logarithm does not fit"),
    "too many coefficients": (mel("mfcc", coefficients=41), "MFCC: 41 coefficients of 40 mel filters; choose 1 to 40"),
    "micro at half a hertz": (
        SOUND.replace("16000", "16000.5") + '[features]\nkind = "micro"\n', "the rate must be a whole number",
    ),
    "micro without a band": (
        SOUND + '[features]\nkind = "micro"\nlower-hz = 7600\n', "micro features: 7600 to 7500 Hz is no band",
    ),
    "micro with too many bands": (
        SOUND + '[features]\nkind = "micro"\nchannels = 300\n', "micro features: channels 300; it ranges from 1 to 256",
    ),
    "a mean without std": ("[normalize]\nmean = 1\n", "[normalize] needs mean and std, as many of each"),
    "more means than stds": ("[normalize]\nmean = [1, 2]\nstd = 1\n", "[normalize] needs mean and std, as many"),
    "a std of zero": ("[normalize]\nmean = 1\nstd = 0\n", "[normalize]: every std must be above 0"),
    "a std of nan": ("[normalize]\nmean = 1\nstd = nan\n", "[normalize]: std is nan; a number, or a list"),
    "a key to normalize": ("[normalize]\nscale = 1\n", "[normalize]: unknown scale; known: mean, std"),
    "nothing smoothed": ("[decisions]\nsmooth = 0\n", "[decisions]: smooth is 1 to 1000 windows, refractory"),
    "too long a quiet": ("[decisions]\nrefractory = 30001\n", "[decisions]: smooth is 1 to 1000 windows, refractory 0"),
    "two thresholds": ("[decisions]\nsteps = 3\nkeep = 90\n", "[decisions]: steps and keep do not go together"),
    "steps above what there is": (
        "[decisions]\nsmooth = 2\nsteps = 512\n", "[decisions]: steps 512; 511 at most, which tells nothing"
    ),
    "steps above 63 bits": (
        '[decisions]\nkind = "reconstruction"\nsteps = 9223372036854775808\n',
        "[decisions]: steps 9223372036854775808; 9223372036854775807 at most",
    ),
    "steps below zero": ("[decisions]\nsteps = -1\n", "[decisions]: steps -1; 0 at least, which tells every class"),
    "nothing kept": ("[decisions]\nkeep = 0\n", "[decisions]: keep 0; a percentage above 0, at most 100"),
    "more than all kept": ("[decisions]\nkeep = 101\n", "[decisions]: keep 101; a percentage above 0, at most 100"),
    "a threshold of infinity": ("[decisions]\nthreshold = inf\n", "[decisions]: threshold is inf; a finite number"),
    "one background": ('[decisions]\nbackground = "other"\n', "[decisions]: background is 'other'; list is expected"),
    "a background of numbers": ("[decisions]\nbackground = [1]\n", "[decisions]: background is [1]; a list of class"),
    "another decision": ('[decisions]\nkind = "ranks"\n', "[decisions]: kind 'ranks'; classes or reconstruction"),
    "a key of decisions": ("[decisions]\naverage = 3\n", "[decisions]: unknown average; known: smooth, threshold, "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """The file, the table, the key, what stands there and what is expected."""
    text, message = BAD[name]
    with pytest.raises(UserError) as caught:
        read(text, tmp_path)
    said = str(caught.value)
    assert message in said and said.startswith(f"{tmp_path / 'p.toml'}: ") and "\n" not in said


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a folder, and bytes that are no text."""
    with pytest.raises(UserError, match=r"none\.toml: No such file or directory; --preprocess takes a TOML file"):
        read_preprocess(tmp_path / "none.toml")
    with pytest.raises(UserError, match="Is a directory; --preprocess takes a TOML file"):
        read_preprocess(tmp_path)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"b\.toml: not TOML: "):
        read_preprocess(tmp_path / "b.toml")


def test_the_page_has_every_key_and_its_default() -> None:
    """docs/front-end.md: a row of a table for each key of each kind."""
    page = PAGE.read_text()
    parts = dict(re.findall(r"^### `\[([^]`]+)\]`[^\n]*\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    rows = {name: dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", text, re.MULTILINE)) for name, text in parts.items()}
    known = {"source": "rate channels counts-per-unit", "window": "length hop detrend", "normalize": "mean std",
             "resample": "rate up down zero-crossings attenuation-db",
             "decisions": "kind smooth threshold steps keep refractory background"}  # fmt: skip
    for name, keys in known.items():
        assert set(rows[name]) == set(keys.split()), name
    records: dict[str, type[Features]] = FEATURES
    for kind, record in records.items():
        for field in fields(record):
            key = field.name.replace("_", "-")
            if field.init and key != "rate-hz":
                found = rows["features: micro" if kind == "micro" else "features"][key]
                assert found == shown(field.default), key


def shown(default: object) -> str:
    """As the page writes a default; "-" where a key must be given."""
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"{default:g}" if isinstance(default, (int, float)) else "-"
