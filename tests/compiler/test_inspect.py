"""`secateur inspect`: what it says can go is what a search would look at."""

from __future__ import annotations

from pathlib import Path

from secateur.compiler.look import inspect
from secateur.compiler.session import Request


def test_a_group_that_is_as_narrow_as_groups_get_stays(tmp_path: Path) -> None:
    """Four channels are no candidate; five and twelve are."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 12, 3), nn.ReLU(), nn.Conv2d(12, 5, 3), nn.ReLU()]\n"
        "    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))\n"
    )
    found = inspect(Request(f"{tmp_path / 'net.py'}:make", "esp32", input_shape="1,1,10,10"))
    said = {g["channels"]: (g["removable"], g["reason"]) for g in found.document()["filters"] if g["channels"] > 2}
    assert said == {4: (False, "no narrower than 4 channels, in fours"), 12: (True, None), 5: (True, None)}
