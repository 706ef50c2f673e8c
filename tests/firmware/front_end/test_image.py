"""Pictures in C against Python."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from c_host import TRAPS, WARNINGS
from front_end_c import FOLDER, SANITIZED, STRICT

from secateur.firmware.front_end.image import image_code
from secateur.firmware.front_end.write import stage_tables
from secateur.models.front_end.image import ImageChain, Pixels

pytestmark = pytest.mark.emulator

Resize = Literal["nearest", "bilinear", "area"]


def _run(chains: list[ImageChain], pictures: list[Pixels], folder: Path, compiler: tuple[str, ...]) -> list[Pixels]:
    """Each chain over its pictures, all in one program; buffers are exactly as large as a picture."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>", '#include "sec_image.h"']
    for i, chain in enumerate(chains):
        tables, initialiser = stage_tables(f"chain{i}", image_code(chain))
        lines += [tables, f"static const sec_image_params params{i} = {initialiser};"]
    lines += ["int main(int argc, char **argv) {", '    FILE *f = argc > 1 ? fopen(argv[1], "rb") : 0;',
              "    if (!f) return 9;"]  # fmt: skip
    results = [np.zeros((len(x), c.out_height, c.out_width, c.channels)) for c, x in zip(chains, pictures, strict=True)]
    for i, (x, y) in enumerate(zip(pictures, results, strict=True)):
        lines += [f"    for (int n = 0; n < {len(x)}; n++) {{",
                  f"        uint8_t *in = malloc({x[0].size}), *out = malloc({y[0].size});",
                  f"        if (fread(in, 1, {x[0].size}, f) != {x[0].size}) return 8;",
                  f"        sec_image_window(&params{i}, 0, in, out);",
                  f"        fwrite(out, 1, {y[0].size}, stdout);",
                  "        free(in);\n        free(out);\n    }"]  # fmt: skip
    (folder / "main.c").write_text("\n".join([*lines, "    fclose(f);\n    return 0;\n}\n"]))
    (folder / "pictures.bin").write_bytes(b"".join(x.tobytes() for x in pictures))
    command = [*compiler, *WARNINGS, f"-I{FOLDER}", "-o", str(folder / "images"), str(folder / "main.c")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(folder / "images"), str(folder / "pictures.bin")], capture_output=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.decode()[-2000:]}"
    ends = np.cumsum([0, *(y.size for y in results)])
    found = np.frombuffer(done.stdout, np.uint8)
    assert len(found) == ends[-1]
    return [found[a:b].reshape(y.shape) for a, b, y in zip(ends, ends[1:], results, strict=False)]


def _random(rng: np.random.Generator, resize: Resize) -> ImageChain:
    h, w, out_h, out_w = (int(rng.integers(1, 60)) for _ in range(4))
    crop: Literal["centre", "none"] = "none" if rng.random() < 0.5 else "centre"
    if resize == "area":
        h, w, crop = max(h, out_h), max(w, out_w), "none"
    order = ("rgb", "bgr", "grey", "rgb565")[rng.integers(4)]
    return ImageChain(h, w, out_h, out_w, order, ("rgb", "bgr", "grey")[rng.integers(3)], crop, resize)


def _pictures(chain: ImageChain) -> Pixels:
    """Noise, black and white."""
    noise = np.random.default_rng(1).integers(0, 256, (1, chain.height, chain.width, chain.pixel_bytes), np.uint8)
    return np.concatenate([noise, 0 * noise, 0 * noise + 255])


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "area"])
def test_c_equals_python(resize: Resize, tmp_path: Path) -> None:
    """Forty random chains of each resizing under the sanitizers, and by Clang's."""
    rng = np.random.default_rng(len(resize))
    chains = [_random(rng, resize) for _ in range(40)]
    pictures = [_pictures(chain) for chain in chains]
    for compiler in (SANITIZED, ("clang", *TRAPS, "-O1")):
        for chain, x, y in zip(chains, pictures, _run(chains, pictures, tmp_path, compiler), strict=True):
            np.testing.assert_array_equal(y, chain(x), err_msg=str(chain))


def test_a_camera(tmp_path: Path) -> None:
    """A QVGA camera in rgb565 to 96x96, and the largest picture to one pixel, with at most 512 bytes of stack."""
    chains = [ImageChain(240, 320, 96, 96, "rgb565", "rgb", "centre", resize) for resize in ("bilinear", "area")]
    chains += [ImageChain(4096, 4096, 1, 1, "grey", "grey", "none", "area")]
    pictures = [*(_pictures(chain) for chain in chains[:2]), np.full((1, 4096, 4096, 1), 255, np.uint8)]
    found = _run(chains, pictures, tmp_path, ("gcc", *STRICT, "-O2"))
    for chain, x, y in zip(chains, pictures, found, strict=True):
        np.testing.assert_array_equal(y, chain(x))
    assert image_code(chains[0]).scratch_bytes == image_code(chains[0]).state_bytes == 0
