"""Each reader of a data file, value by value."""

from __future__ import annotations

import io
import struct
import wave

import data_files as make
import numpy as np
import pytest
from PIL import Image

from secateur.compiler.frontends.csv_file import read_csv
from secateur.compiler.frontends.data_options import DataOptions
from secateur.compiler.frontends.image_file import fit, read_image
from secateur.compiler.frontends.recordings import Piece, Unreadable, at_rate, cut, plain_window
from secateur.compiler.frontends.wav_file import read_wav
from secateur.errors import UserError

FULL = np.array([-32768, -1, 0, 1, 32767], np.int16)


def packed24(values: np.ndarray) -> bytes:
    """24-bit little-endian integers."""
    return b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)


@pytest.mark.parametrize(
    "bits,encoding,data,expected",
    [
        (8, 1, bytes([0, 127, 128, 129, 255]), [-32768, -256, 0, 256, 32512]),
        (16, 1, FULL.tobytes(), [-32768, -1, 0, 1, 32767]),
        (
            24,
            1,
            packed24(np.array([-(1 << 23), -1, 0, 128, (1 << 23) - 1])),
            [-32768, -1 / 256, 0, 0.5, 32767.99609375],
        ),
        (32, 1, np.array([-(1 << 31), -65536, 0, 32768], "<i4").tobytes(), [-32768, -1, 0, 0.5]),
        (32, 3, np.array([-1, 0, 0.5, 1], "<f4").tobytes(), [-32768, 0, 16384, 32768]),
        (64, 3, np.array([-1, 0, 0.25], "<f8").tobytes(), [-32768, 0, 8192]),
    ],
)
def test_every_width_comes_on_the_scale_of_16_bits(tmp_path, bits, encoding, data, expected):
    """Integers are shifted with their fraction, floats are times 32768."""
    (tmp_path / "a.wav").write_bytes(make.wav_bytes(data, bits, encoding=encoding, rate=11025))
    samples, rate = read_wav(tmp_path / "a.wav")
    assert (samples.dtype, samples.shape, rate) == (np.float32, (len(expected), 1), 11025.0)
    assert samples[:, 0].tolist() == [np.float32(v) for v in expected]


@pytest.mark.parametrize("width,channels", [(1, 1), (2, 1), (2, 2), (3, 1), (4, 3)])
def test_what_the_standard_library_writes_is_read(tmp_path, width, channels):
    """Files of `wave` hold the frames that `wave` reads back; channels are averaged."""
    raw = np.random.default_rng(width).integers(0, 256, 40 * width * channels).astype(np.uint8).tobytes()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(16000)
        file.writeframes(raw)
    samples, rate = read_wav(tmp_path / "a.wav")
    frames = [raw[i : i + width] for i in range(0, len(raw), width)]
    values = [
        (frame[0] - 128) * 256 if width == 1 else int.from_bytes(frame, "little", signed=True) / 256 ** (width - 2)
        for frame in frames
    ]
    assert rate == 16000
    assert np.array_equal(samples[:, 0], np.array(values).reshape(-1, channels).mean(axis=1).astype(np.float32))


def test_the_file_may_have_other_chunks_and_the_long_format(tmp_path):
    """WAVE_FORMAT_EXTENSIBLE, an odd chunk with its padding, a size that a streaming writer left open."""
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    layout = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 8000, 32000, 4, 16, 22, 16, 3) + guid
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(layout)) + layout
    data = np.array([[1, 3], [-4, 5]], "<i2").tobytes()
    for size in (len(data), 0xFFFFFFFF):
        content = b"RIFF" + struct.pack("<I", 0) + b"WAVE" + chunks + b"data" + struct.pack("<I", size) + data
        (tmp_path / "a.wav").write_bytes(content)
        assert read_wav(tmp_path / "a.wav")[0].tolist() == [[2.0], [0.5]]


def test_every_truncation_of_a_wav_is_noticed(tmp_path):
    """Whatever its length, a cut file is not read as a shorter one."""
    whole = make.wav_bytes(FULL.tobytes())
    for length in range(len(whole)):
        (tmp_path / "a.wav").write_bytes(whole[:length])
        with pytest.raises(Unreadable):
            read_wav(tmp_path / "a.wav")


def gradient() -> np.ndarray:
    """(4, 6, 3): no two pixels are alike."""
    return np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "gif"])
def test_lossless_images_come_as_they_are(tmp_path, kind):
    """(c, h, w), 0 to 255; a GIF's first frame."""
    image = Image.fromarray(gradient())
    options = {"lossless": True} if kind == "webp" else {}
    if kind == "gif":
        options = {"save_all": True, "append_images": [Image.new("RGB", (6, 4))]}
    image.save(tmp_path / f"a.{kind}", **options)
    found, size = read_image(tmp_path / f"a.{kind}", (3, 4, 6))
    assert size == (6, 4) and found.dtype == np.float32
    assert np.array_equal(found, np.moveaxis(gradient(), -1, 0))


def test_a_jpeg_is_turned_as_its_exif_says(tmp_path):
    """Orientation 6: the camera was turned, rows are columns."""
    image = Image.fromarray(np.repeat(gradient()[:, :, :1], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    found, size = read_image(tmp_path / "a.jpg", (1, 6, 4))
    assert size == (4, 6)
    assert np.abs(found[0] - np.rot90(gradient()[:, :, 0].astype(np.float32), -1)).max() <= 2


@pytest.mark.parametrize(
    "mode,colour,grey,rgb",
    [
        ("L", 100, [100], [100, 100, 100]),
        ("1", 1, [255], [255, 255, 255]),
        ("I;16", 40000, [156], [156, 156, 156]),
        ("LA", (0, 0), [255], [255, 255, 255]),
        ("RGBA", (0, 0, 200, 255), [23], [0, 0, 200]),
        ("RGBA", (0, 0, 0, 51), [204], [204, 204, 204]),
        ("RGB", (10, 200, 60), [127], [10, 200, 60]),
    ],
)
def test_every_kind_of_pixel(tmp_path, mode, colour, grey, rgb):
    """16 bits are rounded to 8, what is transparent lies on white, grey is 0.299 R + 0.587 G + 0.114 B."""
    image = Image.fromarray(np.full((2, 2), colour, np.uint16)) if mode == "I;16" else Image.new(mode, (2, 2), colour)
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (1, 2, 2))[0][:, 0, 0].tolist() == grey
    assert read_image(tmp_path / "a.png", (3, 2, 2))[0][:, 0, 0].tolist() == rgb


def test_palettes_are_looked_up_and_may_be_transparent(tmp_path):
    """A palette image is its colours, not its indices."""
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (3, 1, 2))[0][:, 0].tolist() == [[9, 200], [8, 100], [7, 50]]
    image.save(tmp_path / "b.png", transparency=0)
    assert read_image(tmp_path / "b.png", (3, 1, 2))[0][:, 0].tolist() == [[255, 200], [255, 100], [255, 50]]


def test_an_image_is_cropped_in_its_centre_and_resized():
    """The middle columns stay; a uniform part stays uniform; equal sizes are left alone."""
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    assert (fit(wide, 2, 2) == 200).all() and fit(wide, 2, 2).shape == (2, 2, 3)
    tall = np.swapaxes(wide, 0, 1)
    assert (fit(tall, 8, 8) == 200).all()
    assert fit(wide, 4, 12) is wide
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None] * 20, 8, axis=1)
    assert fit(ramp, 4, 4)[:, 0, 0].tolist() == sorted(fit(ramp, 4, 4)[:, 0, 0].tolist())


def pieces(tmp_path, text: str, rate_hz: float = 0.0, **options: str) -> list[Piece]:
    """A CSV's stretches."""
    (tmp_path / "a.csv").write_text(text)
    return list(read_csv(tmp_path / "a.csv", "a.csv", DataOptions(**options), "c", "a.csv", rate_hz))


def test_rows_without_a_time_column_are_one_recording(tmp_path):
    """All columns are channels, with or without a header."""
    (plain,) = pieces(tmp_path, "x,y\n1,2\n3,4\n\n5,6\n")
    assert plain.samples.tolist() == [[1, 2], [3, 4], [5, 6]] and plain.rate_hz == 0
    assert (plain.label, plain.group, plain.source, plain.remarks) == ("c", "a.csv", "a.csv", ())
    (bare,) = pieces(tmp_path, "1;2,5;\n3;4;\n", rate_hz=50.0)
    assert bare.samples.tolist() == [[1, 2.5], [3, 4]] and bare.rate_hz == 50
    assert [r.text for r in bare.remarks] == ["{files} have no time column: their samples are taken to be at 50 Hz"]


@pytest.mark.parametrize(
    "text,options,samples,labels",
    [
        ("0.1,0.2,walk\n0.3,0.4,walk\n", {"label_column": "3"}, [[0.1, 0.2], [0.3, 0.4]], ["walk"]),
        ("2024-01-05,0.1\n2024-01-06,0.2\n2024-01-07,0.3\n", {"time_column": "1"}, [[0.1], [0.2], [0.3]], ["c"]),
        ("0.1,left,7\n0.2,right,8\n", {"skip_columns": ("2", "3")}, [[0.1], [0.2]], ["c"]),
        ("x,0,what\n0.1,5,walk\n0.3,6,walk\n", {"label_column": "what"}, [[0.1, 5], [0.3, 6]], ["walk"]),
        ("when,0,1\n2024-01-05,5,6\n2024-01-06,7,8\n", {"time_column": "when"}, [[5, 6], [7, 8]], ["c"]),
        ("x,note,y\n1,good,2\n3,,4\n", {"skip_columns": ("note",)}, [[1, 2], [3, 4]], ["c"]),
    ],
    ids=["a class", "dates", "text left out", "a number in the header", "dates below it", "a column left out"],
)
def test_a_header_is_text_above_numbers_or_a_name_that_is_asked_for(tmp_path, text, options, samples, labels):
    """A first row with a class, a date or a note is a sample; columns that are left out may hold anything."""
    found = pieces(tmp_path, text, **options)
    assert [p.label for p in found] == labels
    assert np.concatenate([p.samples for p in found]).tolist() == np.array(samples, np.float32).tolist()


def test_an_empty_cell_makes_no_header(tmp_path):
    """The row is a sample that lacks a value, and is not lost quietly."""
    with pytest.raises(Unreadable, match="line 1, column '1' is empty"):
        pieces(tmp_path, ",0.2\n0.3,0.4\n")
    with pytest.raises(Unreadable, match="no column 'note'; it has x, y"):
        pieces(tmp_path, "x,y\n1,2\n", skip_columns=("note",))
    with pytest.raises(UserError, match="--skip-columns x: it is the --label-column too"):
        DataOptions(label_column="x", skip_columns=("x",))


@pytest.mark.parametrize(
    "column,stamps,rate_hz,wanted",
    [
        ("time", "0 0.02 0.04 0.06", 50, 0),
        ("time_ms", "0 20 40 60", 50, 0),
        ("t [us]", "0 20000 40000 60000", 50, 0),
        ("stamp", "0 20 40 60", 50, 0),
        ("stamp", "0 20 40 60", 0.05, 0.05),
        ("stamp", "1000000000 1020000000 1040000000 1060000000", 50, 0),
        ("when", "2024-01-05T12:00:00 2024-01-05T12:00:00.020 2024-01-05T12:00:00.040 2024-01-05T12:00:00.060", 50, 0),
    ],
)
def test_the_rate_is_that_of_the_steps_in_the_columns_unit(tmp_path, column, stamps, rate_hz, wanted):
    """The unit is in the name, or follows from the wanted rate or from the steps' size."""
    rows = "".join(f"{stamp},{i}\n" for i, stamp in enumerate(stamps.split()))
    (piece,) = pieces(tmp_path, f"{column},x\n{rows}", wanted, time_column=column)
    assert piece.rate_hz == pytest.approx(rate_hz, rel=1e-6)
    assert piece.samples.tolist() == [[0], [1], [2], [3]]


@pytest.mark.parametrize("text", [",,,\n,,,\n", "\ufeff", "\ufeff\n\n", "\u00a0\n", "\u2028\n", "\v\n\f\n"])
def test_a_file_that_says_nothing_is_empty(tmp_path, text):
    """Delimiters, marks and blanks alone."""
    with pytest.raises(Unreadable, match=r"^empty file$"):
        pieces(tmp_path, text)


@pytest.mark.parametrize("rate_hz", [0.0, 50.0])
@pytest.mark.parametrize("stamps", [("1e308", "-1e308", "1e308"), ("0", "1e-320", "2e-320"), ("0", "1e300", "2e300")])
def test_times_that_no_clock_gives_are_refused(tmp_path, stamps, rate_hz):
    """Their rate is no number."""
    with pytest.raises(Unreadable, match="none that a recording has"):
        pieces(tmp_path, "t,x\n" + "".join(f"{t},1\n" for t in stamps), rate_hz, time_column="t")


def test_gaps_and_jumps_back_cut_and_classes_and_groups_too(tmp_path):
    """No stretch crosses a missing row, a restart, another class or another person."""
    rows = [(0, "a", "p"), (10, "a", "p"), (20, "a", "p"), (40, "a", "p"), (50, "a", "p"), (60, "b", "p"),
            (70, "b", "q"), (80, "b", "q"), (0, "b", "q"), (10, "b", "q"), (20, "", "q")]  # fmt: skip
    text = "t_ms,x,what,who\n" + "".join(f"{t},{i},{what},{who}\n" for i, (t, what, who) in enumerate(rows))
    found = pieces(tmp_path, text, time_column="t_ms", label_column="what", group_column="who")
    values = [(piece.samples[:, 0].tolist(), piece.label, piece.group) for piece in found]
    assert values == [
        ([0, 1, 2], "a", "p"), ([3, 4], "a", "p"), ([5], "b", "p"), ([6, 7], "b", "q"), ([8, 9], "b", "q"),
    ]  # fmt: skip
    assert {piece.rate_hz for piece in found} == {100.0}


def test_uneven_rows_are_interpolated_onto_the_grid(tmp_path):
    """A straight line stays one: its value at each time of the grid is that time."""
    stamps = [0, 10, 24, 30, 40, 51, 60, 74, 80]
    (piece,) = pieces(tmp_path, "t_ms,x\n" + "".join(f"{t},{t}\n" for t in stamps), 100.0, time_column="t_ms")
    assert piece.samples[:, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80]
    assert ["interpolated" in remark.text for remark in piece.remarks] == [True]


def test_a_rate_close_to_the_wanted_one_is_interpolated_onto_it(tmp_path):
    """100.5 Hz for 100 Hz: the grid is the wanted one's, so that nothing is filtered for half a percent."""
    stamps = [i * 1000 / 100.5 for i in range(202)]
    (piece,) = pieces(tmp_path, "t_ms,x\n" + "".join(f"{t},{t}\n" for t in stamps), 100.0, time_column="t_ms")
    assert piece.rate_hz == 100.0
    assert np.allclose(piece.samples[:, 0], 10 * np.arange(201), atol=1e-3)


def test_another_rate_keeps_a_tone_where_it_is():
    """440 Hz at 16000 Hz is 440 Hz at 8000 and at 11025 Hz, but for the ends."""
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000, dtype=np.float64).astype(np.float32)[:, None]
    for rate in (8000, 11025):
        found = at_rate(tone, 16000, rate)
        assert len(found) == rate
        expected = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        assert np.abs(found[100:-100, 0] - expected[100:-100]).max() < 5e-3


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 4), (2, 4, 1), (1, 4, 2), (8,)])
def test_windows_have_the_networks_shape(shape):
    """Row by row is the order of the network's input, channels last; the hop is kept, the rest is left out."""
    samples = np.arange(22, dtype=np.float32).reshape(11, 2)
    assert plain_window("d", Piece(samples, 0, "", "", "f"), shape) == 4
    (found,) = cut(samples, 4, 3, shape)
    assert found.shape == (3, *shape)
    last = np.moveaxis(found, 1, -1)
    assert [window.ravel().tolist() for window in last] == [list(range(6 * i, 6 * i + 8)) for i in range(3)]
    assert list(cut(samples[:3], 4, 3, shape)) == []


@pytest.mark.parametrize("shape", [(3, 4), (1, 49, 10), (2, 3, 3)])
def test_windows_that_no_rows_of_channels_fill_are_refused(shape):
    """Three channels, an image of features: something must make them."""
    with pytest.raises(UserError, match="no window of samples has that shape"):
        plain_window("d", Piece(np.zeros((11, 2), np.float32), 0, "", "", "f"), shape)


def test_an_image_too_large_to_open_is_unreadable(tmp_path, monkeypatch):
    """Pillow's limit against bombs is a line, not a warning."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    stream = io.BytesIO()
    Image.fromarray(gradient()).save(stream, "png")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    with pytest.raises(Unreadable, match="more than 10 pixels"):
        read_image(tmp_path / "a.png", (3, 4, 6))


def test_a_number_too_large_for_float32_is_no_number(tmp_path):
    """It would be infinite in the windows."""
    with pytest.raises(Unreadable, match="line 3, column 'y': 1e39"):
        pieces(tmp_path, "x,y\n1,2\n3,1e39\n")


def test_of_rows_with_one_timestamp_the_first_stays(tmp_path):
    """The grid is even without the others, so nothing is interpolated."""
    stamps = [*range(0, 200, 10)]
    stamps[5] = 40
    rows = "".join(f"{t},{i}\n" for i, t in enumerate(stamps) if i != 6)
    text = rows.replace("40,5\n", "40,99\n50,5\n60,6\n")
    (piece,) = pieces(tmp_path, f"t_ms,x\n{text}", time_column="t_ms")
    assert piece.samples[:, 0].tolist() == list(range(20)) and piece.rate_hz == 100
    assert [remark.n for remark in piece.remarks] == [1]
