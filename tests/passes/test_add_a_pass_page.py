"""docs/add-a-pass.md works as printed: the pass runs, and its test passes and can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

PAGE = Path(__file__).parents[2] / "docs/add-a-pass.md"


def page():
    """The names that the page's two blocks define."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {"torch": torch, "nn": nn}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_template_passes_its_own_test(network_of):
    """The pass of the page, by the test of the page."""
    page()["test_a_second_activation_goes"](network_of)


def test_the_templates_test_can_fail(network_of):
    """A pass that takes every activation out is caught."""
    names = page()
    names["clamps"] = lambda network, node, bounds: (
        False if "ReLU" in type(network.module.get_submodule(str(node.target))).__name__ else None
    )
    with pytest.raises(AssertionError):
        names["test_a_second_activation_goes"](network_of)


def test_the_page_is_short():
    """A screen: at most 70 lines."""
    assert len(PAGE.read_text().splitlines()) <= 70
