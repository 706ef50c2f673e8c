"""`[image]` in a preprocessing file, and folders of pictures behind it."""

from __future__ import annotations

from pathlib import Path

import data_files as make
import numpy as np
import pytest
from PIL import Image
from small_pictures import LABELS, write_pictures

from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.preprocess_file import preprocess_text, read_preprocess
from secateur.errors import UserError
from secateur.models.front_end.image import ImageChain


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))


def written(folder: Path, text: str) -> Path:
    path = folder / "p.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text,shape,chain",
    [
        ("width = 160\nheight = 120", (3, 64, 48), ImageChain(120, 160, 64, 48)),
        ("width = 160\nheight = 120", (1, 9, 9), ImageChain(120, 160, 9, 9, "rgb", "grey")),
        ("width = 16\nheight = 12\nout-width = 8\nout-height = 4", (), ImageChain(12, 16, 4, 8)),
        (
            'width = 16\nheight = 12\nformat = "rgb565"\norder = "bgr"\ncrop = "none"\nresize = "area"',
            (3, 2, 3), ImageChain(12, 16, 2, 3, "rgb565", "bgr", "none", "area"),
        ),
    ],
)  # fmt: skip
def test_a_table_and_what_it_leaves_to_the_network(tmp_path, text, shape, chain):
    """The chain that it means; and what is written of it, complete, is read back equal without the network."""
    pre = read_preprocess(written(tmp_path, f"[image]\n{text}\n[normalize]\nmean = 3\nstd = 2.5\n"), shape)
    assert pre.front_end == chain
    assert (pre.mean, pre.std) == ((3.0,), (2.5,))
    assert read_preprocess(written(tmp_path, preprocess_text(pre))) == pre


SIZE = "width = 16\nheight = 12\n"


@pytest.mark.parametrize(
    "text,says",
    [
        ("width = 16", "[image]: height is missing"),
        ("width = 16\nheight = 0", "[image]: 0x16 to 8x8; rows and columns are 1 to 4096"),
        (SIZE + 'format = "yuv"', "[image]: format 'yuv'; one of rgb, bgr, grey, rgb565"),
        (SIZE + "crop = 3", "[image]: crop is 3; text is expected"),
        (SIZE + 'crop = "left"', "[image]: crop 'left'; one of centre, none"),
        (SIZE + 'resize = "cubic"', "[image]: resize 'cubic'; one of nearest, bilinear, area"),
        (SIZE + 'order = "rgb565"', "[image]: order 'rgb565'; one of rgb, bgr, grey"),
        (SIZE + "size = 3", "[image]: unknown size; known: width, height, format, crop, resize, order, out-width, "
         "out-height"),
        (SIZE + "out-width = 9", "[image]: the front end gives 3x8x9, the network takes 3x8x8 (channels first); change "
         "out-width, out-height or order"),
        (SIZE + 'order = "grey"', "[image]: the front end gives 1x8x8, the network takes 3x8x8 (channels first); "
         "change out-width, out-height or order"),
        ("width = 4\nheight = 4\nresize = \"area\"", "[image]: area scales down, not 4x4 to 8x8; choose bilinear or "
         "nearest"),
        (SIZE + "[window]\nlength = 3", "[image] is of pictures, [window] of a stream; keep one"),
        (SIZE + '[decisions]\nkind = "reconstruction"', '[decisions]: kind "reconstruction" is for streams, not for '
         "pictures"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(tmp_path, text, says):
    """File, table, key and what is known instead."""
    path = written(tmp_path, f"[image]\n{text}\n")
    with pytest.raises(UserError) as caught:
        read_preprocess(path, (3, 8, 8))
    assert str(caught.value) == f"{path}: {says}"


def test_a_network_of_no_pictures_is_told(tmp_path):
    """The table has no use there."""
    with pytest.raises(UserError, match=r"\[image\]: the network takes 6x128, no picture of 1 or 3 channels"):
        read_preprocess(written(tmp_path, f"[image]\n{SIZE}"), (6, 128))


@pytest.mark.parametrize("order", ["rgb", "bgr", "rgb565", "grey"])
def test_a_folder_is_seen_through_the_camera(tmp_path, order):
    """Samples are the integer definition of frames; frames are validation pictures of different classes."""
    chain = ImageChain(12, 20, 8, 8, order, "rgb")
    root = write_pictures(tmp_path / "pets", (20, 12))
    said: list[str] = []
    data = load_data(str(root), (3, 8, 8), front_end=chain, tell=said.append)
    assert data.labels == LABELS
    assert data.frames is not None and data.frames.shape[1:] == (12, 20, chain.pixel_bytes)
    expected = {}
    for path in sorted(root.rglob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))[..., None] if order == "grey" else np.asarray(image)
        red, green, blue = (pixels[..., i].astype(int) for i in (0, 1, 2)) if order != "grey" else (0, 0, 0)
        if order == "bgr":
            pixels = pixels[..., ::-1]
        if order == "rgb565":
            word = (red >> 3 << 11) | (green >> 2 << 5) | blue >> 3
            pixels = np.stack([word >> 8, word & 255], -1).astype(np.uint8)
        expected[np.moveaxis(chain(pixels[None])[0], -1, 0).astype(np.float32).tobytes()] = path.parent.name
    for split in (data.recovery, data.validation, data.test):
        for x, y in zip(split.x, split.y, strict=True):
            assert expected[x.tobytes()] == LABELS[y]
    first = [expected[x.tobytes()] for x in chain.samples(data.frames)[:3]]
    assert sorted(first) == sorted(LABELS)
    again = load_data(str(root), (3, 8, 8), front_end=chain)
    np.testing.assert_array_equal(again.frames, data.frames)
    assert again.fingerprint() == data.fingerprint()
    assert not any("another size" in line for line in said)


def test_pictures_of_another_size_are_told(tmp_path):
    """They are brought to the camera's frame, not to the network's input."""
    said: list[str] = []
    root = write_pictures(tmp_path / "pets", (9, 9))
    load_data(str(root), (3, 4, 4), front_end=ImageChain(12, 20, 4, 4), tell=said.append)
    told = "18 of 18 files (blue/0.png) are of another size and were cropped and resized to the camera's 20x12."
    assert f"pets: {told}" in said


def test_other_data_and_other_pixels_are_told(tmp_path):
    """Recordings have no frames; pixel values in 0 to 1 would be all black."""
    chain = ImageChain(8, 8, 4, 4)
    root = make.write_words(tmp_path / "words")
    with pytest.raises(UserError, match=r"words: WAV files do not go through a front end of pictures; leave \[image\]"):
        load_data(str(root), (3, 4, 4), front_end=chain)
    x, y = np.random.default_rng(0).random((12, 3, 4, 4), np.float32), np.arange(12) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(UserError, match="with a front end of pictures they are pixels, 0 to 255"):
        load_data(str(tmp_path / "d.npz"), (3, 4, 4), front_end=chain)
    np.savez(tmp_path / "d.npz", x_train=np.rint(255 * x), y_train=y, x_test=np.rint(255 * x), y_test=y)
    data = load_data(str(tmp_path / "d.npz"), (3, 4, 4), front_end=chain)
    assert "only rounded to whole pixel values" in data.notes[-1]
